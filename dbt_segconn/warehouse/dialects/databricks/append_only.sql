{#- Tables of Delta's format take the statements that Spark's own tables do not take. -#}
{% macro databricks__segconn_storage() %}
  {{- return('using delta') -}}
{% endmacro %}

{% macro databricks__segconn_create_records(relation, columns) %}
  {{- return(default__segconn_create_records(relation, columns)) -}}
{% endmacro %}

{% macro databricks__segconn_known_records(records) %}
  {{- return(default__segconn_known_records(records)) -}}
{% endmacro %}

{% macro databricks__segconn_forget_settled(outbox, records, discards, sync_id) %}
  {{- return(default__segconn_forget_settled(outbox, records, discards, sync_id)) -}}
{% endmacro %}

{% macro databricks__segconn_remember_settled(outbox, records, discards, sync_id) %}
  {{- return(default__segconn_remember_settled(outbox, records, discards, sync_id)) -}}
{% endmacro %}

{% macro databricks__segconn_forget_abandoned(outbox, records, discards, sync_id, change_types) %}
  {{- return(default__segconn_forget_abandoned(outbox, records, discards, sync_id, change_types)) -}}
{% endmacro %}

{% macro databricks__segconn_remember_abandoned(outbox, records, discards, sync_id, change_types, watermark) %}
  {{- return(default__segconn_remember_abandoned(outbox, records, discards, sync_id, change_types, watermark)) -}}
{% endmacro %}

{% macro databricks__segconn_release(locks, tokens) %}
  {{- return(default__segconn_release(locks, tokens)) -}}
{% endmacro %}
