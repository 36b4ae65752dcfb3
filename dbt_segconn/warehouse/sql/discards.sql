{#- Discards. A row with the change type 'closed' closes the earlier discards of its record. -#}

{% macro segconn_key(column) %}
  {{- return("coalesce('v' || " ~ column ~ ", 'n')") -}}
{% endmacro %}


{#- The discards that are not closed. -#}
{% macro segconn_open_discards(discards) %}
select discarded.*
from {{ discards }} as discarded
left join (
    select mapping_id, {{ segconn_key('record_id') }} as record_key, max(discarded_at) as closed_at
    from {{ discards }} as closings
    where change_type = 'closed'
    group by mapping_id, {{ segconn_key('record_id') }}
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = {{ segconn_key('discarded.record_id') }}
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
{% endmacro %}


{% macro segconn_mappings_with_discards(discards) %}
select distinct mapping_id
from ({{ segconn_open_discards(discards) }}) as open_discards
{% endmacro %}


{#- How often and how long a record was discarded with the same checksum. `retry_limits` has retry_syncs and
    retry_days. -#}
{% macro segconn_attempts(discards, retry_limits) %}
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > {{ retry_limits.retry_syncs }} then 1
        when {{ dbt.datediff('min(discarded_at)', segconn_now(), 'day') }} >= {{ retry_limits.retry_days }} then 1
        else 0
    end as given_up
from ({{ segconn_open_discards(discards) }}) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
{% endmacro %}


{#- One row per record: its newest discard, with all its attempts. Records with a null or repeated identifier are
    never given up: each sync checks them again. -#}
{% macro segconn_list_open_discards(discards, limit, retry_syncs, retry_days) %}
select mapping_id, mapping, record_id, change_type, reason, all_attempts, since, last_at,
    case when given_up = 1 and change_type in ('added', 'updated', 'deleted') then 'yes' else 'no' end as given_up
from (
    select forms.*,
        cast(sum(attempts) over (partition by mapping_id, {{ segconn_key('record_id') }}) as bigint) as all_attempts,
        min(first_at) over (partition by mapping_id, {{ segconn_key('record_id') }}) as since,
        row_number() over (partition by mapping_id, {{ segconn_key('record_id') }} order by last_at desc) as nth
    from ({{ segconn_attempts(discards, {'retry_syncs': retry_syncs, 'retry_days': retry_days}) }}) as forms
) as numbered
where nth = 1
order by last_at desc, mapping, record_id
limit {{ limit }}
{% endmacro %}


{#- Count the discards of each sync by reason, newest syncs first. -#}
{% macro segconn_count_discard_reasons(discards, limit) %}
select sync_id, change_type, reason, count(*) as refused
from {{ discards }}
where change_type <> 'closed'
group by sync_id, change_type, reason
order by max(discarded_at) desc, sync_id, refused desc, change_type, reason
limit {{ limit }}
{% endmacro %}


{#- The discards of all syncs, newest first. -#}
{% macro segconn_list_discards(discards, limit) %}
select sync_id, record_id, change_type, reason
from {{ discards }}
where change_type <> 'closed'
order by discarded_at desc, sync_id, record_id
limit {{ limit }}
{% endmacro %}


{% macro segconn_count_discards(discards, mapping_id) %}
select count(distinct {{ segconn_key('record_id') }})
from ({{ segconn_open_discards(discards) }}) as open_discards
where mapping_id = {{ segconn_literal(mapping_id) }}
{% endmacro %}


{% macro segconn_discard_unidentified(discards, columns, outbox, sync_id, mapping_id, mapping, definition, at, limit) %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_literal(sync_id) }}, {{ segconn_literal(mapping_id) }}, {{ segconn_literal(mapping) }},
    {{ segconn_literal(definition) }}, record_id, change_type, null,
    case
        when change_type = 'null_identifier' then 'the unique identifier is null'
        else 'the unique identifier is not unique'
    end,
    {{ segconn_literal(at) }}, 0
from (
    select distinct record_id, change_type
    from {{ outbox }}
    where change_type in ('null_identifier', 'duplicate_identifier')
) as repeated
order by record_id
limit {{ limit }}
{% endmacro %}


{#- The records of a mapping with open discards, and whether each is given up under the current definition. Of several
    discarded forms of a record, one that is given up counts: it may be the form that the model has now. -#}
{% macro segconn_open_discards_of(discards, mapping_id, definition, retry_limits) %}
    select record_id, max(case when definition = {{ segconn_literal(definition) }} then given_up else 0 end) as given_up
    from ({{ segconn_attempts(discards, retry_limits) }}) as attempts
    where mapping_id = {{ segconn_literal(mapping_id) }}
    group by record_id
{%- endmacro %}


{#- Close the discards that a sync retried without discarding the record again: it was delivered, is gone or is
    unchanged. Given-up records were not retried, unless they changed: then the outbox has them. -#}
{% macro segconn_close_settled(
    discards, columns, outbox, sync_id, mapping_id, mapping, definition, at, closed, retry_syncs, retry_days
) %}
{%- set retry_limits = {'retry_syncs': retry_syncs, 'retry_days': retry_days} %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_literal(sync_id) }}, {{ segconn_literal(mapping_id) }}, {{ segconn_literal(mapping) }},
    {{ segconn_literal(definition) }}, record_id, {{ segconn_literal(closed) }}, null, '', {{ segconn_literal(at) }}, 0
from (
    {{- segconn_open_discards_of(discards, mapping_id, definition, retry_limits) }}
) as open_discards
where (given_up = 0 or record_id in (select record_id from {{ outbox }} where record_id is not null))
    and {{ segconn_key('record_id') }} not in (
        select {{ segconn_key('record_id') }}
        from {{ discards }} as discarded
        where sync_id = {{ segconn_literal(sync_id) }} and change_type <> {{ segconn_literal(closed) }}
    )
{% endmacro %}


{% macro segconn_close_all(discards, columns, sync_id, mapping_id, mapping, definition, at, closed, diff) %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_literal(sync_id) }}, {{ segconn_literal(mapping_id) }}, {{ segconn_literal(mapping) }},
    {{ segconn_literal(definition) }}, record_id, {{ segconn_literal(closed) }}, null, '', {{ segconn_literal(at) }}, 0
from (
    select distinct record_id
    from ({{ segconn_open_discards(discards) }}) as open_discards
    where mapping_id = {{ segconn_literal(mapping_id) }}
        {%- if diff %}
        and record_id in ({{ segconn_resent(diff) }})
        {%- endif %}
) as closing
{% endmacro %}


{% macro segconn_adopt_discards(discards, columns, old, changed) %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_copied_columns(columns, changed) }}
from {{ discards }}
where mapping_id = {{ segconn_literal(old) }}
{% endmacro %}
