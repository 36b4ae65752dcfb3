{% macro postgres__segconn_number_rows() %}
  {{- return('row_number() over ()') -}}
{% endmacro %}


{% macro postgres__segconn_index_outbox(outbox) %}
create index on {{ outbox }} (change_number)
{% endmacro %}


{#- The hashes of all values as texts. Each column has a seed of its own, so equal values do not cancel out. The text of
    a whole row would take twice the time. Texts that another collation takes for equal differ in the collation "C". -#}
{% macro postgres__segconn_fingerprint(seed, columns) %}
  {%- set start = seed[:15] | int(base=16) -%}
  {%- set parts = ['cast(' ~ start ~ ' as bigint)'] -%}
  {%- for column in columns -%}
    {%- set text = 'cast(' ~ segconn_quote(column.name) ~ ' as text)' -%}
    {%- if column.data_type == 'json' -%} {%- set text = postgres__segconn_plain_json(text) -%}
    {%- elif column.value_type == 'json' and column.data_type != 'jsonb' -%} {%- set text = segconn_value(column) -%}
    {%- endif -%}
    {%- set own = start + loop.index -%}
    {%- do parts.append('coalesce(hashtextextended((' ~ text ~ ') collate "C", ' ~ own ~ '), ' ~ own ~ ')') -%}
  {%- endfor -%}
  {{- return('(' ~ (parts | join(' # ')) ~ ')') -}}
{% endmacro %}


{#- A later sync then finds the records that it settles without reading the others. A unique index tells the planner how
    many rows join, even before the table has statistics: otherwise, it expects billions, and sorts both sides on disk.
    The first sync inserts faster without an index. -#}
{% macro postgres__segconn_index_records(records) %}
do $$
begin
    if not exists (
        select from pg_catalog.pg_index where indrelid = to_regclass({{ segconn_literal(records | string) }})
    ) then
        create unique index on {{ records }} (record_id);
    end if;
end $$
{% endmacro %}
