{#- One expression for each kind of column: what it gives is a JSON value already, or text of one. -#}

{% macro segconn_value(kind, column) %}
  {{- return(adapter.dispatch('segconn_' ~ kind)(column)) -}}
{% endmacro %}


{% macro default__segconn_text(column) %}
  {{- return('cast(' ~ column ~ ' as ' ~ dbt.type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_integer(column) %}
  {{- return(column) -}}
{% endmacro %}


{#- Decimals of scale 0, which may hold more digits than any integer type. -#}
{% macro default__segconn_whole(column) %}
  {{- return(column) -}}
{% endmacro %}

{% macro duckdb__segconn_whole(column) %}
  {{- return('cast(' ~ column ~ ' as hugeint)') -}}
{% endmacro %}


{% macro default__segconn_decimal(column) %}
  {{- return('cast(' ~ column ~ ' as ' ~ dbt.type_float() ~ ')') -}}
{% endmacro %}

{% macro duckdb__segconn_decimal(column) %}
  {{- return('cast(' ~ column ~ ' as double)') -}}
{% endmacro %}


{#- JSON has no NaN and no infinities. -#}
{% macro default__segconn_float(column) %}
  {{- return("case when cast(" ~ column ~ " as " ~ dbt.type_string() ~ ") in ('NaN', 'Infinity', '-Infinity', 'inf', '-inf') then null else " ~ column ~ " end") -}}
{% endmacro %}

{% macro duckdb__segconn_float(column) %}
  {{- return('case when isfinite(' ~ column ~ ') then cast(' ~ column ~ ' as double) end') -}}
{% endmacro %}


{% macro default__segconn_boolean(column) %}
  {{- return(column) -}}
{% endmacro %}


{% macro default__segconn_date(column) %}
  {{- return('cast(' ~ column ~ ' as ' ~ dbt.type_string() ~ ')') -}}
{% endmacro %}


{#- Timestamps become ISO-8601 in UTC: milliseconds, or microseconds where there are any. -#}
{% macro default__segconn_timestamp(column) %}
  {{- return("replace(cast(" ~ column ~ " as " ~ dbt.type_string() ~ "), ' ', 'T') || 'Z'") -}}
{% endmacro %}

{% macro duckdb__segconn_timestamp(column) %}
  {{- return("case when microsecond(" ~ column ~ ") % 1000 = 0 then strftime(" ~ column ~ ", '%Y-%m-%dT%H:%M:%S.%gZ') else strftime(" ~ column ~ ", '%Y-%m-%dT%H:%M:%S.%fZ') end") -}}
{% endmacro %}

{% macro postgres__segconn_timestamp(column) %}
  {{- return("to_char(" ~ column ~ ", case when extract(microseconds from " ~ column ~ ")::bigint % 1000 = 0 then 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"' else 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"' end)") -}}
{% endmacro %}


{% macro default__segconn_timestamptz(column) %}
  {{- return(adapter.dispatch('segconn_timestamp')("(" ~ column ~ " at time zone 'UTC')")) -}}
{% endmacro %}


{% macro default__segconn_json(column) %}
  {{- return('cast(' ~ column ~ ' as ' ~ dbt.type_string() ~ ')') -}}
{% endmacro %}

{% macro duckdb__segconn_json(column) %}
  {{- return('cast(to_json(' ~ column ~ ') as varchar)') -}}
{% endmacro %}

{% macro postgres__segconn_json(column) %}
  {{- return('cast(to_jsonb(' ~ column ~ ') as text)') -}}
{% endmacro %}


{% macro default__segconn_binary(column) %}
  {{- return('cast(' ~ column ~ ' as ' ~ dbt.type_string() ~ ')') -}}
{% endmacro %}

{% macro duckdb__segconn_binary(column) %}
  {{- return('base64(' ~ column ~ ')') -}}
{% endmacro %}

{% macro postgres__segconn_binary(column) %}
  {{- return("replace(encode(" ~ column ~ ", 'base64'), chr(10), '')") -}}
{% endmacro %}


{#- Values as text of a statement. Timestamps arrive as Python datetimes in UTC. -#}
{% macro segconn_literal(value) %}
  {%- if value is none -%} {{- return('null') -}}
  {%- elif value is number -%} {{- return(value | string) -}}
  {%- elif value is string -%} {{- return(adapter.dispatch('segconn_text_literal')(value)) -}}
  {%- else -%} {{- return("cast('" ~ value.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "' as " ~ dbt.type_timestamp() ~ ")") -}}
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

{#- These dialects read backslashes in text as escapes. -#}
{% macro spark__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "\\'")) ~ "'") -}}
{% endmacro %}

{% macro bigquery__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "\\'") | replace("\n", "\\n") | replace("\r", "\\r")) ~ "'") -}}
{% endmacro %}

{% macro snowflake__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "''")) ~ "'") -}}
{% endmacro %}


{#- The warehouse's clock in UTC, without a zone: one clock for all processes. -#}
{% macro segconn_now() %}
  {{- return(adapter.dispatch('segconn_now')()) -}}
{% endmacro %}

{% macro default__segconn_now() %}
  {{- return("cast(current_timestamp at time zone 'UTC' as " ~ dbt.type_timestamp() ~ ")") -}}
{% endmacro %}

{% macro snowflake__segconn_now() %}
  {{- return("cast(sysdate() as timestamp_ntz)") -}}
{% endmacro %}

{% macro bigquery__segconn_now() %}
  {{- return("current_timestamp()") -}}
{% endmacro %}

{% macro redshift__segconn_now() %}
  {{- return("getdate()") -}}
{% endmacro %}

{% macro spark__segconn_now() %}
  {{- return("to_utc_timestamp(current_timestamp(), current_timezone())") -}}
{% endmacro %}
