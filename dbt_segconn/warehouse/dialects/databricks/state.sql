{#- The rights of Unity Catalog. -#}
{% macro databricks__segconn_grant(relation, user) %}
  {%- set schema = relation.without_identifier() -%}
  {{- return('create schema if not exists ' ~ schema ~ '; grant use catalog on catalog ' ~ adapter.quote(relation.database or 'hive_metastore') ~ ' to ' ~ adapter.quote(user) ~ '; grant use schema, create table, select, modify on schema ' ~ schema ~ ' to ' ~ adapter.quote(user) ~ ';') -}}
{% endmacro %}
