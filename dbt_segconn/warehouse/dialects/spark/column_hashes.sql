{% macro spark__segconn_joined(parts) %}
  {{- return('concat(' ~ (parts | join(', ')) ~ ')') -}}
{% endmacro %}
