{#- SQL warehouses of Databricks allow few settings. -#}
{% macro databricks__segconn_open_session() %}
set time zone 'UTC'
{% endmacro %}


{% macro databricks__segconn_optional_settings() %}
  {{- return(default__segconn_optional_settings()) -}}
{% endmacro %}
