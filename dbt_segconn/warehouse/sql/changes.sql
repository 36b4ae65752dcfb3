{#- The diff of a model against the records of the last settled sync, and the statements that settle it. -#}

{#- Several identifier columns are joined by '|'; a '|' or '\' inside them is escaped. -#}
{% macro segconn_record_id(identifier) %}
  {%- set parts = [] -%}
  {%- for column in identifier -%}
    {%- set text = segconn_as_text(segconn_identifier(column), column.value_type) -%}
    {%- if identifier | length > 1 -%}
      {%- set slash = segconn_literal('\\') -%}
      {%- set text = "replace(replace(" ~ text ~ ", " ~ slash ~ ", " ~ segconn_literal('\\\\') ~ "), '|', " ~ segconn_literal('\\|') ~ ")" -%}
    {%- endif -%}
    {%- do parts.append(text) -%}
  {%- endfor -%}
  {{- return(parts | join(" || '|' || ")) -}}
{% endmacro %}


{#- A checksum covers what is sent, not how it is stored: the JSON text of each value. The JSON type (`column.tag`)
    makes 1 differ from '1'. The length makes null differ from '', and ('ab', 'c') from ('a', 'bc'). The signature
    covers the columns' names. -#}
{% macro segconn_checksum(signature, columns) %}
  {{- return(adapter.dispatch('segconn_checksum')(signature, columns)) -}}
{% endmacro %}

{% macro default__segconn_checksum(signature, columns) %}
  {%- set parts = ["'" ~ signature ~ "'"] -%}
  {%- for column in columns -%}
    {%- set text = segconn_json_text(column) -%}
    {%- do parts.append("coalesce('" ~ column.tag ~ "' || " ~ segconn_as_text('length(' ~ text ~ ')', 'integer') ~ " || ':' || " ~ text ~ ", 'n')") -%}
  {%- endfor -%}
  {{- return(adapter.dispatch('segconn_hash')(parts | join(' || '))) -}}
{% endmacro %}

{% macro default__segconn_hash(text) %}
  {{- return('md5(' ~ text ~ ')') -}}
{% endmacro %}


{#- A number that changes with any value of a row, without the cost of its JSON: a record with an equal fingerprint is
    unchanged. If it differs, the checksum decides; so it may differ between versions of a warehouse. Its seed covers
    how the checksum is made: a fingerprint made by other rules is never equal. -#}
{% macro segconn_fingerprint(diff) %}
  {%- set rules = [segconn_checksum_of(diff)] -%}
  {%- for column in diff.columns -%} {%- do rules.append(column.data_type ~ ' ' ~ segconn_value(column)) -%} {%- endfor -%}
  {{- return(adapter.dispatch('segconn_fingerprint')(local_md5(rules | join(' ')), diff.columns)) -}}
{% endmacro %}

{% macro default__segconn_fingerprint(seed, columns) %}
  {{- return('cast(null as bigint)') -}}
{% endmacro %}


{#- Number changes by the mapping's `order_by`. Deleted records come first: they have no values to order by. Ties are
    ordered by record id, which makes the numbers of the same rows reproducible. -#}
{% macro segconn_number_rows(order) %}
  {%- if not order -%} {{- return(adapter.dispatch('segconn_number_rows')()) -}} {%- endif -%}
  {%- set keys = ["case when change_type = 'deleted' then 0 else 1 end"] -%}
  {%- for _ in order -%}
    {%- set name = 'order_' ~ loop.index -%}
    {%- do keys.extend(['case when ' ~ name ~ ' is null then 0 else 1 end', name]) -%}
  {%- endfor -%}
  {{- return('row_number() over (order by ' ~ (keys | join(' asc, ')) ~ ' asc, record_id asc)') -}}
{% endmacro %}

{% macro default__segconn_number_rows() %}
  {{- return('row_number() over (order by record_id)') -}}
{% endmacro %}


{#- For warehouses in which one worker would number all changes and run out of memory. Each of 256 buckets is numbered
    alone: the first bucket has the numbers 1, 257, 513, … Changes that are not sent come last. -#}
{% macro segconn_number_in_buckets(bucket) %}
  {{- return("(row_number() over (partition by " ~ bucket ~ " order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + " ~ bucket ~ " + 1") -}}
{% endmacro %}


{#- A table, or no rows if the table does not exist yet: before the first sync. -#}
{% macro segconn_or_empty(relation, columns) %}
  {%- if relation is not none -%} {{- return(relation | string) -}} {%- endif -%}
  {%- set nulls = [] -%}
  {%- for name, column_type in columns.items() -%}
    {%- do nulls.append('cast(null as ' ~ segconn_type(column_type) ~ ') as ' ~ name) -%}
  {%- endfor -%}
  {{- return('(select ' ~ (nulls | join(', ')) ~ ' from (select 1 as one) as no_rows where 1 = 0)') -}}
{% endmacro %}


{#- `diff` is a Diff of `state/diff.py`, which documents its fields. -#}
{% macro segconn_stage(outbox, diff, is_numbered) %}
{{ segconn_create_outbox(outbox) }} as
{{ segconn_changes(diff, is_numbered) }}
{% endmacro %}


{% macro segconn_create_outbox(outbox) %}
  {{- return(adapter.dispatch('segconn_create_outbox')(outbox)) -}}
{% endmacro %}

{% macro default__segconn_create_outbox(outbox) %}
  {{- return('create table ' ~ outbox ~ ' ' ~ segconn_storage()) -}}
{% endmacro %}


{#- Return a row if changes can be numbered by their row ids after they are staged. DuckDB stages with all its threads;
    with row numbers, it uses one. Attached catalogs of other databases have no row ids. -#}
{% macro segconn_can_add_numbers(outbox) %}
  {{- return(adapter.dispatch('segconn_can_add_numbers')(outbox)) -}}
{% endmacro %}

{% macro default__segconn_can_add_numbers(outbox) %}
{% endmacro %}


{% macro segconn_add_numbers(outbox) %}
alter table {{ outbox }} add column change_number bigint;
update {{ outbox }} set change_number = rowid + 1
{% endmacro %}


{#- An index on the outbox, for warehouses that need one to find a page of changes. -#}
{% macro segconn_index_outbox(outbox) %}
  {{- return(adapter.dispatch('segconn_index_outbox')(outbox)) -}}
{% endmacro %}

{% macro default__segconn_index_outbox(outbox) %}
{% endmacro %}


{#- An index on the records, for warehouses that need one to find a few of them. -#}
{% macro segconn_index_records(records) %}
  {{- return(adapter.dispatch('segconn_index_records')(records)) -}}
{% endmacro %}

{% macro default__segconn_index_records(records) %}
{% endmacro %}


{% macro segconn_preview(diff, change_types, limit, record_ids) %}
select change_number, change_type, record_id
    {%- for column in diff.columns %}, {{ column.alias }}{% endfor %}
from ({{ segconn_changes(diff) }}) as changes
where change_type in ({{ segconn_literals(change_types) }})
    {%- if record_ids %}
    and record_id in ({{ segconn_literals(record_ids) }})
    {%- endif %}
order by change_number asc
limit {{ limit }}
{% endmacro %}


{#- Every n-th change of these change types, or about as many; n is `every`. -#}
{% macro segconn_sample(diff, change_types, every, limit) %}
select change_number, change_type, record_id
    {%- for column in diff.columns %}, {{ column.alias }}{% endfor %}
from (
    select changes.*, {{ adapter.dispatch('segconn_nth')() }} as nth
    from ({{ segconn_changes(diff) }}) as changes
    where change_type in ({{ segconn_literals(change_types) }})
) as numbered
where mod(nth - 1, {{ every }}) = 0
order by change_number asc
limit {{ limit }}
{% endmacro %}


{% macro default__segconn_nth() %}
  {{- return('row_number() over (order by change_number)') -}}
{% endmacro %}


{% macro segconn_count_diff(diff) %}
select change_type, count(*)
from ({{ segconn_changes(diff) }}) as changes
group by change_type
{% endmacro %}


{#- The changes to stage and discards to close, by the places of diffs. It has no `limit`: with one, a planner may
    choose a nested loop join. -#}
{% macro segconn_count_work(diffs) %}
{%- for diff in diffs %}
{%- if diff.discards is none %}
{{ segconn_count_differences(diff, loop.index0) }}
{%- else %}
{{ segconn_count_with_discards(diff, loop.index0) }}
{%- endif %}
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endmacro %}


{#- Without open discards: one join, and what repeats an identifier. A statement of such parts is planned four times
    faster than one with the joins of `segconn_changes`. -#}
{% macro segconn_count_differences(diff, nth) %}
{%- set records = segconn_known_records(diff.records) -%}
{%- if diff.fills_hashes -%} {%- set records = segconn_records_with_hashes(diff.records, diff.signature) -%} {%- endif -%}
select {{ nth }} as nth,
    count(case
        when hashed.record_id is null then 1
        {%- if diff.holds_back %}
        when {{ segconn_is_held_back(diff) }} then null
        {%- endif %}
        when records.checksum is null then 1
        when {{ segconn_has_changed(diff) }} then 1
        {%- if diff.fills_hashes %}
        when {{ segconn_lacks_hashes(diff) }} then 1
        {%- endif %}
    end) + count(hashed.record_id) - count(distinct hashed.record_id) as to_do
from (with {{ segconn_record_ctes(diff) }} select * from hashed) as hashed
{{ 'left' if diff.window else 'full outer' }} join {{ records }} as records on records.record_id = hashed.record_id
{%- endmacro %}


{% macro segconn_count_with_discards(diff, nth) %}
select {{ nth }} as nth, count(*) as to_do
from (
    select 1 as one
    from ({{ segconn_changes(diff, is_numbered=false) }}) as changes
    union all
    select 1 as one
    from ({{ segconn_open_discards_of(diff.discards, diff.mapping_id, diff.definition, diff) }}) as open_discards
    where given_up = 0
) as work
{%- endmacro %}


{#- The rows of several tables of records, by their places; at most `most` of each. -#}
{% macro segconn_count_few_records(tables, most) %}
{%- for records in tables %}
select {{ loop.index0 }} as nth, count(*) as known
from (select 1 as one from {{ records }} limit {{ most }}) as few
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endmacro %}


{#- The user of a call: the first id that is not empty. -#}
{% macro segconn_user_id(columns) %}
  {%- set ids = [] -%}
  {%- for column in columns -%}
    {%- do ids.append("nullif(cast(" ~ column ~ " as " ~ segconn_type_string() ~ "), '')") -%}
  {%- endfor -%}
  {{- return(ids[0] if ids | length == 1 else 'coalesce(' ~ (ids | join(', ')) ~ ')') -}}
{% endmacro %}


{#- Count the distinct users of changes, and those that no known record has. A part has `diff`, `users` (the columns
    with their ids) and `change_types`. -#}
{% macro segconn_count_users(naming, known) %}
select count(*), coalesce(sum(case when known.user_id is null then 1 else 0 end), 0)
from (
    select distinct user_id
    from (
        {%- for part in naming %}
        select {{ segconn_user_id(part.users) }} as user_id
        from ({{ segconn_changes(part.diff) }}) as changes
        where change_type in ({{ segconn_literals(part.change_types) }})
        {{ 'union all' if not loop.last }}
        {%- endfor %}
    ) as of_calls
    where user_id is not null
) as named
left join (
    select distinct user_id
    from (
        {%- for part in known %}
        {%- set records = segconn_known_records(part.diff.records | string) %}
        select {{ segconn_user_id(part.users) }} as user_id
        {%- if part.users | list == ['record_id'] %}
        from {{ records }} as records
        {%- else %}
        from (with {{ segconn_record_ctes(part.diff.over_all_rows()) }} select * from hashed) as of_model
        where record_id in (select record_id from {{ records }} as records)
        {%- endif %}
        {{ 'union all' if not loop.last }}
        {%- else %}
        select user_id from {{ segconn_or_empty(none, {'user_id': 'text'}) }} as no_rows
        {%- endfor %}
    ) as of_records
) as known on known.user_id = named.user_id
{% endmacro %}


{#- The materialization hint of a CTE. Reading a table three times is cheaper than copying it; a view would be computed
    three times. -#}
{% macro segconn_cte_hint(diff) %}
  {{- return(adapter.dispatch('segconn_cte_hint')(diff)) -}}
{% endmacro %}

{% macro default__segconn_cte_hint(diff) %}
  {{- return('') -}}
{% endmacro %}


{#- The current rows of a snapshot, without those that dbt's `hard_deletes: new_record` marks as deleted. -#}
{% macro segconn_is_current(diff) %}
  {%- set valid_to = segconn_quote(diff.current[0].name) -%}
  {%- set is_open = valid_to ~ ' is null' -%}
  {%- if diff.valid_to_current -%}
    {%- set is_open = '(' ~ is_open ~ ' or ' ~ valid_to ~ ' = ' ~ diff.valid_to_current ~ ')' -%}
  {%- endif -%}
  {%- if diff.current | length == 1 -%} {{- return(is_open) -}} {%- endif -%}
  {%- set is_deleted = 'lower(' ~ segconn_as_text(segconn_quote(diff.current[1].name), diff.current[1].value_type) ~ ')' -%}
  {{- return(is_open ~ ' and coalesce(' ~ is_deleted ~ ", 'false') not in ('true', '1')") -}}
{% endmacro %}


{#- Three CTEs: `source` (the model's records), `hashed` (with checksums), `duplicates` (repeated identifiers). The
    fence keeps PostgreSQL from computing the expressions of candidates twice, and does not store their rows again. -#}
{% macro segconn_record_ctes(diff) %}
{%- set columns = diff.columns -%}
{%- set fence = adapter.dispatch('segconn_fence')() | trim if diff.whole else '' -%}
source as {{ segconn_cte_hint(diff) }}(
    select
        {%- if diff.whole %}
        known_record_id,
        known_checksum,
        {%- endif %}
        {{ segconn_record_id(diff.identifier) }} as record_id
        {%- for column in columns %},
        {{ segconn_value(column) }} as {{ column.alias }}
        {%- endfor %},
        {%- for column in diff.order %}
        {{ segconn_quote(column.name) }} as order_{{ loop.index }},
        {%- endfor %}
        {%- if diff.fingerprints %}
        {{ 'fingerprint' if diff.whole else segconn_fingerprint(diff) }} as fingerprint,
        {%- endif %}
        {{ segconn_count_lost_values(columns) }} as lost_values
    from {{ diff.model }}
    {%- if diff.current %}
    where {{ segconn_is_current(diff) }}
    {%- endif %}
    {%- if diff.window %}
    {{ 'and' if diff.current else 'where' }} (
        {{ segconn_is_new(diff.window) }}
        {%- if diff.window.with_unsettled %}
        or {{ segconn_key(segconn_record_id(diff.identifier)) }} in (
            {{- segconn_unsettled(diff.records, diff.window_discards, diff.mapping_id) }}
        )
        {%- endif %}
        {%- if diff.resent %}
        or {{ segconn_record_id(diff.identifier) }} in ({{ segconn_resent(diff) }})
        {%- endif %}
    )
    {%- endif %}
    {%- if fence %}
    {{ fence }}
    {%- endif %}
),

hashed as {{ 'materialized ' if diff.whole and not fence else segconn_cte_hint(diff) }}(
    select
        source.*,
        {{ segconn_checksum_of(diff) }} as checksum
        {%- if diff.consent %},
        {{ segconn_checksum(diff.signature, columns) }} as content,
        {{ segconn_lacks_consent(diff.consent) }} as lacks_consent
        {%- endif %}
    from source
    {%- if fence %}
    {{ fence }}
    {%- endif %}
),

duplicates as (
    select record_id
    from {{ 'model_candidates' if diff.whole else 'source' }}
    where record_id is not null
    group by record_id
    having count(*) > 1
)
{%- endmacro %}


{#- The rows of a model and the records that may differ, from one full join that reads both once. Columns keep their
    stored values. A row that repeats an unchanged record is not among them: see segconn_repeated. PostgreSQL expects
    few rows for a condition `expression = 1`, so it joins with several processes. -#}
{% macro segconn_candidate_ctes(diff) %}
model_rows as {{ 'not materialized' if diff.is_stored else 'materialized' }} (
    select
        {{ segconn_record_id(diff.identifier) }} as model_id,
        {{ segconn_fingerprint(diff) }} as fingerprint
        {%- for column in diff.columns %},
        {{ segconn_quote(column.name) }} as raw_{{ column.alias }}
        {%- endfor %}
        {%- for column in diff.order %},
        {{ segconn_quote(column.name) }} as raw_order_{{ loop.index }}
        {%- endfor %}
    from {{ diff.model }}
    {%- if diff.current %}
    where {{ segconn_is_current(diff) }}
    {%- endif %}
),

candidates as materialized (
    select model_rows.*, known.record_id as known_record_id, known.checksum as known_checksum
    from model_rows
    full outer join {{ diff.records }} as known on known.record_id = model_rows.model_id
    where case when known.fingerprint = model_rows.fingerprint then 0 else 1 end = 1
        {%- if diff.keeps_hashes %}
        or known.column_hashes is null or {{ segconn_has_hashes('known.column_hashes', diff.signature) }} = 0
        {%- endif %}
),

model_candidates as not materialized (
    select candidates.*, model_id as record_id
    from candidates
    where fingerprint is not null
),

deleted_records as (
    select known_record_id as record_id, known_checksum as checksum
    from candidates
    where fingerprint is null
)
{%- endmacro %}


{#- A column of a row's known record, which candidates have already. -#}
{% macro segconn_known(diff, column) %}
  {{- return(('hashed.known_' if diff.whole else 'records.') ~ column) -}}
{% endmacro %}


{#- A row if some identifier occurs twice in the model and belongs to a record: then more rows than records have a
    match. Its change type is that of no change. -#}
{% macro segconn_repeated(diff) %}
    union all

    select
        'repeated' as change_type,
        null as record_id,
        null as checksum,
        0 as lost_values,
        null as fingerprint
        {%- if diff.keeps_hashes %},
        null as column_hashes
        {%- endif %}
        {%- for _ in diff.order %},
        null as order_{{ loop.index }}
        {%- endfor %}
        {%- for column in diff.columns %},
        null as {{ column.alias }}
        {%- endfor %}
    from (
        select
            (select count(*) from model_rows) as in_model,
            count(case when known_record_id is null then 1 end) as added,
            count(case when fingerprint is null then 1 end) as deleted
        from candidates
    ) as counts
    where in_model - added <> {{ diff.known_records }} - deleted
{%- endmacro %}


{% macro segconn_changes(diff, is_numbered=true) %}
{%- if diff.whole -%}
  {%- set records = 'deleted_records' -%}
{%- elif diff.fills_hashes -%}
  {%- set records = segconn_records_with_hashes(diff.records, diff.signature) -%}
{%- else -%}
  {%- set records = segconn_known_records(segconn_or_empty(diff.records, diff.record_columns)) -%}
{%- endif -%}
{%- if diff.resent -%} {%- set records = segconn_as_marked(records, diff) -%} {%- endif -%}
{%- set columns = diff.columns -%}
with {% if diff.whole %}{{ segconn_candidate_ctes(diff.whole) }},

{% endif %}{{ segconn_record_ctes(diff) }},

{#- Discarded too often with the same checksum: not retried until the record or the mapping changes. #}
given_up as (
    select record_id, checksum
    from ({{ segconn_attempts(segconn_or_empty(diff.discards, diff.discard_columns), diff) }}) as attempts
    where mapping_id = {{ segconn_literal(diff.mapping_id) }} and definition = {{ segconn_literal(diff.definition) }}
        and given_up = 1
        {%- if diff.resent %}
        and record_id not in ({{ segconn_resent(diff) }})
        {%- endif %}
),

changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when {{ segconn_known(diff, 'record_id') }} is null then 'added'
            when {{ segconn_known(diff, 'checksum') }} is null then {{ segconn_literal(diff.type_if_unknown) }}
            {%- if diff.fills_hashes %}
            when {{ segconn_lacks_hashes(diff) }} then 'unchanged'
            {%- elif diff.whole %}
            when hashed.known_checksum = hashed.checksum then 'unchanged'
            {%- endif %}
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values
        {%- if diff.fingerprints %},
        hashed.fingerprint
        {%- endif %}
        {%- if diff.keeps_hashes %},
        {{ segconn_column_hashes(diff.signature, columns) }} as column_hashes
        {%- endif %}
        {%- for _ in diff.order %},
        hashed.order_{{ loop.index }}
        {%- endfor %}
        {%- for column in columns %},
        hashed.{{ column.alias }}
        {%- endfor %}
    from hashed
    {%- if not diff.whole %}
    left join {{ records }} as records on records.record_id = hashed.record_id
    {%- endif %}
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or {{ segconn_known(diff, 'record_id') }} is null
            or {{ segconn_known(diff, 'checksum') }} is null
            or {{ segconn_has_changed(diff) }}
            {%- if diff.fills_hashes %}
            or {{ segconn_lacks_hashes(diff) }}
            {%- elif diff.whole %}
            or hashed.known_checksum = hashed.checksum
            {%- endif %}
        )
        {%- if diff.holds_back %}
        and (hashed.record_id is null or duplicates.record_id is not null or not {{ segconn_is_held_back(diff) }})
        {%- endif %}
    {%- if not diff.window %}

    union all

    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values
        {%- if diff.fingerprints %},
        null as fingerprint
        {%- endif %}
        {%- if diff.keeps_hashes %},
        null as column_hashes
        {%- endif %}
        {%- for _ in diff.order %},
        null as order_{{ loop.index }}
        {%- endfor %}
        {%- for column in columns %},
        null as {{ column.alias }}
        {%- endfor %}
    from {{ records }} as records
    {%- if not diff.whole %}
    left join source on source.record_id = records.record_id
    {%- endif %}
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null{{ ' and source.record_id is null' if not diff.whole }}
    {%- endif %}
    {%- if diff.whole %}

{{ segconn_repeated(diff) }}
    {%- endif %}
)

select
    {%- if is_numbered %}
    {{ segconn_number_rows(diff.order) }} as change_number,
    {%- endif %}
    changes.*
from changes
{% endmacro %}


{% macro segconn_count_changes(outbox) %}
select change_type, count(*) as changes, min(change_number) as first_change, max(change_number) as last_change
from {{ outbox }}
group by change_type
{% endmacro %}


{% macro segconn_count_lost(outbox, change_types) %}
select coalesce(sum(lost_values), 0)
from {{ outbox }}
where change_type in ({{ segconn_literals(change_types) }})
{% endmacro %}


{#- The records of the last settled sync. -#}
{% macro segconn_known_records(records, with_hashes=false) %}
  {{- return(adapter.dispatch('segconn_known_records')(records, with_hashes)) -}}
{% endmacro %}

{% macro default__segconn_known_records(records, with_hashes) %}
  {{- return(records | string) -}}
{% endmacro %}


{% macro segconn_count_records(records) %}
select count(*) from {{ segconn_known_records(records) }} as records
{% endmacro %}


{% macro segconn_read_one(relation) %}
select 1 as one from {{ relation }} limit 1
{% endmacro %}


{% macro segconn_count_rows(relation) %}
select count(*) from {{ relation }}
{% endmacro %}


{% macro segconn_read_changes(outbox, columns, change_types, after, upto, numbers) %}
select change_number, change_type, record_id
    {%- for column in columns %}, {{ column.alias }}{% endfor %}
from {{ outbox }}
where change_number > {{ after }} and change_number <= {{ upto }}
    and change_type in ({{ segconn_literals(change_types) }})
    {%- if numbers %}
    and change_number in ({{ numbers | join(', ') }})
    {%- endif %}
{% endmacro %}


{% macro segconn_describe_changes(outbox, numbers) %}
select change_number, change_type, record_id, checksum
from {{ outbox }}
where change_number in ({{ numbers | join(', ') }})
{% endmacro %}


{#- The changes of an outbox that count as done. Discarded changes are left out, which makes the next sync retry them.
    If Segment may have received an earlier attempt of a discarded call, its state is unknown: the checksum is null.
    `kept` are further columns of both tables, which are also stored for unchanged records. -#}
{% macro segconn_settled(outbox, discards, sync_id, kept=[]) %}
select outbox.record_id, outbox.change_type, outbox.change_number,
    case when discarded.record_id is null then outbox.checksum end as checksum,
    {%- for name in kept %}
    case when discarded.record_id is null then outbox.{{ name }} end as {{ name }},
    {%- endfor %}
    case when discarded.record_id is null then 0 else 1 end as is_doubtful
from {{ outbox }} as outbox
left join (
    select record_id, max(doubtful) as doubtful
    from {{ discards }}
    where sync_id = {{ segconn_literal(sync_id) }} and record_id is not null and change_type <> 'closed'
    group by record_id
) as discarded on discarded.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated', 'deleted'{{ ", 'unchanged'" if kept }})
    and (discarded.record_id is null or discarded.doubtful = 1)
{% endmacro %}


{% macro segconn_delete_settled(outbox, records, discards, sync_id, kept) %}
  {{- return(adapter.dispatch('segconn_delete_settled')(outbox, records, discards, sync_id, kept)) -}}
{% endmacro %}

{% macro default__segconn_delete_settled(outbox, records, discards, sync_id, kept) %}
delete from {{ records }}
where record_id in (select record_id from ({{ segconn_settled(outbox, discards, sync_id, kept) }}) as settled)
{% endmacro %}


{% macro segconn_insert_settled(outbox, records, discards, sync_id, kept) %}
  {{- return(adapter.dispatch('segconn_insert_settled')(outbox, records, discards, sync_id, kept)) -}}
{% endmacro %}

{% macro default__segconn_insert_settled(outbox, records, discards, sync_id, kept) %}
insert into {{ records }} ({{ (['record_id', 'checksum'] + kept) | join(', ') }})
select {{ (['record_id', 'checksum'] + kept) | join(', ') }}
from ({{ segconn_settled(outbox, discards, sync_id, kept) }}) as settled
where change_type <> 'deleted' or is_doubtful = 1
{% endmacro %}


{#- The changes of an abandoned outbox. Confirmed ones keep their checksum. Those that may have been sent get a null
    checksum, which differs from every record. -#}
{% macro segconn_abandoned(outbox, discards, sync_id, change_types) %}
select record_id, checksum, change_type, change_number, is_doubtful
from ({{ segconn_settled(outbox, discards, sync_id) }}) as settled
where change_type in ({{ segconn_literals(change_types) }})
{% endmacro %}


{% macro segconn_delete_abandoned(outbox, records, discards, sync_id, change_types) %}
  {{- return(adapter.dispatch('segconn_delete_abandoned')(outbox, records, discards, sync_id, change_types)) -}}
{% endmacro %}

{% macro default__segconn_delete_abandoned(outbox, records, discards, sync_id, change_types) %}
delete from {{ records }}
where record_id in (
    select record_id from ({{ segconn_abandoned(outbox, discards, sync_id, change_types) }}) as abandoned
)
{% endmacro %}


{% macro segconn_insert_abandoned(outbox, records, discards, sync_id, change_types, watermark) %}
  {{- return(adapter.dispatch('segconn_insert_abandoned')(outbox, records, discards, sync_id, change_types, watermark)) -}}
{% endmacro %}

{% macro default__segconn_insert_abandoned(outbox, records, discards, sync_id, change_types, watermark) %}
insert into {{ records }} (record_id, checksum)
select record_id, case when change_number <= {{ watermark }} then checksum end
from ({{ segconn_abandoned(outbox, discards, sync_id, change_types) }}) as abandoned
where change_type <> 'deleted' or change_number > {{ watermark }} or is_doubtful = 1
{% endmacro %}
