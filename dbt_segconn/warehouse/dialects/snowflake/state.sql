{#- The meaning of TIMESTAMP is a setting of the account. -#}
{% macro snowflake__segconn_type_time() %}
  {{- return('timestamp_ntz') -}}
{% endmacro %}


{% macro snowflake__segconn_kept_grants() %}
  {{- return(' copy grants') -}}
{% endmacro %}


{% macro snowflake__segconn_grant(relation, user) %}
  {{- return("create schema if not exists " ~ relation.without_identifier() ~ "; grant all on schema " ~ relation.without_identifier() ~ " to role " ~ (target.role or user) ~ ";") -}}
{% endmacro %}
