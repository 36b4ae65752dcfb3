{#- A cast of a time to text depends on TIME_OUTPUT_FORMAT, whose default has no fractions of seconds. -#}
{% macro snowflake__segconn_text(column, data_type) %}
  {%- if (data_type | lower).startswith('time') -%}
    {{- return("rtrim(rtrim(to_varchar(" ~ column ~ ", 'HH24:MI:SS.FF9'), '0'), '.')") -}}
  {%- endif -%}
  {{- return(default__segconn_text(column, data_type)) -}}
{% endmacro %}


{#- A cast to text depends on DATE_OUTPUT_FORMAT. -#}
{% macro snowflake__segconn_date(column, data_type) %}
  {{- return("to_varchar(" ~ column ~ ", 'YYYY-MM-DD')") -}}
{% endmacro %}


{% macro snowflake__segconn_timestamp(column, data_type) %}
  {%- set column = "cast(" ~ column ~ " as timestamp_ntz)" -%}
  {{- return("to_varchar(" ~ column ~ ", 'YYYY-MM-DD\"T\"HH24:MI:SS') || case when mod(date_part(nanosecond, " ~ column ~ "), 1000000) = 0 then to_varchar(" ~ column ~ ", '.FF3') else to_varchar(" ~ column ~ ", '.FF6') end || 'Z'") -}}
{% endmacro %}


{% macro snowflake__segconn_timestamptz(column, data_type) %}
  {{- return(snowflake__segconn_timestamp("convert_timezone('UTC', " ~ column ~ ")", data_type)) -}}
{% endmacro %}


{% macro snowflake__segconn_in_utc(column, zone) %}
  {{- return("convert_timezone(" ~ segconn_literal(zone) ~ ", 'UTC', " ~ column ~ ")") -}}
{% endmacro %}


{% macro snowflake__segconn_json(column, data_type) %}
  {{- return('to_json(to_variant(' ~ column ~ '))') -}}
{% endmacro %}


{% macro snowflake__segconn_binary(column, data_type) %}
  {{- return('base64_encode(' ~ column ~ ')') -}}
{% endmacro %}


{% macro snowflake__segconn_open_session() %}
alter session set timezone = 'UTC'
{% endmacro %}


{% macro snowflake__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "''")) ~ "'") -}}
{% endmacro %}


{% macro snowflake__segconn_now() %}
  {{- return("cast(sysdate() as timestamp_ntz)") -}}
{% endmacro %}
