-- How many of the calls of each day were delivered, by mapping: an example to build on.
select
    mapping,
    destination,
    cast(started_at as date) as synced_on,
    count(*) as syncs,
    sum(case when status in ('failed', 'blocked') then 1 else 0 end) as failed_syncs,
    sum(confirmed) as confirmed,
    sum(discarded) as discarded,
    100.0 * sum(confirmed) / nullif(sum(confirmed) + sum(discarded), 0) as delivered_percent
from {{ source('segconn', 'syncs') }}
where status <> 'reset'
group by mapping, destination, cast(started_at as date)
