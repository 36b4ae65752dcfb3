{#- Ids of an outbox that stand for no one user or group. An id has `field`, `columns` (the aliases of those whose
    values make it), `is_number`, `junk` (in lower case, without blanks around it). -#}

{#- An id without the blanks around it, in lower case. -#}
{% macro segconn_id_word(id, blanks) %}
  {%- set text = namespace(sql=segconn_as_text(id.columns[0], 'text')) -%}
  {%- for blank in blanks -%}
    {%- set text.sql = 'replace(' ~ text.sql ~ ', ' ~ segconn_literal(blank) ~ ", ' ')" -%}
  {%- endfor -%}
  {{- return('lower(trim(' ~ text.sql ~ '))') -}}
{% endmacro %}


{#- The junk among the ids with its counts; and of the shared ones how many there are, and how many records have the
    one with most. A row: field, the junk, its records or the shared ids, the most records. -#}
{% macro segconn_doubtful_ids(outbox, diff, change_types, ids, shared, blanks, most) %}
{%- set changes = '(' ~ segconn_changes(diff) ~ ') as changes' if diff else outbox -%}
{%- for id in ids %}
select {{ segconn_literal(id.field) }} as field, {{ segconn_id_word(id, blanks) }} as junk, count(*) as found, 0 as most
from {{ changes }}
where change_type in ({{ segconn_literals(change_types) }}) and {{ segconn_is_junk(id, blanks) }}
group by 2
{{ 'union all' if shared or not loop.last }}
{%- endfor %}
{%- for id in shared %}
select {{ segconn_literal(id.field) }} as field, cast(null as {{ segconn_type_string() }}) as junk, count(*) as found, coalesce(max(records), 0) as most
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


{#- An empty text is none: it makes no call. -#}
{% macro segconn_is_junk(id, blanks) %}
  {%- if id.is_number -%} {{- return('(' ~ id.columns[0] ~ ' in (0, -1))') -}} {%- endif -%}
  {{- return('(' ~ segconn_id_word(id, blanks) ~ ' in (' ~ segconn_literals(id.junk) ~ ') and ' ~ segconn_as_text(id.columns[0], 'text') ~ " <> '')") -}}
{% endmacro %}


{#- Whether each of these columns has one value in all rows of a model: 1 or 0. -#}
{% macro segconn_have_one_value(model, columns) %}
select
    {%- for column in columns %}
    case when min({{ segconn_quote(column.name) }}) = max({{ segconn_quote(column.name) }}) then 1 else 0 end as has_one_{{ loop.index }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ model }} as all_rows
{% endmacro %}
