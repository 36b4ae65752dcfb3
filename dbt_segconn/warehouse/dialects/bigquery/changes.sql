{% macro bigquery__segconn_hash(text) %}
  {{- return('to_hex(md5(' ~ text ~ '))') -}}
{% endmacro %}
