{#- Redshift cannot cast a boolean to text. -#}
{% macro redshift__segconn_as_text(value, value_type) %}
  {%- if value_type == 'boolean' -%}
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
  {{- return(default__segconn_date(column, data_type)) -}}
{% endmacro %}


{% macro redshift__segconn_timestamp(column, data_type) %}
  {{- return("to_char(" ~ column ~ ", case when to_char(" ~ column ~ ", 'US') like '%000' then 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"' else 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"' end)") -}}
{% endmacro %}


{% macro redshift__segconn_json(column, data_type) %}
  {{- return('json_serialize(' ~ column ~ ')') -}}
{% endmacro %}


{% macro redshift__segconn_binary(column, data_type) %}
  {{- return("from_varbyte(" ~ column ~ ", 'base64')") -}}
{% endmacro %}


{% macro redshift__segconn_open_session() %}
set timezone to 'UTC'; set datestyle to 'ISO, YMD'
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
