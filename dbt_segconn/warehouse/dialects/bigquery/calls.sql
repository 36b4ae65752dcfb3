{% macro bigquery__segconn_written_types() %}
text integer whole exact boolean date timestamp timestamptz binary
{% endmacro %}


{#- to_json_string(null) is the text null. -#}
{% macro bigquery__segconn_json_string(text) %}
  {{- return('if(' ~ text ~ ' is null, null, to_json_string(' ~ text ~ '))') -}}
{% endmacro %}


{% macro bigquery__segconn_byte_length(text) %}
  {{- return('byte_length(' ~ text ~ ')') -}}
{% endmacro %}
