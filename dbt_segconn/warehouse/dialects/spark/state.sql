{% macro spark__segconn_type_string() %}
  {{- return('string') -}}
{% endmacro %}


{% macro spark__segconn_type_time() %}
  {{- return('timestamp_ntz') -}}
{% endmacro %}
