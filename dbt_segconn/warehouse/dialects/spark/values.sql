{#- Spark copies the expression of a column to each place where it is used; the lambda evaluates it once. -#}
{% macro spark__segconn_digits(value) %}
  {{- return('transform(array(' ~ value ~ '), x -> ' ~ default__segconn_digits('x') ~ ')[0]') -}}
{% endmacro %}


{% macro spark__segconn_decimal(column, data_type) %}
  {{- return('cast(' ~ column ~ ' as double)') -}}
{% endmacro %}


{% macro spark__segconn_single(column, data_type) %}
  {{- return('cast(cast(' ~ column ~ ' as string) as double)') -}}
{% endmacro %}


{% macro spark__segconn_timestamp(column, data_type) %}
  {{- return("date_format(" ~ column ~ ", \"yyyy-MM-dd'T'HH:mm:ss\") || case when date_format(" ~ column ~ ", 'SSSSSS') like '%000' then date_format(" ~ column ~ ", '.SSS') else date_format(" ~ column ~ ", '.SSSSSS') end || 'Z'") -}}
{% endmacro %}


{#- The session's time zone is UTC. -#}
{% macro spark__segconn_timestamptz(column, data_type) %}
  {{- return(spark__segconn_timestamp(column, data_type)) -}}
{% endmacro %}


{% macro spark__segconn_in_utc(column, zone) %}
  {{- return("to_utc_timestamp(" ~ column ~ ", " ~ segconn_literal(zone) ~ ")") -}}
{% endmacro %}


{#- Keep null fields, as other warehouses do. to_json writes NaN and infinity as quoted strings. -#}
{% macro spark__segconn_json(column, data_type) %}
  {%- set text = 'to_json(' ~ column ~ ", map('ignoreNullFields', 'false'))" -%}
  {%- if data_type in ('array<double>', 'array<float>') -%}
    {%- set text = 'regexp_replace(' ~ text ~ ", '\"(NaN|-?Infinity)\"', 'null')" -%}
  {%- endif -%}
  {{- return(text) -}}
{% endmacro %}


{% macro spark__segconn_binary(column, data_type) %}
  {{- return("replace(replace(base64(" ~ column ~ "), chr(13), ''), chr(10), '')") -}}
{% endmacro %}


{#- With constraint propagation, Spark's planner needs minutes and gigabytes for a diff of 30 columns. dbt-spark
    disables the ANSI mode, too, but a Thrift server ignores the settings that it passes. Without `cleanup.skipped`,
    an insert that ends deletes the files that other inserts into the same table have not committed yet. -#}
{% macro spark__segconn_open_session() %}
set spark.sql.session.timeZone = UTC;
set spark.sql.ansi.enabled = false;
set mapreduce.fileoutputcommitter.cleanup.skipped = true;
set spark.sql.constraintPropagation.enabled = false
{% endmacro %}


{#- Each process writes in a folder of its own, until an insert ends: otherwise it publishes the files of others. -#}
{% macro spark__segconn_optional_settings() %}
select concat('set mapreduce.job.application.attempt.id = ', cast(1 + floor(rand() * 2000000000) as int))
{% endmacro %}


{#- A backslash in a literal is an escape. -#}
{% macro spark__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "\\'")) ~ "'") -}}
{% endmacro %}


{#- The session's time zone is UTC. -#}
{% macro spark__segconn_now() %}
  {{- return("cast(current_timestamp() as timestamp_ntz)") -}}
{% endmacro %}
