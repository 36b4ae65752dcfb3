{#- Refused records. A row of the change_type 'closed' ends the earlier refusals of its record. -#}

{% macro segconn_key(column) %}
  {{- return("coalesce('v' || " ~ column ~ ", 'n')") -}}
{% endmacro %}


{#- The refusals that stand. -#}
{% macro segconn_standing(discards) %}
select refused.*
from {{ discards }} as refused
left join (
    select mapping_id, {{ segconn_key('record_id') }} as record_key, max(discarded_at) as closed_at
    from {{ discards }} as closings
    where change_type = 'closed'
    group by mapping_id, {{ segconn_key('record_id') }}
) as closed on closed.mapping_id = refused.mapping_id and closed.record_key = {{ segconn_key('refused.record_id') }}
where refused.change_type <> 'closed' and (closed.closed_at is null or refused.discarded_at > closed.closed_at)
{% endmacro %}


{#- How often and how long the same form of a record was refused; `patience` holds retry_syncs and retry_days. -#}
{% macro segconn_attempts(discards, patience) %}
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > {{ patience.retry_syncs }} then 1
        when {{ dbt.datediff('min(discarded_at)', segconn_now(), 'day') }} >= {{ patience.retry_days }} then 1
        else 0
    end as given_up
from ({{ segconn_standing(discards) }}) as standing
group by mapping_id, mapping, definition, record_id, change_type, checksum
{% endmacro %}


{#- One row for each record: its newest form, with all its attempts. Whose identifier is null or not unique
    is never given up: the warehouse looks anew in each sync. -#}
{% macro segconn_open_discards(discards, limit, retry_syncs, retry_days) %}
select mapping_id, mapping, record_id, change_type, reason, all_attempts, since, last_at,
    case when given_up = 1 and change_type in ('added', 'updated', 'deleted') then 'yes' else 'no' end as given_up
from (
    select tries.*,
        cast(sum(attempts) over (partition by mapping_id, {{ segconn_key('record_id') }}) as bigint) as all_attempts,
        min(first_at) over (partition by mapping_id, {{ segconn_key('record_id') }}) as since,
        row_number() over (partition by mapping_id, {{ segconn_key('record_id') }} order by last_at desc) as nth
    from ({{ segconn_attempts(discards, {'retry_syncs': retry_syncs, 'retry_days': retry_days}) }}) as tries
) as numbered
where nth = 1
order by last_at desc, mapping, record_id
limit {{ limit }}
{% endmacro %}


{#- Why the records of each sync were refused, and how many of them; newest syncs first. -#}
{% macro segconn_reasons(discards, limit) %}
select sync_id, change_type, reason, count(*) as refused
from {{ discards }}
where change_type <> 'closed'
group by sync_id, change_type, reason
order by max(discarded_at) desc, sync_id, refused desc, change_type, reason
limit {{ limit }}
{% endmacro %}


{#- The refused records of all syncs, newest first. -#}
{% macro segconn_refused(discards, limit) %}
select sync_id, record_id, change_type, reason
from {{ discards }}
where change_type <> 'closed'
order by discarded_at desc, sync_id, record_id
limit {{ limit }}
{% endmacro %}


{% macro segconn_count_discards(discards, mapping_id) %}
select count(distinct {{ segconn_key('record_id') }})
from ({{ segconn_standing(discards) }}) as standing
where mapping_id = {{ segconn_literal(mapping_id) }}
{% endmacro %}


{% macro segconn_discard_repeated(discards, columns, outbox, sync_id, mapping_id, mapping, definition, at, limit) %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_literal(sync_id) }}, {{ segconn_literal(mapping_id) }}, {{ segconn_literal(mapping) }},
    {{ segconn_literal(definition) }}, record_id, change_type, null,
    case when change_type = 'null_identifier' then 'the unique identifier is null' else 'the unique identifier is not unique' end,
    {{ segconn_literal(at) }}, 0
from (
    select distinct record_id, change_type
    from {{ outbox }}
    where change_type in ('null_identifier', 'duplicate_identifier')
) as repeated
order by record_id
limit {{ limit }}
{% endmacro %}


{#- The records of a mapping whose refusals stand, and whether each was given up as the mapping is now. -#}
{% macro segconn_standing_of(discards, mapping_id, definition, patience) %}
    select record_id, min(case when definition = {{ segconn_literal(definition) }} then given_up else 0 end) as given_up
    from ({{ segconn_attempts(discards, patience) }}) as attempts
    where mapping_id = {{ segconn_literal(mapping_id) }}
    group by record_id
{%- endmacro %}


{#- What a sync has tried again and not refused again is closed: delivered, gone, or as it was before. What
    had been given up was not tried, unless it has changed and so is in the outbox. -#}
{% macro segconn_close_settled(discards, columns, outbox, sync_id, mapping_id, mapping, definition, at, closed, retry_syncs, retry_days) %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_literal(sync_id) }}, {{ segconn_literal(mapping_id) }}, {{ segconn_literal(mapping) }},
    {{ segconn_literal(definition) }}, record_id, {{ segconn_literal(closed) }}, null, '', {{ segconn_literal(at) }}, 0
from (
    {{- segconn_standing_of(discards, mapping_id, definition, {'retry_syncs': retry_syncs, 'retry_days': retry_days}) }}
) as standing
where (given_up = 0 or record_id in (select record_id from {{ outbox }} where record_id is not null))
    and {{ segconn_key('record_id') }} not in (
        select {{ segconn_key('record_id') }}
        from {{ discards }} as refused
        where sync_id = {{ segconn_literal(sync_id) }} and change_type <> {{ segconn_literal(closed) }}
    )
{% endmacro %}


{% macro segconn_close_all(discards, columns, sync_id, mapping_id, mapping, definition, at, closed) %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_literal(sync_id) }}, {{ segconn_literal(mapping_id) }}, {{ segconn_literal(mapping) }},
    {{ segconn_literal(definition) }}, record_id, {{ segconn_literal(closed) }}, null, '', {{ segconn_literal(at) }}, 0
from (
    select distinct record_id
    from ({{ segconn_standing(discards) }}) as standing
    where mapping_id = {{ segconn_literal(mapping_id) }}
) as closing
{% endmacro %}


{% macro segconn_adopt_discards(discards, columns, old, changed) %}
insert into {{ discards }} ({{ columns | join(', ') }})
select {{ segconn_changed(columns, changed) }}
from {{ discards }}
where mapping_id = {{ segconn_literal(old) }}
{% endmacro %}
