{#- Of the values' own hashes, for no text may be longer than a column. -#}
{% macro redshift__segconn_checksum(signature, columns) %}
  {%- set parts = ["'" ~ signature ~ "'"] -%}
  {%- for column in columns -%}
    {%- do parts.append("coalesce('" ~ column.tag ~ "' || md5(" ~ segconn_json_text(column) ~ "), 'n')") -%}
  {%- endfor -%}
  {{- return('md5(' ~ (parts | join(' || ')) ~ ')') -}}
{% endmacro %}


{% macro redshift__segconn_index_outbox(outbox) %}
{% endmacro %}
