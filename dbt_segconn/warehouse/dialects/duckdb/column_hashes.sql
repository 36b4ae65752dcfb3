{#- One call of concat, as in checksums. -#}
{% macro duckdb__segconn_concat(parts) %}
  {{- return('concat(' ~ (parts | join(', ')) ~ ')') -}}
{% endmacro %}
