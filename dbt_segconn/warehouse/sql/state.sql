{#- The tables of the state schema. The history and the discards are only ever appended to. Types have own names here:
    those of `dbt.type_*` may differ between dbt's versions. -#}

{% macro segconn_type(column_type) %}
  {%- if column_type == 'text' -%} {{- return(segconn_type_string()) -}}
  {%- elif column_type == 'number' -%} {{- return('bigint') -}}
  {%- else -%} {{- return(segconn_type_time()) -}}
  {%- endif -%}
{% endmacro %}


{#- Text of any length. -#}
{% macro segconn_type_string() %}
  {{- return(adapter.dispatch('segconn_type_string')()) -}}
{% endmacro %}

{% macro default__segconn_type_string() %}
  {{- return('TEXT') -}}
{% endmacro %}


{#- Times of the state tables are in UTC and have no zone. -#}
{% macro segconn_type_time() %}
  {{- return(adapter.dispatch('segconn_type_time')()) -}}
{% endmacro %}

{% macro default__segconn_type_time() %}
  {{- return('timestamp') -}}
{% endmacro %}


{#- Of double precision. -#}
{% macro segconn_type_float() %}
  {{- return(adapter.dispatch('segconn_type_float')()) -}}
{% endmacro %}

{% macro default__segconn_type_float() %}
  {{- return('float') -}}
{% endmacro %}


{% macro segconn_create_table(relation, columns) %}
create table if not exists {{ relation }} (
    {%- for name, column_type in columns.items() %}
    {{ name }} {{ segconn_type(column_type) }}{{ ',' if not loop.last }}
    {%- endfor %}
) {{ segconn_storage() }}
{% endmacro %}


{#- The format of a new table, where the warehouse's own default would lose something. -#}
{% macro segconn_storage() %}
  {{- return(adapter.dispatch('segconn_storage')()) -}}
{% endmacro %}

{% macro default__segconn_storage() %}
  {{- return('') -}}
{% endmacro %}


{#- What is known of a mapping's records, in the columns of `records`. -#}
{% macro segconn_create_records(relation, columns) %}
  {{- return(adapter.dispatch('segconn_create_records')(relation, columns)) -}}
{% endmacro %}

{% macro default__segconn_create_records(relation, columns) %}
  {{- return(segconn_create_table(relation, columns)) -}}
{% endmacro %}


{% macro segconn_add_column(relation, name, column_type) %}
alter table {{ relation }} add column {{ name }} {{ segconn_type(column_type) }}
{% endmacro %}


{#- The lower-case names of those tables and views of the relation's schema that are there; none where only dbt's own
    list of the whole schema tells. `names` are in lower case. -#}
{% macro segconn_present(relation, names) %}
  {{- return(adapter.dispatch('segconn_present')(relation, names)) -}}
{% endmacro %}

{% macro default__segconn_present(relation, names) %}
{% endmacro %}


{#- One row for each sync: its last row in the history. The user's own views on it stay. -#}
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


{#- What keeps the grants on a view that is replaced, where they would go. -#}
{% macro segconn_kept_grants() %}
  {{- return(adapter.dispatch('segconn_kept_grants')()) -}}
{% endmacro %}

{% macro default__segconn_kept_grants() %}
  {{- return('') -}}
{% endmacro %}


{#- Without cascade: what depends on the view is the user's. -#}
{% macro segconn_drop_view(relation) %}
drop view {{ relation }}
{% endmacro %}


{#- Without cascade, as dbt's own macro has it: what is in the schema is the user's. -#}
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
    ({% for value in row %}{{ segconn_literal(value) }}{{ ', ' if not loop.last }}{% endfor %}){{ ',' if not loop.last }}
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


{#- How these syncs ended each time that a later run resumed them. -#}
{% macro segconn_interruptions(history, columns, sync_ids) %}
select {{ columns | join(', ') }}
from {{ history }}
where sync_id in ({{ segconn_literals(sync_ids) }}) and status in ('failed', 'canceled')
order by revision
{% endmacro %}


{#- Canceled and finished is a sync whose outbox was given up. -#}
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


{#- Of a sync that can go on, all its calls may yet be made. -#}
{% macro segconn_count_spent(syncs, since, besides, not_sent) %}
select coalesce(sum(case when finished_at is null then to_send else confirmed end), 0)
from {{ syncs }}
where (finished_at is null or finished_at >= {{ segconn_literal(since) }})
    and status not in ({{ segconn_literals(not_sent) }}) and run_id <> {{ segconn_literal(besides) }}
{% endmacro %}


{% macro segconn_select_now() %}
select {{ segconn_now() }}
{% endmacro %}


{#- The columns of rows that are written again, some of them with other values; of the history, as the next revision. -#}
{% macro segconn_changed(columns, changed) %}
    {%- for name in columns %}
    {% if name in changed %}{{ segconn_literal(changed[name]) }}{% elif name == 'revision' %}revision + 1{% else %}{{ name }}{% endif %}
    {{- ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}


{#- A sync belongs to the mapping of its last row. -#}
{% macro segconn_adopt_history(history, syncs, columns, old, changed) %}
insert into {{ history }} ({{ columns | join(', ') }})
select {{ segconn_changed(columns, changed) }}
from {{ syncs }}
where mapping_id = {{ segconn_literal(old) }}
{% endmacro %}


{% macro segconn_history(syncs, columns, limit) %}
select {{ columns | join(', ') }}
from {{ syncs }}
order by started_at desc
limit {{ limit }}
{% endmacro %}


{% macro segconn_claim(locks, mapping_id, token, holder) %}
insert into {{ locks }} (mapping_id, token, holder, claimed_at, beat_at)
select {{ segconn_literal(mapping_id) }}, {{ segconn_literal(token) }}, {{ segconn_literal(holder) }},
    {{ segconn_now() }}, {{ segconn_now() }}
{% endmacro %}


{#- A heartbeat is a row of its own: the table is only appended to while a lock is held. -#}
{% macro segconn_beat(locks, tokens) %}
insert into {{ locks }} (mapping_id, token, holder, claimed_at, beat_at)
select mapping_id, token, max(holder), min(claimed_at), {{ segconn_now() }}
from {{ locks }}
where token in ({{ segconn_literals(tokens) }})
group by mapping_id, token
{% endmacro %}


{#- The holder of a claim that was taken back, where rows cannot be deleted. -#}
{% macro segconn_released() %}
  {{- return('(released)') -}}
{% endmacro %}


{% macro segconn_claims(locks, mapping_id) %}
select token, max(holder) as holder, min(claimed_at) as claimed_at,
    {{ dbt.datediff('min(claimed_at)', segconn_now(), 'second') }} as age_seconds,
    {{ dbt.datediff('max(beat_at)', segconn_now(), 'second') }} as silent_seconds
from {{ locks }}
where mapping_id = {{ segconn_literal(mapping_id) }}
group by token
having max(case when holder = {{ segconn_literal(segconn_released()) }} then 1 else 0 end) = 0
order by 3 asc, 1 asc
{% endmacro %}


{% macro segconn_release(locks, tokens) %}
  {{- return(adapter.dispatch('segconn_release')(locks, tokens)) -}}
{% endmacro %}

{% macro default__segconn_release(locks, tokens) %}
delete from {{ locks }}
where token in ({{ segconn_literals(tokens) }})
{% endmacro %}


{#- What to ask an administrator for, where the state tables cannot be created. -#}
{% macro segconn_grant(relation) %}
  {{- return(adapter.dispatch('segconn_grant')(relation, target.user or target.role or 'the role that dbt connects as')) -}}
{% endmacro %}

{% macro default__segconn_grant(relation, user) %}
  {{- return("create schema if not exists " ~ relation.without_identifier() ~ "; grant usage, create on schema " ~ relation.without_identifier() ~ " to " ~ adapter.quote(user) ~ ";") -}}
{% endmacro %}
