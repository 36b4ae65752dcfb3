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

{#- It casts no boolean to text. -#}
{% macro redshift__segconn_as_text(value, value_type) %}
  {%- if value_type == 'boolean' -%}
    {{- return('case when ' ~ value ~ " then 'true' when not " ~ value ~ " then 'false' end") -}}
  {%- endif -%}
  {{- return(default__segconn_as_text(value, value_type)) -}}
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

{#- Spark copies the expression of a column to wherever it is named. -#}
{% macro spark__segconn_digits(value) %}
  {{- return('transform(array(' ~ value ~ '), x -> ' ~ default__segconn_digits('x') ~ ')[0]') -}}
{% endmacro %}


{#- Of a decimal of any scale: fractions become doubles in JSON. -#}
{% macro default__segconn_number_digits(value) %}
  {%- set double = 'cast(' ~ value ~ ' as ' ~ segconn_type_float() ~ ')' -%}
  {{- return('case when ' ~ value ~ ' = floor(' ~ value ~ ') then ' ~ segconn_as_text(value, 'number') ~ ' else ' ~ default__segconn_digits(double) ~ ' end') -}}
{% endmacro %}

{#- No double holds the largest and the smallest. -#}
{% macro postgres__segconn_number_digits(value) %}
  {%- set double = 'cast(' ~ value ~ ' as double precision)' -%}
  {{- return('case when ' ~ value ~ ' = floor(' ~ value ~ ') or abs(' ~ value ~ ') not between 1e-300 and 1e300 then cast(' ~ value ~ ' as text) else ' ~ default__segconn_digits(double) ~ ' end') -}}
{% endmacro %}


{% macro default__segconn_plain_json(text) %}
  {{- return(segconn_as_text(text, 'json')) -}}
{% endmacro %}

{#- Keys in one order, no blanks. Not of JSON that jsonb does not take: NUL, half of a pair, numbers beyond numeric. -#}
{% macro postgres__segconn_plain_json(text) %}
  {%- set pattern = "('e[-+]?[0-9]{5}|' || chr(92) || chr(92) || 'u(0000|d[89a-f])')" -%}
  {{- return('case when ' ~ text ~ ' ~* ' ~ pattern ~ ' then ' ~ text ~ ' else cast(cast(' ~ text ~ ' as jsonb) as text) end') -}}
{% endmacro %}

{% macro redshift__segconn_plain_json(text) %}
  {{- return(default__segconn_plain_json(text)) -}}
{% endmacro %}

{% macro redshift__segconn_number_digits(value) %}
  {{- return(default__segconn_number_digits(value)) -}}
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

{% macro duckdb__segconn_lost(column, value_type) %}
  {{- return('not isfinite(' ~ column ~ ')' if value_type in ('float', 'single', 'date', 'timestamp', 'timestamptz') else '') -}}
{% endmacro %}

{% macro postgres__segconn_lost(column, value_type) %}
  {%- if value_type in ('date', 'timestamp', 'timestamptz', 'interval') -%} {{- return('not isfinite(' ~ column ~ ')') -}}
  {%- elif value_type in ('float', 'single', 'number', 'exact') -%} {{- return(column ~ " in ('NaN', 'Infinity', '-Infinity')") -}}
  {%- elif value_type == 'decimal' -%} {{- return('cast(' ~ column ~ " as numeric) = 'NaN'") -}}
  {%- endif -%}
  {{- return('') -}}
{% endmacro %}

{% macro redshift__segconn_lost(column, value_type) %}
  {{- return(default__segconn_lost(column, value_type)) -}}
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

{% macro duckdb__segconn_whole(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as hugeint)') -}}
{% endmacro %}


{#- By way of text, which gives the nearest double. -#}
{% macro default__segconn_decimal(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_float() ~ ')') -}}
{% endmacro %}

{% macro duckdb__segconn_decimal(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as varchar) as double)') -}}
{% endmacro %}

{% macro postgres__segconn_decimal(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as numeric) as double precision)') -}}
{% endmacro %}

{% macro redshift__segconn_decimal(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as double precision)') -}}
{% endmacro %}


{% macro spark__segconn_decimal(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as double)') -}}
{% endmacro %}


{#- Decimals without a precision, which hold integers and fractions. -#}
{% macro default__segconn_number(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}

{% macro postgres__segconn_number(column, data_type) %}
  {{- return('trim_scale(' ~ column ~ ')') -}}
{% endmacro %}

{% macro redshift__segconn_number(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Decimals with all their digits, as text. -#}
{% macro default__segconn_exact(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}

{% macro postgres__segconn_exact(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as numeric) as text)') -}}
{% endmacro %}

{% macro redshift__segconn_exact(column, data_type) %}
  {{- return(default__segconn_exact(column, data_type)) -}}
{% endmacro %}


{% macro default__segconn_float(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Of single precision: 0.1 stays 0.1 and does not become 0.10000000149011612. -#}
{% macro default__segconn_single(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ') as ' ~ segconn_type_float() ~ ')') -}}
{% endmacro %}

{% macro duckdb__segconn_single(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as varchar) as double)') -}}
{% endmacro %}

{% macro spark__segconn_single(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as string) as double)') -}}
{% endmacro %}


{% macro default__segconn_boolean(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{#- Dates and timestamps before the year 1 have ISO-8601's years: 44 BC is -0043. -#}
{% macro default__segconn_date(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}

{#- A cast follows DATE_OUTPUT_FORMAT. -#}
{% macro snowflake__segconn_date(column, data_type) %}
  {{- return("to_varchar(" ~ column ~ ", 'YYYY-MM-DD')") -}}
{% endmacro %}

{% macro duckdb__segconn_date(column, data_type) %}
  {{- return(duckdb__segconn_dated(column, "cast(" ~ column ~ " as varchar)", "'-%m-%d'")) -}}
{% endmacro %}

{% macro postgres__segconn_date(column, data_type) %}
  {{- return(postgres__segconn_dated(column, "to_char(" ~ column ~ ", 'YYYY-MM-DD')", "'-MM-DD'")) -}}
{% endmacro %}

{% macro redshift__segconn_date(column, data_type) %}
  {{- return(default__segconn_date(column, data_type)) -}}
{% endmacro %}

{% macro duckdb__segconn_dated(column, usual, rest) %}
  {%- set year = "extract(year from " ~ column ~ ")" -%}
  {{- return("case when " ~ year ~ " > 0 then " ~ usual ~ " else case when " ~ year ~ " < 0 then '-' else '' end || lpad(cast(-" ~ year ~ " as varchar), 4, '0') || strftime(" ~ column ~ ", " ~ rest ~ ") end") -}}
{% endmacro %}

{#- PostgreSQL knows no year 0: 1 BC is -1. -#}
{% macro postgres__segconn_dated(column, usual, rest) %}
  {%- set year = "extract(year from " ~ column ~ ")" -%}
  {{- return("case when " ~ year ~ " > 0 then " ~ usual ~ " else case when " ~ year ~ " < -1 then '-' else '' end || lpad(cast(-" ~ year ~ " - 1 as text), 4, '0') || to_char(" ~ column ~ ", " ~ rest ~ ") end") -}}
{% endmacro %}


{#- Timestamps become ISO-8601 in UTC: milliseconds, or microseconds where there are any. -#}
{% macro default__segconn_timestamp(column, data_type) %}
  {{- return("replace(cast(" ~ column ~ " as " ~ segconn_type_string() ~ "), ' ', 'T') || 'Z'") -}}
{% endmacro %}

{% macro duckdb__segconn_timestamp(column, data_type) %}
  {%- set exact = column if (data_type | lower) == 'timestamp' else "cast(" ~ column ~ " as timestamp)" -%}
  {%- set usual = "case when microsecond(" ~ exact ~ ") % 1000 = 0 then strftime(" ~ exact ~ ", '%Y-%m-%dT%H:%M:%S.%gZ') else strftime(" ~ exact ~ ", '%Y-%m-%dT%H:%M:%S.%fZ') end" -%}
  {{- return(duckdb__segconn_dated(exact, usual, "'-%m-%dT%H:%M:%S.%fZ'")) -}}
{% endmacro %}

{% macro postgres__segconn_timestamp(column, data_type) %}
  {%- set usual = "to_char(" ~ column ~ ", case when extract(microseconds from " ~ column ~ ")::bigint % 1000 = 0 then 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"' else 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"' end)" -%}
  {{- return(postgres__segconn_dated(column, usual, "'-MM-DD\"T\"HH24:MI:SS.US\"Z\"'")) -}}
{% endmacro %}

{% macro redshift__segconn_timestamp(column, data_type) %}
  {{- return("to_char(" ~ column ~ ", case when to_char(" ~ column ~ ", 'US') like '%000' then 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"' else 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"' end)") -}}
{% endmacro %}

{% macro bigquery__segconn_timestamp(column, data_type) %}
  {{- return("format_datetime(if(mod(extract(microsecond from " ~ column ~ "), 1000) = 0, '%Y-%m-%dT%H:%M:%E3SZ', '%Y-%m-%dT%H:%M:%E6SZ'), " ~ column ~ ")") -}}
{% endmacro %}

{% macro snowflake__segconn_timestamp(column, data_type) %}
  {%- set column = "cast(" ~ column ~ " as timestamp_ntz)" -%}
  {{- return("to_varchar(" ~ column ~ ", 'YYYY-MM-DD\"T\"HH24:MI:SS') || case when mod(date_part(nanosecond, " ~ column ~ "), 1000000) = 0 then to_varchar(" ~ column ~ ", '.FF3') else to_varchar(" ~ column ~ ", '.FF6') end || 'Z'") -}}
{% endmacro %}

{% macro spark__segconn_timestamp(column, data_type) %}
  {{- return("date_format(" ~ column ~ ", \"yyyy-MM-dd'T'HH:mm:ss\") || case when date_format(" ~ column ~ ", 'SSSSSS') like '%000' then date_format(" ~ column ~ ", '.SSS') else date_format(" ~ column ~ ", '.SSSSSS') end || 'Z'") -}}
{% endmacro %}


{% macro default__segconn_timestamptz(column, data_type) %}
  {{- return(adapter.dispatch('segconn_timestamp')("(" ~ column ~ " at time zone 'UTC')", 'timestamp')) -}}
{% endmacro %}

{% macro bigquery__segconn_timestamptz(column, data_type) %}
  {{- return(bigquery__segconn_timestamp("datetime(" ~ column ~ ", 'UTC')", 'datetime')) -}}
{% endmacro %}

{% macro snowflake__segconn_timestamptz(column, data_type) %}
  {{- return(snowflake__segconn_timestamp("convert_timezone('UTC', " ~ column ~ ")", data_type)) -}}
{% endmacro %}

{#- The session's zone is UTC. -#}
{% macro spark__segconn_timestamptz(column, data_type) %}
  {{- return(spark__segconn_timestamp(column, data_type)) -}}
{% endmacro %}


{#- A timestamp without a zone, which is in `zone`, as one without a zone that is in UTC. -#}
{% macro default__segconn_in_utc(column, zone) %}
  {{- return("((" ~ column ~ " at time zone " ~ segconn_literal(zone) ~ ") at time zone 'UTC')") -}}
{% endmacro %}

{% macro duckdb__segconn_in_utc(column, zone) %}
  {{- return(default__segconn_in_utc("cast(" ~ column ~ " as timestamp)", zone)) -}}
{% endmacro %}

{% macro bigquery__segconn_in_utc(column, zone) %}
  {{- return("datetime(timestamp(" ~ column ~ ", " ~ segconn_literal(zone) ~ "), 'UTC')") -}}
{% endmacro %}

{% macro snowflake__segconn_in_utc(column, zone) %}
  {{- return("convert_timezone(" ~ segconn_literal(zone) ~ ", 'UTC', " ~ column ~ ")") -}}
{% endmacro %}

{% macro spark__segconn_in_utc(column, zone) %}
  {{- return("to_utc_timestamp(" ~ column ~ ", " ~ segconn_literal(zone) ~ ")") -}}
{% endmacro %}


{#- Intervals become ISO-8601's durations, such as P1Y2M3DT4H5M6.5S. -#}
{% macro default__segconn_interval(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}

{% macro duckdb__segconn_interval(column, data_type) %}
  {%- set parts = [] -%}
  {%- for letter, part in (('Y', 'year'), ('M', 'month'), ('D', 'day'), ('T', 'time'), ('H', 'hour'), ('M', 'minute')) -%}
    {%- set value = "datepart('" ~ part ~ "', " ~ column ~ ")" -%}
    {%- if part == 'time' -%}
      {%- do parts.append("case when datepart('hour', " ~ column ~ ") <> 0 or datepart('minute', " ~ column ~ ") <> 0 or datepart('microsecond', " ~ column ~ ") <> 0 then 'T' else '' end") -%}
    {%- else -%}
      {%- do parts.append("case when " ~ value ~ " <> 0 then " ~ value ~ " || '" ~ letter ~ "' else '' end") -%}
    {%- endif -%}
  {%- endfor -%}
  {%- do parts.append("case when datepart('microsecond', " ~ column ~ ") <> 0 then rtrim(rtrim(format('{:.6f}', datepart('microsecond', " ~ column ~ ") * 1e-6), '0'), '.') || 'S' else '' end") -%}
  {{- return("case when " ~ column ~ " is not null then coalesce(nullif('P' || " ~ (parts | join(' || ')) ~ ", 'P'), 'PT0S') end") -}}
{% endmacro %}


{% macro default__segconn_json(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}

{% macro duckdb__segconn_json(column, data_type) %}
  {{- return('cast(to_json(' ~ column ~ ') as varchar)') -}}
{% endmacro %}

{#- to_json quotes the numbers that JSON cannot hold. -#}
{% macro postgres__segconn_json(column, data_type) %}
  {%- if data_type in ('json', 'jsonb') -%} {{- return('cast(' ~ column ~ ' as text)') -}} {%- endif -%}
  {%- set text = 'cast(to_json(' ~ column ~ ') as text)' -%}
  {%- if data_type.startswith(('real', 'double', 'numeric')) -%}
    {%- set text = 'regexp_replace(' ~ text ~ ", '\"(NaN|-?Infinity)\"', 'null', 'g')" -%}
  {%- endif -%}
  {{- return(text) -}}
{% endmacro %}

{% macro redshift__segconn_json(column, data_type) %}
  {{- return('json_serialize(' ~ column ~ ')') -}}
{% endmacro %}

{% macro snowflake__segconn_json(column, data_type) %}
  {{- return('to_json(to_variant(' ~ column ~ '))') -}}
{% endmacro %}

{% macro bigquery__segconn_json(column, data_type) %}
  {{- return('to_json_string(' ~ column ~ ')') -}}
{% endmacro %}

{#- Fields that are null stay, as they do elsewhere; numbers that JSON cannot hold are quoted. -#}
{% macro spark__segconn_json(column, data_type) %}
  {%- set text = 'to_json(' ~ column ~ ", map('ignoreNullFields', 'false'))" -%}
  {%- if data_type in ('array<double>', 'array<float>') -%}
    {%- set text = 'regexp_replace(' ~ text ~ ", '\"(NaN|-?Infinity)\"', 'null')" -%}
  {%- endif -%}
  {{- return(text) -}}
{% endmacro %}


{% macro default__segconn_binary(column, data_type) %}
  {{- return('base64(' ~ column ~ ')') -}}
{% endmacro %}

{% macro postgres__segconn_binary(column, data_type) %}
  {{- return("replace(encode(" ~ column ~ ", 'base64'), chr(10), '')") -}}
{% endmacro %}

{% macro spark__segconn_binary(column, data_type) %}
  {{- return("replace(replace(base64(" ~ column ~ "), chr(13), ''), chr(10), '')") -}}
{% endmacro %}

{% macro redshift__segconn_binary(column, data_type) %}
  {{- return("from_varbyte(" ~ column ~ ", 'base64')") -}}
{% endmacro %}

{% macro snowflake__segconn_binary(column, data_type) %}
  {{- return('base64_encode(' ~ column ~ ')') -}}
{% endmacro %}

{% macro bigquery__segconn_binary(column, data_type) %}
  {{- return('to_base64(' ~ column ~ ')') -}}
{% endmacro %}


{#- How sessions read and write values must depend on nobody's settings. Several statements are parted by ';'. -#}
{% macro segconn_open_session() %}
  {{- return(adapter.dispatch('segconn_open_session')()) -}}
{% endmacro %}

{% macro default__segconn_open_session() %}
{% endmacro %}

{% macro duckdb__segconn_open_session() %}
set TimeZone = 'UTC'; set Calendar = 'gregorian'; set default_collation = ''; set errors_as_json = false
{% endmacro %}

{#- By segconn_open_transaction. -#}
{% macro postgres__segconn_open_session() %}
{% endmacro %}

{% macro redshift__segconn_open_session() %}
set timezone to 'UTC'; set datestyle to 'ISO, YMD'
{% endmacro %}

{% macro snowflake__segconn_open_session() %}
alter session set timezone = 'UTC'
{% endmacro %}

{#- With its propagation of constraints, Spark's planner takes minutes and gigabytes for a diff of 30 columns. -#}
{% macro spark__segconn_open_session() %}
set spark.sql.session.timeZone = UTC;
set spark.sql.constraintPropagation.enabled = false
{% endmacro %}

{#- Databricks' SQL warehouses let few settings be set. -#}
{% macro databricks__segconn_open_session() %}
set time zone 'UTC'
{% endmacro %}


{#- What each transaction starts with, sent together with its first statement. A pooler may hand each transaction
    another connection, with the settings of another client, and must get it back as it was. -#}
{% macro segconn_open_transaction() %}
  {{- return(adapter.dispatch('segconn_open_transaction')()) -}}
{% endmacro %}

{% macro default__segconn_open_transaction() %}
{% endmacro %}

{% macro postgres__segconn_open_transaction() %}
set local timezone to 'UTC'; set local datestyle to 'ISO, YMD'; set local intervalstyle to 'iso_8601';
set local extra_float_digits to 1; set local bytea_output to 'hex'; set local quote_all_identifiers to off;
set local lc_monetary to default; set local search_path to default;
{% endmacro %}

{% macro redshift__segconn_open_transaction() %}
{% endmacro %}


{#- A query of further statements for a session, where this version of the warehouse knows what they set. -#}
{% macro segconn_statements_if_known() %}
  {{- return(adapter.dispatch('segconn_statements_if_known')()) -}}
{% endmacro %}

{% macro default__segconn_statements_if_known() %}
{% endmacro %}

{#- Newer DuckDBs hold five groups of rows for each thread before they write one: a hundred megabytes for no time. -#}
{% macro duckdb__segconn_statements_if_known() %}
select 'set ' || name || ' = 1' from duckdb_settings() where name = 'write_buffer_row_group_count'
{% endmacro %}


{#- A query of a relation's columns and data types, where dbt's own answer leaves out what matters here:
    precision, what arrays hold, which types are enumerations, and all of a materialized view. -#}
{% macro segconn_describe_columns(relation) %}
  {{- return(adapter.dispatch('segconn_describe_columns')(relation)) -}}
{% endmacro %}

{% macro default__segconn_describe_columns(relation) %}
{% endmacro %}

{#- A type is known by what it is, not by its name: a domain by its base type, an array by its elements, a composite
    as a record. Enumerations, ranges and types that PostgreSQL does not bring along are text, but for hstore. -#}
{% macro postgres__segconn_describe_columns(relation) %}
with recursive types as (
    select attnum, attname, atttypid as type_id, atttypmod as modifier, '' as brackets
    from pg_catalog.pg_attribute
    where attrelid = to_regclass({{ segconn_literal(relation | string) }}) and attnum > 0 and not attisdropped
    union all
    select
        types.attnum, types.attname,
        case when t.typtype = 'd' then t.typbasetype else t.typelem end,
        case when t.typtype = 'd' then t.typtypmod else types.modifier end,
        case when t.typtype = 'd' then types.brackets else types.brackets || '[]' end
    from types
    inner join pg_catalog.pg_type as t on t.oid = types.type_id
    left join pg_catalog.pg_type as element on element.oid = t.typelem and element.typarray = t.oid
    where t.typtype = 'd' or element.oid is not null
)

select
    types.attname,
    case
        when t.typtype = 'c' then 'record'
        when t.typtype = 'b' and n.nspname = 'pg_catalog' and t.typname <> 'jsonpath' then format_type(t.oid, types.modifier)
        when t.typtype = 'b' and t.typname = 'hstore' and to_json.castsource is not null then 'hstore'
        else 'text'
    end || types.brackets
from types
inner join pg_catalog.pg_type as t on t.oid = types.type_id
inner join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
left join pg_catalog.pg_type as element on element.oid = t.typelem and element.typarray = t.oid
left join pg_catalog.pg_cast as to_json on to_json.castsource = t.oid and to_json.casttarget = 'pg_catalog.json'::regtype
where t.typtype <> 'd' and element.oid is null
order by types.attnum
{% endmacro %}

{% macro redshift__segconn_describe_columns(relation) %}
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

{#- With or without standard_conforming_strings. -#}
{% macro postgres__segconn_text_literal(value) %}
  {%- set mark = 'E' if '\\' in value else '' -%}
  {{- return(mark ~ "'" ~ (value | replace("\\", "\\\\") | replace("'", "''")) ~ "'") -}}
{% endmacro %}

{#- These dialects read backslashes in text as escapes. -#}
{% macro spark__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "\\'")) ~ "'") -}}
{% endmacro %}

{% macro bigquery__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "\\'") | replace("\n", "\\n") | replace("\r", "\\r")) ~ "'") -}}
{% endmacro %}

{% macro redshift__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "''")) ~ "'") -}}
{% endmacro %}

{% macro snowflake__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "''")) ~ "'") -}}
{% endmacro %}


{#- The warehouse's clock in UTC, without a zone: one clock for all processes. -#}
{% macro segconn_now() %}
  {{- return(adapter.dispatch('segconn_now')()) -}}
{% endmacro %}

{% macro default__segconn_now() %}
  {{- return("cast(current_timestamp at time zone 'UTC' as " ~ segconn_type_time() ~ ")") -}}
{% endmacro %}

{% macro snowflake__segconn_now() %}
  {{- return("cast(sysdate() as timestamp_ntz)") -}}
{% endmacro %}

{% macro bigquery__segconn_now() %}
  {{- return("current_datetime('UTC')") -}}
{% endmacro %}

{% macro redshift__segconn_now() %}
  {{- return("sysdate") -}}
{% endmacro %}

{#- The session's zone is UTC. -#}
{% macro spark__segconn_now() %}
  {{- return("cast(current_timestamp() as timestamp_ntz)") -}}
{% endmacro %}
