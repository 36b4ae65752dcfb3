{#- A column by its name, quoted; dbt itself leaves a quotation mark inside it as it is. -#}
{% macro segconn_quote(name) %}
  {%- set mark = adapter.quote('x')[0] -%}
  {{- return(adapter.quote(name | replace(mark, mark ~ mark))) -}}
{% endmacro %}


{#- One expression for each value_type of column: what it gives is a JSON value already, or text of one.
    A column has `name`, `data_type`, `value_type` and, for timestamps without a zone of their own, `zone`. -#}

{% macro segconn_value(column) %}
  {%- set name = segconn_quote(column.name) -%}
  {%- set lost = segconn_lost(column) -%}
  {%- if column.value_type == 'timestamp' and column.zone not in ('UTC', 'Etc/UTC') -%}
    {%- set name = adapter.dispatch('segconn_in_utc')(name, column.zone) -%}
  {%- endif -%}
  {%- set value = adapter.dispatch('segconn_' ~ column.value_type)(name, column.data_type) -%}
  {{- return('case when ' ~ lost ~ ' then null else ' ~ value ~ ' end' if lost else value) -}}
{% endmacro %}


{#- Identifiers are always text: that of a JSON value is not quoted. -#}
{% macro segconn_identifier(column) %}
  {{- return(segconn_quote(column.name) if column.value_type == 'json' else segconn_value(column)) -}}
{% endmacro %}


{#- A value as text, to be compared or hashed. -#}
{% macro segconn_as_text(value, value_type) %}
  {{- return(adapter.dispatch('segconn_as_text')(value, value_type)) -}}
{% endmacro %}

{% macro default__segconn_as_text(value, value_type) %}
  {{- return('cast(' ~ value ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{#- The text of a column's JSON, one text for one value: equal numbers have equal digits in every numeric type. -#}
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


{#- Of a double; beyond the range of bigint, the warehouse's own form. -#}
{% macro default__segconn_digits(value) %}
  {{- return('case when abs(' ~ value ~ ') < 9e18 and ' ~ value ~ ' = floor(' ~ value ~ ') then ' ~ segconn_as_text('cast(' ~ value ~ ' as bigint)', 'integer') ~ ' else ' ~ segconn_as_text(value, 'float') ~ ' end') -}}
{% endmacro %}


{#- Of a decimal of any scale: fractions become doubles in JSON. -#}
{% macro default__segconn_number_digits(value) %}
  {%- set double = 'cast(' ~ value ~ ' as ' ~ segconn_type_float() ~ ')' -%}
  {{- return('case when ' ~ value ~ ' = floor(' ~ value ~ ') then ' ~ segconn_as_text(value, 'number') ~ ' else ' ~ default__segconn_digits(double) ~ ' end') -}}
{% endmacro %}


{% macro default__segconn_plain_json(text) %}
  {{- return(segconn_as_text(text, 'json')) -}}
{% endmacro %}


{#- The condition that a column holds what JSON cannot; '' where it never does. -#}
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


{#- char(n) is padded to its length by some warehouses. -#}
{% macro default__segconn_text(column, data_type) %}
  {%- set text = 'cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')' -%}
  {{- return('rtrim(' ~ text ~ ')' if (data_type | lower).startswith(('char(', 'character(', 'bpchar', 'nchar(')) else text) -}}
{% endmacro %}


{% macro default__segconn_integer(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Decimals of scale 0, which may hold more digits than any integer type. -#}
{% macro default__segconn_whole(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- By way of text, which gives the nearest double. -#}
{% macro default__segconn_decimal(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_float() ~ ')') -}}
{% endmacro %}


{#- Decimals without a precision, which hold integers and fractions. -#}
{% macro default__segconn_number(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Decimals with all their digits, as text. -#}
{% macro default__segconn_exact(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_float(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Of single precision: 0.1 stays 0.1 and does not become 0.10000000149011612. -#}
{% macro default__segconn_single(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ') as ' ~ segconn_type_float() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_boolean(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Dates and timestamps before the year 1 have ISO-8601's years: 44 BC is -0043. -#}
{% macro default__segconn_date(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{#- Timestamps become ISO-8601 in UTC: milliseconds, or microseconds where there are any. -#}
{% macro default__segconn_timestamp(column, data_type) %}
  {{- return("replace(cast(" ~ column ~ " as " ~ segconn_type_string() ~ "), ' ', 'T') || 'Z'") -}}
{% endmacro %}


{% macro default__segconn_timestamptz(column, data_type) %}
  {{- return(adapter.dispatch('segconn_timestamp')("(" ~ column ~ " at time zone 'UTC')", 'timestamp')) -}}
{% endmacro %}


{#- A timestamp without a zone, which is in `zone`, as one without a zone that is in UTC. -#}
{% macro default__segconn_in_utc(column, zone) %}
  {{- return("((" ~ column ~ " at time zone " ~ segconn_literal(zone) ~ ") at time zone 'UTC')") -}}
{% endmacro %}


{#- Intervals become ISO-8601's durations, such as P1Y2M3DT4H5M6.5S. -#}
{% macro default__segconn_interval(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_json(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_binary(column, data_type) %}
  {{- return('base64(' ~ column ~ ')') -}}
{% endmacro %}


{#- How sessions read and write values must depend on nobody's settings. Several statements are parted by ';'. -#}
{% macro segconn_open_session() %}
  {{- return(adapter.dispatch('segconn_open_session')()) -}}
{% endmacro %}

{% macro default__segconn_open_session() %}
{% endmacro %}


{#- What each transaction starts with, sent together with its first statement. A pooler may hand each transaction
    another connection, with the settings of another client, and must get it back as it was. -#}
{% macro segconn_open_transaction() %}
  {{- return(adapter.dispatch('segconn_open_transaction')()) -}}
{% endmacro %}

{% macro default__segconn_open_transaction() %}
{% endmacro %}


{#- A query of further statements for a session, where this version of the warehouse knows what they set. -#}
{% macro segconn_statements_if_known() %}
  {{- return(adapter.dispatch('segconn_statements_if_known')()) -}}
{% endmacro %}

{% macro default__segconn_statements_if_known() %}
{% endmacro %}


{#- A query of a relation's columns and data types, where dbt's own answer leaves out what matters here:
    precision, what arrays hold, which types are enumerations, and all of a materialized view. -#}
{% macro segconn_describe_columns(relation) %}
  {{- return(adapter.dispatch('segconn_describe_columns')(relation)) -}}
{% endmacro %}

{% macro default__segconn_describe_columns(relation) %}
{% endmacro %}


{#- Values as text of a statement. Timestamps arrive as Python datetimes in UTC. -#}
{% macro segconn_literal(value) %}
  {%- if value is none -%} {{- return('null') -}}
  {%- elif value is number -%} {{- return(value | string) -}}
  {%- elif value is string -%} {{- return(adapter.dispatch('segconn_text_literal')(value)) -}}
  {%- else -%} {{- return("cast('" ~ value.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "' as " ~ segconn_type_time() ~ ")") -}}
  {%- endif -%}
{% endmacro %}

{% macro segconn_literals(values) %}
  {%- set parts = [] -%}
  {%- for value in values -%} {%- do parts.append(segconn_literal(value)) -%} {%- endfor -%}
  {{- return(parts | join(', ')) -}}
{% endmacro %}


{% macro default__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("'", "''")) ~ "'") -}}
{% endmacro %}


{#- The warehouse's clock in UTC, without a zone: one clock for all processes. -#}
{% macro segconn_now() %}
  {{- return(adapter.dispatch('segconn_now')()) -}}
{% endmacro %}

{% macro default__segconn_now() %}
  {{- return("cast(current_timestamp at time zone 'UTC' as " ~ segconn_type_time() ~ ")") -}}
{% endmacro %}
