{#- Databricks' SQL warehouses let few settings be set. -#}
{% macro databricks__segconn_open_session() %}
set time zone 'UTC'
{% endmacro %}
