{% macro duckdb__segconn_lost(column, value_type) %}
  {{- return('not isfinite(' ~ column ~ ')' if value_type in ('float', 'single', 'date', 'timestamp', 'timestamptz') else '') -}}
{% endmacro %}


{% macro duckdb__segconn_whole(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as hugeint)') -}}
{% endmacro %}


{% macro duckdb__segconn_decimal(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as varchar) as double)') -}}
{% endmacro %}


{% macro duckdb__segconn_single(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as varchar) as double)') -}}
{% endmacro %}


{% macro duckdb__segconn_date(column, data_type) %}
  {{- return(duckdb__segconn_dated(column, "cast(" ~ column ~ " as varchar)", "'-%m-%d'")) -}}
{% endmacro %}

{% macro duckdb__segconn_dated(column, usual, rest) %}
  {%- set year = "extract(year from " ~ column ~ ")" -%}
  {{- return("case when " ~ year ~ " > 0 then " ~ usual ~ " else case when " ~ year ~ " < 0 then '-' else '' end || lpad(cast(-" ~ year ~ " as varchar), 4, '0') || strftime(" ~ column ~ ", " ~ rest ~ ") end") -}}
{% endmacro %}


{% macro duckdb__segconn_timestamp(column, data_type) %}
  {%- set exact = column if (data_type | lower) == 'timestamp' else "cast(" ~ column ~ " as timestamp)" -%}
  {%- set usual = "case when microsecond(" ~ exact ~ ") % 1000 = 0 then strftime(" ~ exact ~ ", '%Y-%m-%dT%H:%M:%S.%gZ') else strftime(" ~ exact ~ ", '%Y-%m-%dT%H:%M:%S.%fZ') end" -%}
  {{- return(duckdb__segconn_dated(exact, usual, "'-%m-%dT%H:%M:%S.%fZ'")) -}}
{% endmacro %}


{% macro duckdb__segconn_in_utc(column, zone) %}
  {{- return(default__segconn_in_utc("cast(" ~ column ~ " as timestamp)", zone)) -}}
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


{% macro duckdb__segconn_json(column, data_type) %}
  {{- return('cast(to_json(' ~ column ~ ') as varchar)') -}}
{% endmacro %}


{% macro duckdb__segconn_open_session() %}
set TimeZone = 'UTC'; set Calendar = 'gregorian'; set default_collation = ''; set errors_as_json = false
{% endmacro %}


{#- Newer versions of DuckDB buffer five row groups per thread before writing: 100 MB of memory, and no faster. -#}
{% macro duckdb__segconn_optional_settings() %}
select 'set ' || name || ' = 1' from duckdb_settings() where name = 'write_buffer_row_group_count'
{% endmacro %}


{% macro duckdb__segconn_describe_relations(relations) %}
{%- for relation in relations %}
select {{ loop.index0 }} as nth, column_name, column_type from (describe {{ relation }})
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endmacro %}
