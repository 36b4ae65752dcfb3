-- How many of the calls of each day were delivered, by mapping: an example to build on.
{%- set syncs = source('segconn', 'syncs') %}
with syncs as (
{%- if load_relation(syncs) is none %}
    -- the first `dbt-segconn run` on this target creates the history
    select
        cast(null as {{ dbt.type_string() }}) as mapping,
        cast(null as {{ dbt.type_string() }}) as destination,
        cast(null as {{ dbt.type_string() }}) as status,
        cast(null as {{ dbt.type_timestamp() }}) as started_at,
        cast(null as {{ dbt.type_bigint() }}) as confirmed,
        cast(null as {{ dbt.type_bigint() }}) as discarded
    limit 0
{%- else %}
    select mapping, destination, status, started_at, confirmed, discarded
    from {{ syncs }}
{%- endif %}
)
select
    mapping,
    destination,
    cast(started_at as date) as synced_on,
    count(*) as syncs,
    sum(case when status in ('failed', 'blocked') then 1 else 0 end) as failed_syncs,
    sum(confirmed) as confirmed,
    sum(discarded) as discarded,
    100.0 * sum(confirmed) / nullif(sum(confirmed) + sum(discarded), 0) as delivered_percent
from syncs
where status not in ('reset', 'resend')
group by mapping, destination, cast(started_at as date)
