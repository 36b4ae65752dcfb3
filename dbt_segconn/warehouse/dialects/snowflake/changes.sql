{#- A permanent table would keep its rows for days after it is dropped. -#}
{% macro snowflake__segconn_create_outbox(outbox) %}
  {{- return('create transient table ' ~ outbox) -}}
{% endmacro %}
