{% macro postgres__segconn_number_rows() %}
  {{- return('row_number() over ()') -}}
{% endmacro %}


{% macro postgres__segconn_index_outbox(outbox) %}
create index on {{ outbox }} (change_number)
{% endmacro %}
