{#- The tables of the state schema. The log and the discards are only ever appended to. -#}

{% macro segconn_type(kind) %}
  {%- if kind == 'text' -%} {{- return(dbt.type_string()) -}}
  {%- elif kind == 'number' -%} {{- return(dbt.type_bigint()) -}}
  {%- else -%} {{- return(dbt.type_timestamp()) -}}
  {%- endif -%}
{% endmacro %}


{% macro segconn_create_table(relation, columns) %}
create table if not exists {{ relation }} (
    {%- for name, kind in columns.items() %}
    {{ name }} {{ segconn_type(kind) }}{{ ',' if not loop.last }}
    {%- endfor %}
)
{% endmacro %}


{#- One row for each sync: the last that its log says of it. -#}
{% macro segconn_create_syncs_view(relation, log, columns) %}
create view {{ relation }} as
select
    {%- for name in columns %}
    {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
from (
    select log.*, row_number() over (partition by sync_id order by revision desc) as age
    from {{ log }} as log
) as latest
where age = 1
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


{% macro segconn_history(syncs, columns, limit) %}
select {{ columns | join(', ') }}
from {{ syncs }}
order by started_at desc
limit {{ limit }}
{% endmacro %}


{#- The records that the last sync of each mapping refused, with all their attempts. -#}
{% macro segconn_open_discards(discards, limit) %}
select
    mapping_id, mapping, record_id, kind, max(reason) as reason, count(distinct sync_id) as attempts,
    min(discarded_at) as first_at, max(discarded_at) as last_at
from {{ discards }} as discards
group by mapping_id, mapping, record_id, kind
order by last_at desc
limit {{ limit }}
{% endmacro %}


{% macro segconn_discard_repeated(discards, outbox, sync_id, mapping_id, mapping, definition, limit) %}
insert into {{ discards }} (sync_id, mapping_id, mapping, definition, record_id, kind, checksum, reason, discarded_at)
select {{ segconn_literal(sync_id) }}, {{ segconn_literal(mapping_id) }}, {{ segconn_literal(mapping) }},
    {{ segconn_literal(definition) }}, record_id, kind, null,
    case when kind = 'null_identifier' then 'the unique identifier is null' else 'the unique identifier is not unique' end,
    {{ segconn_now() }}
from (select distinct record_id, kind from {{ outbox }} where kind in ('null_identifier', 'duplicate_identifier')) as repeated
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
where token in ({% for token in tokens %}{{ segconn_literal(token) }}{{ ', ' if not loop.last }}{% endfor %})
group by mapping_id, token
{% endmacro %}


{% macro segconn_claims(locks, mapping_id) %}
select token, max(holder) as holder, min(claimed_at) as claimed_at,
    {{ dbt.datediff('min(claimed_at)', segconn_now(), 'second') }} as age_seconds,
    {{ dbt.datediff('max(beat_at)', segconn_now(), 'second') }} as silent_seconds
from {{ locks }}
where mapping_id = {{ segconn_literal(mapping_id) }}
group by token
order by min(claimed_at), token
{% endmacro %}


{% macro segconn_release(locks, tokens) %}
delete from {{ locks }}
where token in ({% for token in tokens %}{{ segconn_literal(token) }}{{ ', ' if not loop.last }}{% endfor %})
{% endmacro %}
