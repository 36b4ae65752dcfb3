{% macro postgres__segconn_written_types() %}
text integer whole decimal number exact float single boolean date timestamp timestamptz interval binary json
{% endmacro %}


{#- A double keeps its fraction: 1.0. Beyond 1e15, its text has an exponent. -#}
{% macro postgres__segconn_written_number(value, value_type) %}
  {%- set double = 'cast(' ~ value ~ ' as double precision)' -%}
  {%- set text = 'case when abs(' ~ double ~ ') < 1e15 and ' ~ double ~ ' = trunc(' ~ double ~ ') then cast(' ~ double ~ " as text) || '.0' else cast(" ~ double ~ ' as text) end' -%}
  {%- if value_type == 'number' -%}
    {{- return('case when ' ~ value ~ ' = trunc(' ~ value ~ ') then cast(' ~ value ~ ' as text) else ' ~ text ~ ' end') -}}
  {%- endif -%}
  {{- return(text) -}}
{% endmacro %}


{#- Some decimals are outside the range of doubles. JSON that Python changes: null, a key that JavaScript has not, a
    number outside the range of doubles, a lone surrogate; and JSON that may be nested too deeply. -#}
{% macro postgres__segconn_is_exact(column, form) %}
  {%- if column.value_type == 'number' -%}
    {%- set value = column.alias -%}
    {{- return('(' ~ value ~ ' = trunc(' ~ value ~ ') or abs(' ~ value ~ ') between 1e-300 and 1e300)') -}}
  {%- elif column.value_type == 'whole' and form == 'json' -%}
    {{- return(column.alias ~ " <> 'NaN'") -}}
  {%- elif column.value_type == 'json' -%}
    {%- set odd = "E'__proto__|[0-9]{200}|\\\\\\\\u[dD]|\\n'" -%}
    {{- return("(" ~ column.alias ~ " <> 'null' and " ~ column.alias ~ " !~ " ~ odd ~ " and length(" ~ column.alias ~ ") - length(translate(" ~ column.alias ~ ", ']}', '')) < 200)") -}}
  {%- endif -%}
  {{- return(default__segconn_is_exact(column, form)) -}}
{% endmacro %}


{% macro postgres__segconn_fence() %}
offset 0
{% endmacro %}


{#- Each group is found by the index of the outbox. `group by` would sort the texts of a page, on disk: a fifth of the
    server's CPU time. -#}
{% macro postgres__segconn_read_calls(outbox, call, change_types, after, upto, size) %}
select joined_calls.*
from generate_series(cast({{ after }} as bigint), {{ upto }} - 1, {{ size }}) as series(low)
cross join lateral (
{{ segconn_joined_calls(outbox, call, change_types, 'low', 'least(low + ' ~ size ~ ', ' ~ upto ~ ')') }}
) as joined_calls
where changes > 0
{% endmacro %}
