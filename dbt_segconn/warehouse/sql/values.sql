{#- A quoted column name. Quotation marks inside the name are doubled, which dbt does not do. -#}
{% macro segconn_quote(name) %}
  {%- set mark = adapter.quote('x')[0] -%}
  {{- return(adapter.quote(name | replace(mark, mark ~ mark))) -}}
{% endmacro %}


{#- One expression for each value type. Its result is a JSON value, or JSON text. A column is a Column of `values.py`;
    its `zone` applies to timestamps without a time zone. -#}

{% macro segconn_value(column) %}
  {%- set name = segconn_quote(column.name) -%}
  {%- set lost = segconn_lost(column) -%}
  {%- if column.value_type == 'timestamp' and column.zone not in ('UTC', 'Etc/UTC') -%}
    {%- set name = adapter.dispatch('segconn_in_utc')(name, column.zone) -%}
  {%- endif -%}
  {%- set value = adapter.dispatch('segconn_' ~ column.value_type)(name, column.data_type) -%}
  {{- return('case when ' ~ lost ~ ' then null else ' ~ value ~ ' end' if lost else value) -}}
{% endmacro %}


{#- Identifiers are always text. The text of a JSON string has no quotation marks. -#}
{% macro segconn_identifier(column) %}
  {{- return(segconn_quote(column.name) if column.value_type == 'json' else segconn_value(column)) -}}
{% endmacro %}


{#- A value as text, for comparison or hashing. -#}
{% macro segconn_as_text(value, value_type) %}
  {{- return(adapter.dispatch('segconn_as_text')(value, value_type)) -}}
{% endmacro %}

{% macro default__segconn_as_text(value, value_type) %}
  {{- return('cast(' ~ value ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{#- The canonical JSON text of a column: equal numbers have equal digits in every numeric type. -#}
{% macro segconn_json_text(column) %}
  {%- if column.value_type in ('decimal', 'single', 'float') -%}
    {{- return(adapter.dispatch('segconn_digits')(column.alias)) -}}
  {%- elif column.value_type == 'number' -%}
    {{- return(adapter.dispatch('segconn_number_digits')(column.alias)) -}}
  {%- elif column.value_type == 'json' -%}
    {{- return(adapter.dispatch('segconn_plain_json')(column.alias)) -}}
  {%- endif -%}
  {{- return(segconn_as_text(column.alias, column.value_type)) -}}
{% endmacro %}


{#- The digits of a double; beyond the range of bigint, the warehouse's own format. -#}
{% macro default__segconn_digits(value) %}
  {{- return('case when abs(' ~ value ~ ') < 9e18 and ' ~ value ~ ' = floor(' ~ value ~ ') then ' ~ segconn_as_text('cast(' ~ value ~ ' as bigint)', 'integer') ~ ' else ' ~ segconn_as_text(value, 'float') ~ ' end') -}}
{% endmacro %}


{#- The digits of a decimal of any scale. Fractions become doubles in JSON. -#}
{% macro default__segconn_number_digits(value) %}
  {%- set double = 'cast(' ~ value ~ ' as ' ~ segconn_type_float() ~ ')' -%}
  {{- return('case when ' ~ value ~ ' = floor(' ~ value ~ ') then ' ~ segconn_as_text(value, 'number') ~ ' else ' ~ default__segconn_digits(double) ~ ' end') -}}
{% endmacro %}


{% macro default__segconn_plain_json(text) %}
  {{- return(segconn_as_text(text, 'json')) -}}
{% endmacro %}


{#- The condition for values that JSON cannot represent, such as NaN; '' if the column has none. -#}
{% macro segconn_lost(column) %}
  {{- return(adapter.dispatch('segconn_lost')(segconn_quote(column.name), column.value_type)) -}}
{% endmacro %}

{% macro default__segconn_lost(column, value_type) %}
  {%- if value_type in ('float', 'single') -%}
    {{- return("lower(cast(" ~ column ~ " as " ~ segconn_type_string() ~ ")) in ('nan', 'inf', '-inf', 'infinity', '-infinity')") -}}
  {%- endif -%}
  {{- return('') -}}
{% endmacro %}


{% macro segconn_count_lost_values(columns) %}
  {%- set parts = [] -%}
  {%- for column in columns -%}
    {%- set lost = segconn_lost(column) -%}
    {%- if lost -%} {%- do parts.append('case when ' ~ lost ~ ' then 1 else 0 end') -%} {%- endif -%}
  {%- endfor -%}
  {{- return(parts | join(' + ') if parts else '0') -}}
{% endmacro %}


{#- Some warehouses pad char(n) with spaces. -#}
{% macro default__segconn_text(column, data_type) %}
  {%- set text = 'cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')' -%}
  {{- return('rtrim(' ~ text ~ ')' if (data_type | lower).startswith(('char(', 'character(', 'bpchar', 'nchar(')) else text) -}}
{% endmacro %}


{% macro default__segconn_integer(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Decimals of scale 0. They may have more digits than any integer type. -#}
{% macro default__segconn_whole(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Dialects may cast through text, which gives the nearest double. -#}
{% macro default__segconn_decimal(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_float() ~ ')') -}}
{% endmacro %}


{#- Decimals without a precision: integers and fractions. -#}
{% macro default__segconn_number(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Decimals as text, with all their digits. -#}
{% macro default__segconn_exact(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_float(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Floats of single precision. The cast to text keeps 0.1 from becoming 0.10000000149011612. -#}
{% macro default__segconn_single(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ') as ' ~ segconn_type_float() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_boolean(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Dates and timestamps before the year 1 have ISO 8601 years: 44 BC is -0043. -#}
{% macro default__segconn_date(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{#- Timestamps become ISO 8601 in UTC, with milliseconds, or with microseconds if the value has any. -#}
{% macro default__segconn_timestamp(column, data_type) %}
  {{- return("replace(cast(" ~ column ~ " as " ~ segconn_type_string() ~ "), ' ', 'T') || 'Z'") -}}
{% endmacro %}


{% macro default__segconn_timestamptz(column, data_type) %}
  {{- return(adapter.dispatch('segconn_timestamp')("(" ~ column ~ " at time zone 'UTC')", 'timestamp')) -}}
{% endmacro %}


{#- Convert a timestamp without a time zone from `zone` to UTC. -#}
{% macro default__segconn_in_utc(column, zone) %}
  {{- return("((" ~ column ~ " at time zone " ~ segconn_literal(zone) ~ ") at time zone 'UTC')") -}}
{% endmacro %}


{#- Intervals become ISO 8601 durations, such as P1Y2M3DT4H5M6.5S. -#}
{% macro default__segconn_interval(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_json(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_binary(column, data_type) %}
  {{- return('base64(' ~ column ~ ')') -}}
{% endmacro %}


{#- Settings of a session, which make values independent of the account's and user's settings. ';' separates
    statements. -#}
{% macro segconn_open_session() %}
  {{- return(adapter.dispatch('segconn_open_session')()) -}}
{% endmacro %}

{% macro default__segconn_open_session() %}
{% endmacro %}


{#- Settings of a transaction, sent together with its first statement. A connection pooler may use another connection
    for each transaction, with the settings of another client; those must not change. -#}
{% macro segconn_open_transaction() %}
  {{- return(adapter.dispatch('segconn_open_transaction')()) -}}
{% endmacro %}

{% macro default__segconn_open_transaction() %}
{% endmacro %}


{#- A query that returns further `set` statements, for settings that only some versions of the warehouse have, and for
    values that differ between processes. -#}
{% macro segconn_optional_settings() %}
  {{- return(adapter.dispatch('segconn_optional_settings')()) -}}
{% endmacro %}

{% macro default__segconn_optional_settings() %}
{% endmacro %}


{#- A query of a relation's columns and data types, if dbt's own query omits needed details: precision, element types of
    arrays, enumerations, columns of materialized views. -#}
{% macro segconn_describe_columns(relation) %}
  {{- return(adapter.dispatch('segconn_describe_columns')(relation)) -}}
{% endmacro %}

{% macro default__segconn_describe_columns(relation) %}
{% endmacro %}


{#- The columns and data types of several relations, by their places; no query if the warehouse needs one for each. It
    may fail if one of them is missing. -#}
{% macro segconn_describe_relations(relations) %}
  {{- return(adapter.dispatch('segconn_describe_relations')(relations)) -}}
{% endmacro %}

{% macro default__segconn_describe_relations(relations) %}
  {%- set queries = [] -%}
  {%- for relation in relations -%}
    {%- set query = segconn_describe_columns(relation) | trim -%}
    {%- if query -%} {%- do queries.append('select ' ~ loop.index0 ~ ' as nth, described.* from (' ~ query ~ ') as described') -%} {%- endif -%}
  {%- endfor -%}
  {{- return(queries | join(' union all ')) -}}
{% endmacro %}


{#- A value as a SQL literal. Timestamps are Python datetimes in UTC. -#}
{% macro segconn_literal(value) %}
  {%- if value is none -%} {{- return('null') -}}
  {%- elif value is number -%} {{- return(value | string) -}}
  {%- elif value is string -%} {{- return(adapter.dispatch('segconn_text_literal')(value)) -}}
  {%- else -%} {{- return("cast('" ~ value.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "' as " ~ segconn_type_time() ~ ")") -}}
  {%- endif -%}
{% endmacro %}

{% macro segconn_literals(values) %}
  {%- set parts = [] -%}
  {%- for value in values -%}
    {%- if value is string and value.isprintable() and "'" not in value and '\\' not in value -%} {%- do parts.append("'" ~ value ~ "'") -%}
    {%- elif value is number -%} {%- do parts.append(value | string) -%}
    {%- elif value is none -%} {%- do parts.append('null') -%}
    {%- else -%} {%- do parts.append(segconn_literal(value)) -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return(parts | join(', ')) -}}
{% endmacro %}


{% macro default__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("'", "''")) ~ "'") -}}
{% endmacro %}


{#- The warehouse's time in UTC, without a time zone: one clock for all processes. -#}
{% macro segconn_now() %}
  {{- return(adapter.dispatch('segconn_now')()) -}}
{% endmacro %}

{% macro default__segconn_now() %}
  {{- return("cast(current_timestamp at time zone 'UTC' as " ~ segconn_type_time() ~ ")") -}}
{% endmacro %}
