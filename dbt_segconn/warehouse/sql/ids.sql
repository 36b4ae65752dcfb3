{#- Ids of an outbox that identify no single user or group. An id has `field`, `columns` (aliases of the columns that
    make it), `is_number` and `junk` (texts in lower case, without blanks around them). -#}

{#- An id in lower case, without blanks around it. -#}
{% macro segconn_normalized_id(id, blanks) %}
  {%- set text = namespace(sql=segconn_as_text(id.columns[0], 'text')) -%}
  {%- for blank in blanks -%}
    {%- set text.sql = 'replace(' ~ text.sql ~ ', ' ~ segconn_literal(blank) ~ ", ' ')" -%}
  {%- endfor -%}
  {{- return('lower(trim(' ~ text.sql ~ '))') -}}
{% endmacro %}


{#- Junk ids with their counts; then, for each field of `shared`, how many ids more than `most` records share. Columns:
    field, junk (null for shared ids), count of records or of shared ids, records of the most shared id. -#}
{% macro segconn_doubtful_ids(outbox, diff, change_types, ids, shared, blanks, most) %}
{%- set changes = '(' ~ segconn_changes(diff) ~ ') as changes' if diff else outbox -%}
{%- for id in ids %}
select
    {{ segconn_literal(id.field) }} as field,
    {{ segconn_normalized_id(id, blanks) }} as junk,
    count(*) as found,
    0 as most
from {{ changes }}
where change_type in ({{ segconn_literals(change_types) }}) and {{ segconn_is_junk(id, blanks) }}
group by 2
{{ 'union all' if shared or not loop.last }}
{%- endfor %}
{%- for id in shared %}
select
    {{ segconn_literal(id.field) }} as field,
    cast(null as {{ segconn_type_string() }}) as junk,
    count(*) as found,
    coalesce(max(records), 0) as most
from (
    select {{ id.columns | join(', ') }}, count(*) as records
    from {{ changes }}
    where change_type in ({{ segconn_literals(change_types) }})
        {%- for column in id.columns %} and {{ column }} is not null {%- endfor %}
    group by {{ id.columns | join(', ') }}
    having count(*) > {{ most }}
) as of_ids
where not {{ segconn_is_junk(id, blanks) }}
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endmacro %}


{#- An empty text is not junk: it makes no call. -#}
{% macro segconn_is_junk(id, blanks) %}
  {%- if id.is_number -%} {{- return('(' ~ id.columns[0] ~ ' in (0, -1))') -}} {%- endif -%}
  {{- return('(' ~ segconn_normalized_id(id, blanks) ~ ' in (' ~ segconn_literals(id.junk) ~ ') and ' ~ segconn_as_text(id.columns[0], 'text') ~ " <> '')") -}}
{% endmacro %}


{#- For each column: 1 if all rows of the model have the same value, else 0. -#}
{% macro segconn_have_one_value(model, columns) %}
select
    {%- for column in columns %}
    {%- set name = segconn_quote(column.name) %}
    case when min({{ name }}) = max({{ name }}) then 1 else 0 end as has_one_{{ loop.index }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ model }} as all_rows
{% endmacro %}
