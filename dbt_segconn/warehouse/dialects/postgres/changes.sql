{% macro postgres__segconn_number_rows() %}
  {{- return('row_number() over ()') -}}
{% endmacro %}


{% macro postgres__segconn_index_outbox(outbox) %}
create index on {{ outbox }} (change_number)
{% endmacro %}


{#- The text of a row has quotation marks: null differs from '', and no two rows have the same text. It has no names of
    fields, which the JSON of a composite type has. -#}
{% macro postgres__segconn_fingerprint(seed, columns) %}
  {%- set parts = ["'" ~ seed ~ "'"] -%}
  {%- for column in columns -%}
    {%- set name = segconn_quote(column.name) -%}
    {%- if column.data_type == 'json' -%} {%- set name = postgres__segconn_plain_json('cast(' ~ name ~ ' as text)') -%}
    {%- elif column.value_type == 'json' and column.data_type != 'jsonb' -%} {%- set name = segconn_value(column) -%}
    {%- endif -%}
    {%- do parts.append(name) -%}
  {%- endfor -%}
  {{- return('hashtextextended(cast(row(' ~ (parts | join(', ')) ~ ') as text), 0)') -}}
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
