{#- The delivery log: a row for each confirmed call. See `state/outcomes.py`. -#}

{#- A table that finds its newest and oldest rows without reading the others, if the warehouse has such tables. -#}
{% macro segconn_create_deliveries(relation, columns) %}
  {{- return(adapter.dispatch('segconn_create_deliveries')(relation, columns)) -}}
{% endmacro %}

{% macro default__segconn_create_deliveries(relation, columns) %}
  {{- return(segconn_create_table(relation, columns)) -}}
{% endmacro %}


{#- A further column with the day, by which the table is partitioned, for warehouses that cannot delete rows. -#}
{% macro segconn_delivery_day() %}
  {{- return(adapter.dispatch('segconn_delivery_day')()) -}}
{% endmacro %}

{% macro default__segconn_delivery_day() %}
  {{- return('') -}}
{% endmacro %}


{#- Log the changes of an outbox that were sent and not discarded; those that are logged already are left out. A row is
    logged after its sync has started: this bounds the rows that are read again. -#}
{% macro segconn_log_deliveries(
    deliveries, columns, outbox, records, discards, sync_id, started_at, prefix, change_types, upto, at, names, members
) %}
insert into {{ deliveries }} ({{ columns | join(', ') }}{{ segconn_delivery_day() }})
select {{ segconn_literal(sync_id) }}, outbox.record_id, outbox.change_type,
    {{ segconn_message_id(prefix, 'outbox.change_number') }},
    {{ segconn_changed_names(names, members) if names else 'cast(null as ' ~ segconn_type_string() ~ ')' }},
    {{ segconn_literal(at) }}{{ ", '" ~ at.strftime('%Y-%m-%d') ~ "'" if segconn_delivery_day() }}
from {{ outbox }} as outbox
{%- if names %}
left join {{ segconn_known_records(records, with_hashes=true) }} as known on known.record_id = outbox.record_id
{%- endif %}
left join (
    select distinct record_id
    from {{ discards }}
    where sync_id = {{ segconn_literal(sync_id) }} and record_id is not null and change_type <> 'closed'
) as discarded on discarded.record_id = outbox.record_id
left join (
    select record_id
    from {{ deliveries }}
    where sync_id = {{ segconn_literal(sync_id) }} and settled_at >= {{ segconn_literal(started_at) }}
) as logged on logged.record_id = outbox.record_id
where outbox.change_type in ({{ segconn_literals(change_types) }})
    {%- if upto is not none %}
    and outbox.change_number <= {{ upto }}
    {%- endif %}
    and discarded.record_id is null and logged.record_id is null
{% endmacro %}


{#- The messageId of a change: see `message_id_prefix` in `engine/calls.py`. -#}
{% macro segconn_message_id(prefix, number) %}
  {%- if prefix is none -%} {{- return('cast(null as ' ~ segconn_type_string() ~ ')') -}} {%- endif -%}
  {{- return(segconn_literal(prefix) ~ ' || ' ~ segconn_as_text(number, 'integer')) -}}
{% endmacro %}


{#- The names of the changed columns of an updated record as a JSON array; null if they are not known. -#}
{% macro segconn_changed_names(names, members) %}
  {%- set parts = [] -%}
  {%- for member in members -%}
    {%- set hashes = 'substr(outbox.column_hashes, N, 8) <> substr(known.column_hashes, N, 8)' | replace('N', 8 * loop.index + 1) -%}
    {%- do parts.append('case when ' ~ hashes ~ ' then ' ~ segconn_literal(member) ~ " else '' end") -%}
  {%- endfor -%}
  {%- set list = "'[' || substr(" ~ adapter.dispatch('segconn_concat')(parts) ~ ", 2) || ']'" -%}
  {{- return("case when outbox.change_type = 'updated' and " ~ segconn_has_hashes('known.column_hashes', names) ~ ' = 1 then ' ~ list ~ ' end') -}}
{% endmacro %}


{#- The days in the log, for warehouses that drop them because they cannot delete rows. -#}
{% macro segconn_delivery_days(deliveries) %}
  {{- return(adapter.dispatch('segconn_delivery_days')(deliveries)) -}}
{% endmacro %}

{% macro default__segconn_delivery_days(deliveries) %}
{% endmacro %}


{% macro segconn_prune_deliveries(deliveries, before, days) %}
  {{- return(adapter.dispatch('segconn_prune_deliveries')(deliveries, before, days)) -}}
{% endmacro %}

{% macro default__segconn_prune_deliveries(deliveries, before, days) %}
delete from {{ deliveries }}
where settled_at < {{ segconn_literal(before) }}
{% endmacro %}


{#- The confirmed calls and the discards of a record, oldest first. A sync belongs to the mapping of its last row. -#}
{% macro segconn_past_of_record(deliveries, syncs, discards, mapping_id, record_id) %}
{%- set no_text = 'cast(null as ' ~ segconn_type_string() ~ ')' -%}
select happened_at, record_id, change_type, outcome, changed, reason, message_id, sync_id
from (
    {%- if deliveries %}
    select settled_at as happened_at, record_id, change_type, 'confirmed' as outcome, changed_columns as changed,
        {{ no_text }} as reason, message_id, sync_id
    from {{ deliveries }} as deliveries
    where record_id = {{ segconn_literal(record_id) }}
        and sync_id in (select sync_id from {{ syncs }} where mapping_id = {{ segconn_literal(mapping_id) }})

    union all
    {% endif %}
    select discarded_at as happened_at, record_id, change_type, 'discarded' as outcome, {{ no_text }} as changed,
        reason, {{ no_text }} as message_id, sync_id
    from {{ discards }} as discards
    where record_id = {{ segconn_literal(record_id) }} and mapping_id = {{ segconn_literal(mapping_id) }}
        and change_type <> 'closed'
) as past
order by happened_at, sync_id
{% endmacro %}
