{% macro postgres__segconn_grant(relation, user) %}
  {{- return("create schema if not exists " ~ adapter.quote(relation.schema) ~ " authorization " ~ adapter.quote(user) ~ ";") -}}
{% endmacro %}
