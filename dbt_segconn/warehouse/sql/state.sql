{#- The tables of the state schema. Rows are only appended to the history and the discards. Column types have macros
    here, because those of `dbt.type_*` may differ between dbt versions. -#}

{% macro segconn_type(column_type) %}
  {%- if column_type == 'text' -%} {{- return(segconn_type_string()) -}}
  {%- elif column_type == 'number' -%} {{- return('bigint') -}}
  {%- else -%} {{- return(segconn_type_time()) -}}
  {%- endif -%}
{% endmacro %}


{#- The type of a column of the state tables. -#}
{% macro segconn_column_type(name, column_type) %}
  {{- return(adapter.dispatch('segconn_column_type')(name, column_type)) -}}
{% endmacro %}

{% macro default__segconn_column_type(name, column_type) %}
  {{- return(segconn_type(column_type)) -}}
{% endmacro %}


{#- Text of any length. -#}
{% macro segconn_type_string() %}
  {{- return(adapter.dispatch('segconn_type_string')()) -}}
{% endmacro %}

{% macro default__segconn_type_string() %}
  {{- return('TEXT') -}}
{% endmacro %}


{#- Times in the state tables are UTC, without a time zone. -#}
{% macro segconn_type_time() %}
  {{- return(adapter.dispatch('segconn_type_time')()) -}}
{% endmacro %}

{% macro default__segconn_type_time() %}
  {{- return('timestamp') -}}
{% endmacro %}


{#- Double precision. -#}
{% macro segconn_type_float() %}
  {{- return(adapter.dispatch('segconn_type_float')()) -}}
{% endmacro %}

{% macro default__segconn_type_float() %}
  {{- return('float') -}}
{% endmacro %}


{% macro segconn_create_table(relation, columns) %}
create table if not exists {{ relation }} (
    {%- for name, column_type in columns.items() %}
    {{ name }} {{ segconn_column_type(name, column_type) }}{{ ',' if not loop.last }}
    {%- endfor %}
) {{ segconn_storage() }}
{% endmacro %}


{#- The storage format of a new table, if the warehouse's default is not suitable. -#}
{% macro segconn_storage() %}
  {{- return(adapter.dispatch('segconn_storage')()) -}}
{% endmacro %}

{% macro default__segconn_storage() %}
  {{- return('') -}}
{% endmacro %}


{#- The table of a mapping's records. -#}
{% macro segconn_create_records(relation, columns) %}
  {{- return(adapter.dispatch('segconn_create_records')(relation, columns)) -}}
{% endmacro %}

{% macro default__segconn_create_records(relation, columns) %}
  {{- return(segconn_create_table(relation, columns)) -}}
{% endmacro %}


{% macro segconn_add_column(relation, name, column_type) %}
alter table {{ relation }} add column {{ name }} {{ segconn_column_type(name, column_type) }}
{% endmacro %}


{#- Which tables and views of the relation's schema exist, by lower-case name. Without a query, dbt lists the whole
    schema instead. `names` are in lower case. -#}
{% macro segconn_present(relation, names) %}
  {{- return(adapter.dispatch('segconn_present')(relation, names)) -}}
{% endmacro %}

{% macro default__segconn_present(relation, names) %}
{% endmacro %}


{#- One row per sync: its last row in the history. `create or replace` keeps the user's views on it. -#}
{% macro segconn_create_syncs_view(relation, history, columns) %}
create or replace view {{ relation }}{{ segconn_kept_grants() }} as
select
    {%- for name in columns %}
    {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
from (
    select history.*, row_number() over (partition by sync_id order by revision desc, saved_at desc) as age
    from {{ history }} as history
) as latest
where age = 1
{% endmacro %}


{#- The clause that keeps the grants of a replaced view, if the warehouse needs one. -#}
{% macro segconn_kept_grants() %}
  {{- return(adapter.dispatch('segconn_kept_grants')()) -}}
{% endmacro %}

{% macro default__segconn_kept_grants() %}
  {{- return('') -}}
{% endmacro %}


{#- No cascade: dependent objects belong to the user. -#}
{% macro segconn_drop_view(relation) %}
drop view {{ relation }}
{% endmacro %}


{#- No cascade, unlike dbt's own macro: other objects in the schema belong to the user. -#}
{% macro segconn_drop_schema(relation) %}
drop schema {{ adapter.dispatch('segconn_schema')(relation) }} restrict
{% endmacro %}

{% macro default__segconn_schema(relation) %}
  {{- return(relation.without_identifier()) -}}
{% endmacro %}


{% macro segconn_append(relation, columns, rows) %}
insert into {{ relation }} ({{ columns | join(', ') }})
values
{%- for row in rows %}
    ({{ segconn_literals(row) }}){{ ',' if not loop.last }}
{%- endfor %}
{% endmacro %}


{% macro segconn_drop(relation) %}
drop table if exists {{ relation }}
{% endmacro %}


{% macro segconn_last_sync(syncs, columns, mapping_id) %}
select {{ columns | join(', ') }}
from {{ syncs }}
where mapping_id = {{ segconn_literal(mapping_id) }}
order by started_at desc
limit 1
{% endmacro %}


{#- The newest syncs of each mapping, newest first; at most `count` of each. -#}
{% macro segconn_newest_of_each(syncs, columns, count) %}
select {{ columns | join(', ') }}
from (
    select syncs.*, row_number() over (partition by mapping_id order by started_at desc) as nth
    from {{ syncs }} as syncs
) as numbered
where nth <= {{ count }}
order by nth
{% endmacro %}


{#- The failed and canceled rows of these syncs, oldest first. -#}
{% macro segconn_interruptions(history, columns, sync_ids) %}
select {{ columns | join(', ') }}
from {{ history }}
where sync_id in ({{ segconn_literals(sync_ids) }}) and status in ('failed', 'canceled')
order by revision
{% endmacro %}


{#- A canceled sync with `finished_at` had its outbox abandoned. -#}
{% macro segconn_last_records(syncs, columns, mapping_id, settled) %}
select {{ columns | join(', ') }}
from {{ syncs }}
where mapping_id = {{ segconn_literal(mapping_id) }}
    and (status in ({{ segconn_literals(settled) }}) or (status = 'canceled' and finished_at is not null))
order by started_at desc
limit 1
{% endmacro %}


{% macro segconn_last_syncs(syncs, columns) %}
select {{ columns | join(', ') }}
from (
    select syncs.*, row_number() over (partition by mapping_id order by started_at desc) as nth
    from {{ syncs }} as syncs
) as numbered
where nth = 1
order by mapping
{% endmacro %}


{% macro segconn_count_settled(syncs, mapping_id, settled, reset) %}
select count(*)
from {{ syncs }}
where mapping_id = {{ segconn_literal(mapping_id) }}
    and (status in ({{ segconn_literals(settled) }}) or watermark > 0)
    and started_at > coalesce(
        (
            select max(started_at) from {{ syncs }}
            where mapping_id = {{ segconn_literal(mapping_id) }} and status = {{ segconn_literal(reset) }}
        ),
        cast('1970-01-01' as {{ segconn_type_time() }})
    )
{% endmacro %}


{#- An unfinished sync counts with all its calls: a later run may send them. -#}
{% macro segconn_count_spent(syncs, since, besides, not_sent) %}
select coalesce(sum(case when finished_at is null then to_send else confirmed end), 0)
from {{ syncs }}
where (finished_at is null or finished_at >= {{ segconn_literal(since) }})
    and status not in ({{ segconn_literals(not_sent) }}) and run_id <> {{ segconn_literal(besides) }}
{% endmacro %}


{% macro segconn_select_now() %}
select {{ segconn_now() }}
{% endmacro %}


{#- The columns of copied rows, some with new values. Copied rows of the history get the next revision. -#}
{% macro segconn_copied_columns(columns, changed) %}
    {%- for name in columns %}
    {%- set next_value = 'revision + 1' if name == 'revision' else name %}
    {{ segconn_literal(changed[name]) if name in changed else next_value }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}


{#- Append a row with the new mapping id to each sync: a sync belongs to the mapping of its last row. -#}
{% macro segconn_adopt_history(history, syncs, columns, old, changed) %}
insert into {{ history }} ({{ columns | join(', ') }})
select {{ segconn_copied_columns(columns, changed) }}
from {{ syncs }}
where mapping_id = {{ segconn_literal(old) }}
{% endmacro %}


{% macro segconn_history(syncs, columns, limit) %}
select {{ columns | join(', ') }}
from {{ syncs }}
order by started_at desc
limit {{ limit }}
{% endmacro %}


{#- The last row of each mapping and webhook. -#}
{% macro segconn_last_alerts(alerts, columns, webhooks) %}
select {{ columns | join(', ') }}
from (
    select alerts.*, row_number() over (partition by mapping_id, webhook order by saved_at desc) as nth
    from {{ alerts }} as alerts
    where webhook in ({{ segconn_literals(webhooks) }})
) as numbered
where nth = 1
{% endmacro %}


{#- When each mapping was last settled, and when it last succeeded. -#}
{% macro segconn_last_ends(syncs, settled) %}
select mapping_id, max(finished_at), max(case when status = 'success' then finished_at end)
from {{ syncs }}
where status in ({{ segconn_literals(settled) }})
group by mapping_id
{% endmacro %}


{#- `tokens`: mapping id → token of its claim. -#}
{% macro segconn_claim(locks, tokens, holder) %}
insert into {{ locks }} (mapping_id, token, holder, claimed_at, beat_at)
{%- for mapping_id, token in tokens.items() %}
select {{ segconn_literals([mapping_id, token, holder]) }}, {{ segconn_now() }}, {{ segconn_now() }}
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endmacro %}


{#- Each heartbeat is a new row: rows of held locks are never updated. -#}
{% macro segconn_heartbeat(locks, tokens) %}
insert into {{ locks }} (mapping_id, token, holder, claimed_at, beat_at)
select mapping_id, token, max(holder), min(claimed_at), {{ segconn_now() }}
from {{ locks }}
where token in ({{ segconn_literals(tokens) }})
group by mapping_id, token
{% endmacro %}


{#- The holder of a released claim, if the warehouse cannot delete rows. -#}
{% macro segconn_released() %}
  {{- return('(released)') -}}
{% endmacro %}


{% macro segconn_claims(locks, mapping_ids) %}
select mapping_id, token, max(holder) as holder, min(claimed_at) as claimed_at,
    {{ dbt.datediff('min(claimed_at)', segconn_now(), 'second') }} as age_seconds,
    {{ dbt.datediff('max(beat_at)', segconn_now(), 'second') }} as silent_seconds
from {{ locks }}
where mapping_id in ({{ segconn_literals(mapping_ids) }})
group by mapping_id, token
having max(case when holder = {{ segconn_literal(segconn_released()) }} then 1 else 0 end) = 0
order by 4 asc, 2 asc
{% endmacro %}


{#- The rows of a claim, and whether it was released. -#}
{% macro segconn_is_claimed(locks, token) %}
select count(*), coalesce(max(case when holder = {{ segconn_literal(segconn_released()) }} then 1 else 0 end), 0)
from {{ locks }}
where token = {{ segconn_literal(token) }}
{% endmacro %}


{% macro segconn_release(locks, tokens) %}
  {{- return(adapter.dispatch('segconn_release')(locks, tokens)) -}}
{% endmacro %}

{% macro default__segconn_release(locks, tokens) %}
delete from {{ locks }}
where token in ({{ segconn_literals(tokens) }})
{% endmacro %}


{#- The statements for an administrator, if the role may not create the state tables. -#}
{% macro segconn_grant(relation) %}
  {{- return(adapter.dispatch('segconn_grant')(relation, target.user or target.role or 'the role that dbt connects as')) -}}
{% endmacro %}

{% macro default__segconn_grant(relation, user) %}
  {{- return("create schema if not exists " ~ relation.without_identifier() ~ "; grant usage, create on schema " ~ relation.without_identifier() ~ " to " ~ adapter.quote(user) ~ ";") -}}
{% endmacro %}
