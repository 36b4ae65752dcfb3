{% macro bigquery__segconn_type_string() %}
  {{- return('string') -}}
{% endmacro %}


{% macro bigquery__segconn_type_time() %}
  {{- return('datetime') -}}
{% endmacro %}


{% macro bigquery__segconn_type_float() %}
  {{- return('float64') -}}
{% endmacro %}


{% macro bigquery__segconn_grant(relation, user) %}
  {{- return("create schema if not exists " ~ relation.without_identifier() ~ "; grant `roles/bigquery.dataEditor` on schema " ~ relation.without_identifier() ~ " to 'user:" ~ user ~ "';") -}}
{% endmacro %}


{% macro bigquery__segconn_create_deliveries(relation, columns) %}
  {{- return(default__segconn_create_deliveries(relation, columns) ~ ' cluster by settled_at') -}}
{% endmacro %}
