{#- Redshift has no function that escapes a text for JSON. -#}
{% macro redshift__segconn_written_types() %}
{% endmacro %}
