{#- The largest and smallest decimals are outside the range of doubles. -#}
{% macro postgres__segconn_number_digits(value) %}
  {%- set double = 'cast(' ~ value ~ ' as double precision)' -%}
  {{- return('case when ' ~ value ~ ' = floor(' ~ value ~ ') or abs(' ~ value ~ ') not between 1e-300 and 1e300 then cast(' ~ value ~ ' as text) else ' ~ default__segconn_digits(double) ~ ' end') -}}
{% endmacro %}


{#- jsonb sorts keys and removes blanks. Values that jsonb rejects stay as they are: NUL, a lone surrogate, a number
    outside the range of numeric. -#}
{% macro postgres__segconn_plain_json(text) %}
  {%- set pattern = "('e[-+]?[0-9]{5}|' || chr(92) || chr(92) || 'u(0000|d[89a-f])')" -%}
  {{- return('case when ' ~ text ~ ' ~* ' ~ pattern ~ ' then ' ~ text ~ ' else cast(cast(' ~ text ~ ' as jsonb) as text) end') -}}
{% endmacro %}


{#- Texts of columns with different collations cannot be joined. -#}
{% macro postgres__segconn_text(column, data_type) %}
  {{- return(default__segconn_text(column, data_type) ~ ' collate "default"') -}}
{% endmacro %}


{% macro postgres__segconn_lost(column, value_type) %}
  {%- if value_type in ('date', 'timestamp', 'timestamptz', 'interval') -%} {{- return('not isfinite(' ~ column ~ ')') -}}
  {%- elif value_type in ('float', 'single', 'number', 'exact') -%} {{- return(column ~ " in ('NaN', 'Infinity', '-Infinity')") -}}
  {%- elif value_type in ('decimal', 'whole') -%} {{- return('cast(' ~ column ~ " as numeric) = 'NaN'") -}}
  {%- endif -%}
  {{- return('') -}}
{% endmacro %}


{% macro postgres__segconn_decimal(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as numeric) as double precision)') -}}
{% endmacro %}


{% macro postgres__segconn_number(column, data_type) %}
  {{- return('trim_scale(' ~ column ~ ')') -}}
{% endmacro %}


{% macro postgres__segconn_exact(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as numeric) as text)') -}}
{% endmacro %}


{% macro postgres__segconn_date(column, data_type) %}
  {{- return(postgres__segconn_dated(column, "to_char(" ~ column ~ ", 'YYYY-MM-DD')", "'-MM-DD'")) -}}
{% endmacro %}

{#- PostgreSQL has no year 0: 1 BC is -1. -#}
{% macro postgres__segconn_dated(column, usual, rest) %}
  {%- set year = "extract(year from " ~ column ~ ")" -%}
  {{- return("case when " ~ year ~ " > 0 then " ~ usual ~ " else case when " ~ year ~ " < -1 then '-' else '' end || lpad(cast(-" ~ year ~ " - 1 as text), 4, '0') || to_char(" ~ column ~ ", " ~ rest ~ ") end") -}}
{% endmacro %}


{% macro postgres__segconn_timestamp(column, data_type) %}
  {%- set usual = "to_char(" ~ column ~ ", case when extract(microseconds from " ~ column ~ ")::bigint % 1000 = 0 then 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"' else 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"' end)" -%}
  {{- return(postgres__segconn_dated(column, usual, "'-MM-DD\"T\"HH24:MI:SS.US\"Z\"'")) -}}
{% endmacro %}


{#- to_json writes NaN and infinity as quoted strings. -#}
{% macro postgres__segconn_json(column, data_type) %}
  {%- if data_type in ('json', 'jsonb') -%} {{- return('cast(' ~ column ~ ' as text)') -}} {%- endif -%}
  {%- set text = 'cast(to_json(' ~ column ~ ') as text)' -%}
  {%- if data_type.startswith(('real', 'double', 'numeric')) -%}
    {%- set text = 'regexp_replace(' ~ text ~ ", '\"(NaN|-?Infinity)\"', 'null', 'g')" -%}
  {%- endif -%}
  {{- return(text) -}}
{% endmacro %}


{% macro postgres__segconn_binary(column, data_type) %}
  {{- return("replace(encode(" ~ column ~ ", 'base64'), chr(10), '')") -}}
{% endmacro %}


{#- See segconn_open_transaction. -#}
{% macro postgres__segconn_open_session() %}
{% endmacro %}


{% macro postgres__segconn_open_transaction() %}
set local timezone to 'UTC'; set local datestyle to 'ISO, YMD'; set local intervalstyle to 'iso_8601';
set local extra_float_digits to 1; set local bytea_output to 'hex'; set local quote_all_identifiers to off;
set local lc_monetary to default; set local search_path to default; set local jit to off;
{% endmacro %}


{#- Resolve types: a domain to its base type, an array to its element type, a composite to `record`. Enumerations,
    ranges and types of extensions are text, except hstore. -#}
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
        when t.typtype = 'b' and n.nspname = 'pg_catalog' and t.typname <> 'jsonpath'
            then format_type(t.oid, types.modifier)
        when t.typtype = 'b' and t.typname = 'hstore' and to_json.castsource is not null then 'hstore'
        else 'text'
    end || types.brackets
from types
inner join pg_catalog.pg_type as t on t.oid = types.type_id
inner join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
left join pg_catalog.pg_type as element on element.oid = t.typelem and element.typarray = t.oid
left join pg_catalog.pg_cast as to_json
    on to_json.castsource = t.oid and to_json.casttarget = 'pg_catalog.json'::regtype
where t.typtype <> 'd' and element.oid is null
order by types.attnum
{% endmacro %}


{#- An E'' literal does not depend on standard_conforming_strings. -#}
{% macro postgres__segconn_text_literal(value) %}
  {%- set mark = 'E' if '\\' in value else '' -%}
  {{- return(mark ~ "'" ~ (value | replace("\\", "\\\\") | replace("'", "''")) ~ "'") -}}
{% endmacro %}
