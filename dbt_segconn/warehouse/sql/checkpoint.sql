{#- Which rows of a model are new: those with a checkpoint value of at least `after`. See Window in
    `state/checkpoint.py`. -#}

{#- Rows with a null, NaN or infinite value are always new. Below `before` are only rows with a value. -#}
{% macro segconn_is_new(window) %}
  {%- set column = segconn_quote(window.column.name) -%}
  {%- set lost = segconn_lost(window.column) -%}
  {%- set from = column ~ ' >= ' ~ segconn_limit(window, window.after) if window.after is not none -%}
  {%- if window.before is not none -%}
    {{- return('(' ~ (from ~ ' and ' if from) ~ column ~ ' < ' ~ segconn_limit(window, window.before) ~ ')') -}}
  {%- endif -%}
  {{- return('(' ~ from ~ ' or ' ~ column ~ ' is null' ~ (' or ' ~ lost if lost else '') ~ ')') -}}
{% endmacro %}


{% macro segconn_limit(window, limit) %}
  {%- set value = segconn_literal(limit) -%}
  {{- return(value if limit is number else 'cast(' ~ value ~ ' as ' ~ window.column.data_type ~ ')') -}}
{% endmacro %}


{#- The greatest value of a checkpoint column, in the column's own time zone. -#}
{% macro segconn_newest(model, column, window) %}
{%- set lost = segconn_lost(column) -%}
select {{ adapter.dispatch('segconn_' ~ column.value_type)('newest', column.data_type) }} as newest
from (
    select max({{ segconn_quote(column.name) }}) as newest
    from {{ model }}
    {%- if lost or window %}
    where {{ 'not (' ~ lost ~ ')' if lost }}{{ ' and ' if lost and window }}{{ segconn_is_new(window) if window }}
    {%- endif %}
) as newest_rows
{% endmacro %}


{#- The keys of records to read whatever their age: discarded ones, and those with an unknown state at Segment. -#}
{% macro segconn_unsettled(records, discards, mapping_id) %}
select {{ segconn_key('record_id') }} as record_key
from {{ segconn_known_records(records) }} as records
where checksum is null
union all
select {{ segconn_key('record_id') }} as record_key
from ({{ segconn_open_discards(discards) }}) as open_discards
where mapping_id = {{ segconn_literal(mapping_id) }}
{% endmacro %}


{% macro segconn_count_unsettled(records, discards, mapping_id) %}
select count(*) from ({{ segconn_unsettled(records, discards, mapping_id) }}) as unsettled
{% endmacro %}
