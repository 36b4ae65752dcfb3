{#- Each column occurs once, because Spark copies its expression to each place where it is used. One call of concat:
    Spark's planner needs minutes and gigabytes for a long chain of `||`. -#}
{% macro spark__segconn_checksum(signature, columns) %}
  {%- set parts = ["'" ~ signature ~ "'"] -%}
  {%- for column in columns -%}
    {%- do parts.append("coalesce(concat('" ~ column.tag ~ "', md5(" ~ segconn_json_text(column) ~ ")), 'n')") -%}
  {%- endfor -%}
  {{- return('md5(concat(' ~ (parts | join(', ')) ~ '))') -}}
{% endmacro %}


{#- One task would number all changes. Instead, each of 256 buckets is numbered alone: the first bucket has the numbers
    1, 257, 513, … Changes that are not sent come last. -#}
{% macro spark__segconn_number_rows() %}
  {%- set bucket = 'pmod(xxhash64(coalesce(record_id, checksum)), 256)' -%}
  {{- return("(row_number() over (partition by " ~ bucket ~ " order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + " ~ bucket ~ " + 1") -}}
{% endmacro %}

{% macro spark__segconn_nth() %}
  {{- return('change_number') -}}
{% endmacro %}
