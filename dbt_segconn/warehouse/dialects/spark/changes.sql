{#- Each column occurs once, because Spark copies its expression to each place where it is used. One call of concat:
    Spark's planner needs minutes and gigabytes for a long chain of `||`. -#}
{% macro spark__segconn_checksum(signature, columns) %}
  {%- set parts = ["'" ~ signature ~ "'"] -%}
  {%- for column in columns -%}
    {%- do parts.append("coalesce(concat('" ~ column.tag ~ "', md5(" ~ segconn_json_text(column) ~ ")), 'n')") -%}
  {%- endfor -%}
  {{- return('md5(concat(' ~ (parts | join(', ')) ~ '))') -}}
{% endmacro %}


{% macro spark__segconn_number_rows() %}
  {{- return(segconn_number_in_buckets('pmod(xxhash64(coalesce(record_id, checksum)), 256)')) -}}
{% endmacro %}

{% macro spark__segconn_nth() %}
  {{- return('change_number') -}}
{% endmacro %}
