{#- TEXT has at most 256 characters. -#}
{% macro redshift__segconn_type_string() %}
  {{- return('varchar(65535)') -}}
{% endmacro %}
