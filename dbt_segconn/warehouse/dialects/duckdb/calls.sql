{% macro duckdb__segconn_written_types() %}
text integer whole decimal exact float single boolean date timestamp timestamptz interval binary json
{% endmacro %}


{% macro duckdb__segconn_byte_length(text) %}
  {{- return('strlen(' ~ text ~ ')') -}}
{% endmacro %}


{#- As bytes, which Python need not decode and encode again. -#}
{% macro duckdb__segconn_join_calls(text) %}
  {{- return('encode(' ~ default__segconn_join_calls(text) ~ ')') -}}
{% endmacro %}


{#- JSON that Python changes: null, NaN, infinity, a key that JavaScript has not, and any lone surrogate. -#}
{% macro duckdb__segconn_is_exact(column, form) %}
  {%- if column.value_type == 'json' -%}
    {{- return("(" ~ column.alias ~ " <> 'null' and not regexp_matches(" ~ column.alias ~ ", '(?i)(^|,|:|[[])-?(nan|inf)|__proto__|\\\\ud|\n'))") -}}
  {%- endif -%}
  {{- return(default__segconn_is_exact(column, form)) -}}
{% endmacro %}
