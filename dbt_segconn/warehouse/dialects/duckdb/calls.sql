{% macro duckdb__segconn_written_types() %}
text integer whole decimal exact float single boolean date timestamp timestamptz interval binary
{% endmacro %}


{% macro duckdb__segconn_json_string(text) %}
  {{- return('cast(to_json(' ~ text ~ ') as varchar)') -}}
{% endmacro %}


{% macro duckdb__segconn_byte_length(text) %}
  {{- return('strlen(' ~ text ~ ')') -}}
{% endmacro %}


{#- As bytes, which Python need not decode and encode again. -#}
{% macro duckdb__segconn_join_calls(text) %}
  {{- return('encode(' ~ default__segconn_join_calls(text) ~ ')') -}}
{% endmacro %}
