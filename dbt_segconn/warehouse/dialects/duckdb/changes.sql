{#- One call of concat: the planner needs seconds for a chain of `||` over 500 columns. concat skips nulls, so null has
    no length and '' has one. The sign or letter before the length is the tag. -#}
{% macro duckdb__segconn_checksum(signature, columns) %}
  {%- set parts = ["'" ~ signature ~ "'"] -%}
  {%- for column in columns -%}
    {%- set text = segconn_json_text(column) -%}
    {%- if column.tag == 'b' -%}
      {%- do parts.append("'v', case when " ~ column.alias ~ " then 'T' when not " ~ column.alias ~ " then 'F' end, ':'") -%}
    {%- else -%}
      {%- set length = {'t': 'length(', 'd': '-length(', 'j': "'j' || length("}[column.tag] -%}
      {%- do parts.append("'v', " ~ length ~ text ~ "), ':', " ~ text) -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return('md5(concat(' ~ (parts | join(', ')) ~ '))') -}}
{% endmacro %}


{% macro duckdb__segconn_number_rows() %}
  {{- return('row_number() over ()') -}}
{% endmacro %}


{% macro duckdb__segconn_can_add_numbers(outbox) %}
select 1 as one from duckdb_databases() where database_name = {{ segconn_literal(outbox.database) }} and type = 'duckdb'
{% endmacro %}


{% macro duckdb__segconn_cte_hint(diff) %}
  {{- return('not materialized ' if diff.is_stored else '') -}}
{% endmacro %}


{#- hash() is not stable between versions. Two kinds of types are hashed as text: types with a weaker hash, and types
    that have different JSON for equal values. -#}
{% macro duckdb__segconn_fingerprint(seed, columns) %}
  {%- set plain = ('varchar', 'boolean', 'tinyint', 'smallint', 'integer', 'bigint', 'date', 'timestamp', 'double') -%}
  {%- set parts = ["'" ~ seed ~ "'"] -%}
  {%- for column in columns -%}
    {%- set name = segconn_quote(column.name) -%}
    {%- if column.value_type == 'json' -%} {%- set name = segconn_value(column) -%}
    {%- elif (column.data_type | lower) not in plain -%} {%- set name = 'cast(' ~ name ~ ' as varchar)' -%}
    {%- endif -%}
    {%- do parts.append(name) -%}
  {%- endfor -%}
  {{- return('cast(hash(' ~ (parts | join(', ')) ~ ') >> 1 as bigint)') -}}
{% endmacro %}
