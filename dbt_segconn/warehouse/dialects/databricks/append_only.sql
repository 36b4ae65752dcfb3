{#- Delta tables support update and delete, so Databricks uses the default macros instead of Spark's. -#}
{% macro databricks__segconn_storage() %}
  {{- return('using delta') -}}
{% endmacro %}

{% macro databricks__segconn_create_records(relation, columns) %}
  {{- return(default__segconn_create_records(relation, columns)) -}}
{% endmacro %}

{% macro databricks__segconn_known_records(records, with_hashes) %}
  {{- return(default__segconn_known_records(records, with_hashes)) -}}
{% endmacro %}

{% macro databricks__segconn_delete_settled(outbox, records, discards, sync_id, kept) %}
  {{- return(default__segconn_delete_settled(outbox, records, discards, sync_id, kept)) -}}
{% endmacro %}

{% macro databricks__segconn_insert_settled(outbox, records, discards, sync_id, kept) %}
  {{- return(default__segconn_insert_settled(outbox, records, discards, sync_id, kept)) -}}
{% endmacro %}

{% macro databricks__segconn_delete_abandoned(outbox, records, discards, sync_id, change_types) %}
  {{- return(default__segconn_delete_abandoned(outbox, records, discards, sync_id, change_types)) -}}
{% endmacro %}

{% macro databricks__segconn_insert_abandoned(outbox, records, discards, sync_id, change_types, watermark) %}
  {{- return(default__segconn_insert_abandoned(outbox, records, discards, sync_id, change_types, watermark)) -}}
{% endmacro %}

{% macro databricks__segconn_release(locks, tokens) %}
  {{- return(default__segconn_release(locks, tokens)) -}}
{% endmacro %}

{% macro databricks__segconn_create_deliveries(relation, columns) %}
  {{- return(default__segconn_create_deliveries(relation, columns)) -}}
{% endmacro %}

{% macro databricks__segconn_delivery_day() %}
  {{- return(default__segconn_delivery_day()) -}}
{% endmacro %}

{% macro databricks__segconn_delivery_days(deliveries) %}
  {{- return(default__segconn_delivery_days(deliveries)) -}}
{% endmacro %}

{% macro databricks__segconn_prune_deliveries(deliveries, before, days) %}
  {{- return(default__segconn_prune_deliveries(deliveries, before, days)) -}}
{% endmacro %}

{% macro databricks__segconn_mark_resent(records, diff) %}
  {{- return(default__segconn_mark_resent(records, diff)) -}}
{% endmacro %}
