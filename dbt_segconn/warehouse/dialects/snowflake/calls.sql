{#- The text of a double has too few digits. -#}
{% macro snowflake__segconn_written_types() %}
text integer whole exact boolean date timestamp timestamptz binary
{% endmacro %}


{% macro snowflake__segconn_json_string(text) %}
  {{- return('to_json(to_variant(' ~ text ~ '))') -}}
{% endmacro %}


{% macro snowflake__segconn_join_texts(text, separator) %}
  {{- return('listagg(' ~ text ~ ', ' ~ separator ~ ')') -}}
{% endmacro %}
