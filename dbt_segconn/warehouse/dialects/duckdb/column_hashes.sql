{#- In one flat call, as checksums are. -#}
{% macro duckdb__segconn_joined(parts) %}
  {{- return('concat(' ~ (parts | join(', ')) ~ ')') -}}
{% endmacro %}
