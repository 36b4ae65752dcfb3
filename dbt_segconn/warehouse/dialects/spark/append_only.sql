{#- Spark's own tables support no update, delete, merge or transactions. A mapping's records are therefore a log:
    each settle appends rows, and the last row of a record is valid. Appending the same rows again after a crash changes
    nothing. A released lock is a row, too. -#}


{% macro spark__segconn_storage() %}
  {{- return('using parquet') -}}
{% endmacro %}


{% macro spark__segconn_create_records(relation, columns) %}
  {{- return(segconn_create_table(relation, dict(columns, gone='number', settled_at='time'))) -}}
{% endmacro %}


{#- The subquery for a missing table has no log columns. -#}
{% macro spark__segconn_known_records(records, with_hashes) %}
  {%- if 'as no_rows' in (records | string) -%} {{- return(records) -}} {%- endif -%}
(
    select record_id, checksum{{ ', column_hashes' if with_hashes }}
    from (
        select log.*, row_number() over (partition by record_id order by settled_at desc, gone desc) as age
        from {{ records }} as log
    ) as latest
    where age = 1 and gone = 0
)
{%- endmacro %}


{% macro spark__segconn_delete_settled(outbox, records, discards, sync_id, kept) %}
{% endmacro %}

{% macro spark__segconn_insert_settled(outbox, records, discards, sync_id, kept) %}
insert into {{ records }} ({{ (['record_id', 'checksum', 'gone', 'settled_at'] + kept) | join(', ') }})
select record_id, checksum, case when change_type <> 'deleted' or is_doubtful = 1 then 0 else 1 end, {{ segconn_now() }}
    {%- for name in kept %}, {{ name }}{% endfor %}
from ({{ segconn_settled(outbox, discards, sync_id, kept) }}) as settled
{% endmacro %}


{% macro spark__segconn_delete_abandoned(outbox, records, discards, sync_id, change_types) %}
{% endmacro %}

{% macro spark__segconn_insert_abandoned(outbox, records, discards, sync_id, change_types, watermark) %}
insert into {{ records }} (record_id, checksum, gone, settled_at)
select record_id, case when change_number <= {{ watermark }} then checksum end,
    case when change_type <> 'deleted' or change_number > {{ watermark }} or is_doubtful = 1 then 0 else 1 end,
    {{ segconn_now() }}
from ({{ segconn_abandoned(outbox, discards, sync_id, change_types) }}) as abandoned
{% endmacro %}


{% macro spark__segconn_release(locks, tokens) %}
insert into {{ locks }} (mapping_id, token, holder, claimed_at, beat_at)
select mapping_id, token, {{ segconn_literal(segconn_released()) }}, max(claimed_at), {{ segconn_now() }}
from {{ locks }}
where token in ({{ segconn_literals(tokens) }})
group by mapping_id, token
{% endmacro %}


{#- Whole days of the delivery log are dropped, as partitions. -#}
{% macro spark__segconn_create_deliveries(relation, columns) %}
  {{- return(segconn_create_table(relation, dict(columns, settled_on='text')) ~ ' partitioned by (settled_on)') -}}
{% endmacro %}

{% macro spark__segconn_delivery_day() %}
  {{- return(', settled_on') -}}
{% endmacro %}

{% macro spark__segconn_delivery_days(deliveries) %}
show partitions {{ deliveries }}
{% endmacro %}

{% macro spark__segconn_prune_deliveries(deliveries, before, days) %}
{%- if days %}
alter table {{ deliveries }} drop if exists
    {%- for day in days %}
    partition (settled_on = '{{ day }}'){{ ',' if not loop.last }}
    {%- endfor %}
{%- endif %}
{% endmacro %}


{% macro spark__segconn_mark_resent(records, diff) %}
insert into {{ records }} (record_id, gone, settled_at)
select record_id, 0, {{ segconn_now() }}
from ({{ segconn_resent(diff) }}) as resent
{% endmacro %}
