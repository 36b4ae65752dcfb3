{#- Each column stands in it once, for Spark copies the expression of a column to wherever it is named; and in
    one flat call, for Spark's planner takes minutes and gigabytes for a long chain of `||`. -#}
{% macro spark__segconn_checksum(signature, columns) %}
  {%- set parts = ["'" ~ signature ~ "'"] -%}
  {%- for column in columns -%}
    {%- do parts.append("coalesce(concat('" ~ column.tag ~ "', md5(" ~ segconn_json_text(column) ~ ")), 'n')") -%}
  {%- endfor -%}
  {{- return('md5(concat(' ~ (parts | join(', ')) ~ '))') -}}
{% endmacro %}
