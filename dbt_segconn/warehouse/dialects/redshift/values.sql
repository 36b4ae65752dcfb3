{#- Redshift cannot cast a boolean to text. A text without a length has 256 bytes. -#}
{% macro redshift__segconn_as_text(value, value_type) %}
  {%- if value_type in ('integer', 'whole', 'float') -%} {{- return('cast(' ~ value ~ ' as varchar(48))') -}}
  {%- elif value_type == 'boolean' -%}
    {{- return('case when ' ~ value ~ " then 'true' when not " ~ value ~ " then 'false' end") -}}
  {%- endif -%}
  {{- return(default__segconn_as_text(value, value_type)) -}}
{% endmacro %}


{% macro redshift__segconn_plain_json(text) %}
  {{- return(default__segconn_plain_json(text)) -}}
{% endmacro %}

{% macro redshift__segconn_number_digits(value) %}
  {{- return(default__segconn_number_digits(value)) -}}
{% endmacro %}


{% macro redshift__segconn_lost(column, value_type) %}
  {{- return(default__segconn_lost(column, value_type)) -}}
{% endmacro %}


{% macro redshift__segconn_decimal(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as double precision)') -}}
{% endmacro %}


{% macro redshift__segconn_number(column, data_type) %}
  {{- return(column) -}}
{% endmacro %}


{% macro redshift__segconn_exact(column, data_type) %}
  {{- return(default__segconn_exact(column, data_type)) -}}
{% endmacro %}


{% macro redshift__segconn_date(column, data_type) %}
  {{- return(postgres__segconn_date(column, data_type)) -}}
{% endmacro %}


{% macro redshift__segconn_timestamp(column, data_type) %}
  {%- set usual = "to_char(" ~ column ~ ", 'YYYY-MM-DD\"T\"HH24:MI:SS.') || case when to_char(" ~ column ~ ", 'US') like '%000' then to_char(" ~ column ~ ", 'MS') else to_char(" ~ column ~ ", 'US') end || 'Z'" -%}
  {{- return(postgres__segconn_dated(column, usual, "'-MM-DD\"T\"HH24:MI:SS.US\"Z\"'")) -}}
{% endmacro %}


{#- The text of a float has 15 digits at most, on any node and with any setting. The rest tells apart the doubles that
    share them: 0.3 and 0.30000000000000004. Near the limits of doubles, a text may be out of range. -#}
{% macro redshift__segconn_digits(value) %}
  {%- set text = segconn_as_text(value, 'float') -%}
  {%- set rest = '(' ~ value ~ ' - cast(' ~ text ~ ' as double precision))' -%}
  {%- set exact = 'case when abs(' ~ value ~ ') between 1e-300 and 1e300 and ' ~ rest ~ " <> 0 then '+' || " ~ segconn_as_text(rest, 'float') ~ " else '' end" -%}
  {{- return('case when abs(' ~ value ~ ') < 9e18 and ' ~ value ~ ' = floor(' ~ value ~ ') then ' ~ segconn_as_text('cast(' ~ value ~ ' as bigint)', 'integer') ~ ' else ' ~ text ~ ' || ' ~ exact ~ ' end') -}}
{% endmacro %}


{#- The text of a float of single precision has 6 digits. If they are not all, the value is sent as a double. -#}
{% macro redshift__segconn_single(column, data_type) %}
  {%- set short = 'cast(' ~ segconn_as_text(column, 'float') ~ ' as double precision)' -%}
  {{- return('case when abs(' ~ column ~ ') between 1e-37 and 1e37 and cast(' ~ short ~ ' as real) <> ' ~ column ~ ' then cast(' ~ column ~ ' as double precision) else ' ~ short ~ ' end') -}}
{% endmacro %}


{#- Geometries become Well-Known Text. A column of varchar keeps its width: wide texts cost memory in joins. -#}
{% macro redshift__segconn_text(column, data_type) %}
  {%- set name = data_type | lower -%}
  {%- if name in ('geometry', 'geography') -%} {{- return('st_astext(' ~ column ~ ')') -}}
  {%- elif name.startswith(('character varying', 'varchar')) -%} {{- return(column) -}}
  {%- elif name.startswith('character') -%} {{- return('rtrim(' ~ column ~ ')') -}}
  {%- endif -%}
  {{- return(default__segconn_text(column, data_type)) -}}
{% endmacro %}


{#- json_serialize makes 'null' of null, and fails above 65,535 bytes: `!` and the size then discard the record. -#}
{% macro redshift__segconn_json(column, data_type) %}
  {{- return('case when json_size(' ~ column ~ ") > 65535 then '!' || " ~ segconn_as_text('json_size(' ~ column ~ ')', 'integer') ~ ' when ' ~ column ~ ' is not null then json_serialize(' ~ column ~ ') end') -}}
{% endmacro %}


{% macro redshift__segconn_binary(column, data_type) %}
  {{- return("from_varbyte(" ~ column ~ ", 'base64')") -}}
{% endmacro %}


{% macro redshift__segconn_open_session() %}
set timezone to 'UTC'; set datestyle to 'ISO, YMD'; set extra_float_digits to 0
{% endmacro %}


{#- Intervals are newer than most clusters. -#}
{% macro redshift__segconn_optional_settings() %}
select 'set intervalstyle to iso_8601' from pg_catalog.pg_settings where lower(name) = 'intervalstyle'
{% endmacro %}


{% macro redshift__segconn_open_transaction() %}
{% endmacro %}


{% macro redshift__segconn_describe_columns(relation) %}
{% endmacro %}


{% macro redshift__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "''")) ~ "'") -}}
{% endmacro %}


{% macro redshift__segconn_now() %}
  {{- return("sysdate") -}}
{% endmacro %}
