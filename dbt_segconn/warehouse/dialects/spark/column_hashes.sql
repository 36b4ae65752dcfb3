{% macro spark__segconn_concat(parts) %}
  {{- return('concat(' ~ (parts | join(', ')) ~ ')') -}}
{% endmacro %}
