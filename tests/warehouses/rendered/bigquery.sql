-- segconn_grant
create schema if not exists `shop`.`segconn`; grant `roles/bigquery.dataEditor` on schema `shop`.`segconn` to 'user:the role that dbt connects as';;

-- segconn_create_table
create table if not exists `shop`.`segconn`.`sync_history` (
    sync_id string,
    revision bigint,
    mapping_id string,
    model string,
    mapping string,
    destination string,
    action string,
    sync_mode string,
    status string,
    definition string,
    signature string,
    run_id string,
    dbt_invocation_id string,
    started_at datetime,
    saved_at datetime,
    finished_at datetime,
    watermark bigint,
    added bigint,
    updated bigint,
    deleted bigint,
    unidentified bigint,
    held_back bigint,
    left_out bigint,
    to_send bigint,
    sent bigint,
    confirmed bigint,
    discarded bigint,
    resumed bigint,
    error string,
    identifier string,
    relation string,
    checkpoint string,
    checkpoint_of string,
    integrations string,
    message_prefix string
);

-- segconn_create_table
create table if not exists `shop`.`segconn`.`discards` (
    sync_id string,
    mapping_id string,
    mapping string,
    definition string,
    record_id string,
    change_type string,
    checksum string,
    reason string,
    discarded_at datetime,
    doubtful bigint
);

-- segconn_create_table
create table if not exists `shop`.`segconn`.`locks` (
    mapping_id string,
    token string,
    holder string,
    claimed_at datetime,
    beat_at datetime
);

-- segconn_create_table
create table if not exists `shop`.`segconn`.`alerts` (
    mapping_id string,
    webhook string,
    mapping string,
    problem string,
    since datetime,
    saved_at datetime
);

-- segconn_create_deliveries
create table if not exists `shop`.`segconn`.`deliveries` (
    sync_id string,
    record_id string,
    change_type string,
    message_id string,
    changed_columns string,
    settled_at datetime
)
 cluster by settled_at;

-- segconn_add_column
alter table `shop`.`segconn`.`sync_history` add column sent bigint;

-- segconn_create_syncs_view
create or replace view `shop`.`segconn`.`syncs` as
select
    sync_id,
    revision,
    mapping_id,
    model,
    mapping,
    destination,
    action,
    sync_mode,
    status,
    definition,
    signature,
    run_id,
    dbt_invocation_id,
    started_at,
    saved_at,
    finished_at,
    watermark,
    added,
    updated,
    deleted,
    unidentified,
    held_back,
    left_out,
    to_send,
    sent,
    confirmed,
    discarded,
    resumed,
    error,
    identifier,
    relation,
    checkpoint,
    checkpoint_of,
    integrations,
    message_prefix
from (
    select history.*, row_number() over (partition by sync_id order by revision desc, saved_at desc) as age
    from `shop`.`segconn`.`sync_history` as history
) as latest
where age = 1;

-- segconn_drop_view
drop view `shop`.`segconn`.`syncs`;

-- segconn_drop_schema
drop schema `shop`.`segconn` restrict;

-- segconn_select_now
select current_datetime('UTC');

-- segconn_append
insert into `shop`.`segconn`.`sync_history` (sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix)
values
    ('s-1', 1, 'customers_identify_0123abcd', 'model.shop.customers', 'customers.it\'s', 'app', 'identify', 'added,updated', 'running', '0123456789abcdef', '0123abcd', 'i-1', null, cast('2026-01-02 03:04:05.678000' as datetime), cast('2026-01-02 03:04:05.678000' as datetime), null, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, null, null, null, null, null, null, null);

-- segconn_append
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
values
    ('s-1', 'customers_identify_0123abcd', 'customers.it\'s', '0123456789abcdef', 'c\\1', 'added', 'f00', 'wasn\'t\nright', cast('2026-01-02 03:04:05.678000' as datetime), 0);

-- segconn_append
insert into `shop`.`segconn`.`alerts` (mapping_id, webhook, mapping, problem, since, saved_at)
values
    ('customers_identify_0123abcd', 'example.com 0123abcd', 'customers.it\'s', 'failed', cast('2026-01-02 03:04:05.678000' as datetime), cast('2026-01-02 03:04:05.678000' as datetime));

-- segconn_last_alerts
select mapping_id, webhook, mapping, problem, since, saved_at
from (
    select alerts.*, row_number() over (partition by mapping_id, webhook order by saved_at desc) as nth
    from `shop`.`segconn`.`alerts` as alerts
    where webhook in ('example.com 0123abcd', 'example.org 4567cdef')
) as numbered
where nth = 1;

-- segconn_last_ends
select mapping_id, max(finished_at), max(case when status = 'success' then finished_at end)
from `shop`.`segconn`.`syncs`
where status in ('success', 'partial')
group by mapping_id;

-- segconn_last_syncs
select sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix
from (
    select syncs.*, row_number() over (partition by mapping_id order by started_at desc) as nth
    from `shop`.`segconn`.`syncs` as syncs
) as numbered
where nth = 1
order by mapping;

-- segconn_history
select sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix
from `shop`.`segconn`.`syncs`
order by started_at desc
limit 10;

-- segconn_last_sync
select sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix
from `shop`.`segconn`.`syncs`
where mapping_id = 'customers_identify_0123abcd'
order by started_at desc
limit 1;

-- segconn_count_settled
select count(*)
from `shop`.`segconn`.`syncs`
where mapping_id = 'customers_identify_0123abcd'
    and (status in ('success', 'partial') or watermark > 0)
    and started_at > coalesce(
        (
            select max(started_at) from `shop`.`segconn`.`syncs`
            where mapping_id = 'customers_identify_0123abcd' and status = 'reset'
        ),
        cast('1970-01-01' as datetime)
    );

-- segconn_claim
insert into `shop`.`segconn`.`locks` (mapping_id, token, holder, claimed_at, beat_at)
select 'customers_identify_0123abcd', 't-1', 'host process 1', current_datetime('UTC'), current_datetime('UTC')
union all
select 'orders_0123abcd', 't-2', 'host process 1', current_datetime('UTC'), current_datetime('UTC');

-- segconn_claims
select mapping_id, token, max(holder) as holder, min(claimed_at) as claimed_at,
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(claimed_at) as datetime),
        second
    )
   as age_seconds,
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(max(beat_at) as datetime),
        second
    )
   as silent_seconds
from `shop`.`segconn`.`locks`
where mapping_id in ('customers_identify_0123abcd')
group by mapping_id, token
having max(case when holder = '(released)' then 1 else 0 end) = 0
order by 4 asc, 2 asc;

-- segconn_is_claimed
select count(*), coalesce(max(case when holder = '(released)' then 1 else 0 end), 0)
from `shop`.`segconn`.`locks`
where token = 'token';

-- segconn_heartbeat
insert into `shop`.`segconn`.`locks` (mapping_id, token, holder, claimed_at, beat_at)
select mapping_id, token, max(holder), min(claimed_at), current_datetime('UTC')
from `shop`.`segconn`.`locks`
where token in ('t-1')
group by mapping_id, token;

-- segconn_release
delete from `shop`.`segconn`.`locks`
where token in ('t-1');

-- segconn_create_records
create table if not exists `shop`.`segconn`.`records_customers_identify_0123abcd` (
    record_id string,
    checksum string
);

-- segconn_count_records
select count(*) from `shop`.`segconn`.`records_customers_identify_0123abcd` as records;

-- segconn_preview
select change_number, change_type, record_id, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, e1
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        cast(`column 3` as float64) as c3,
        `column 4` as c4,
        case when lower(cast(`column 5` as string)) in ('nan', 'inf', '-inf', 'infinity', '-infinity') then null else `column 5` end as c5,
        `column 6` as c6,
        cast(`column 7` as string) as c7,
        format_date('%E4Y-%m-%d', `column 8`) as c8,
        case when mod(extract(microsecond from coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)) end as c9,
        case when mod(extract(microsecond from datetime(`column 10`, 'UTC')), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', datetime(`column 10`, 'UTC')) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', datetime(`column 10`, 'UTC')) end as c10,
        rtrim(rtrim(format_time('%H:%M:%E6S', `column 11`), '0'), '.') as c11,
        regexp_replace(regexp_replace(concat('P', if(extract(year from `column 12`) = 0, '', concat(cast(extract(year from `column 12`) as string), 'Y')), if(extract(month from `column 12`) = 0, '', concat(cast(extract(month from `column 12`) as string), 'M')), if(extract(day from `column 12`) = 0, '', concat(cast(extract(day from `column 12`) as string), 'D')), 'T', if(extract(hour from `column 12`) = 0, '', concat(cast(extract(hour from `column 12`) as string), 'H')), if(extract(minute from `column 12`) = 0, '', concat(cast(extract(minute from `column 12`) as string), 'M')), if((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000)) = 0, '', concat(if((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S') as c12,
        to_json_string(`column 13`) as c13,
        if(`column 14` is null, 'null', concat('{', '"a":', if(`column 14`.`a` is null, 'null', cast(`column 14`.`a` as string)), ',', '"b c":', if(`column 14`.`b c` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', cast(item_1 as string)), ',' order by at_1), ''), ']') from unnest(`column 14`.`b c`) as item_1 with offset as at_1)), '}')) as c14,
        to_json_string(`column 15`) as c15,
        to_base64(`column 16`) as c16,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        cast(`exact` as string) as e1,
        case when lower(cast(`column 5` as string)) in ('nan', 'inf', '-inf', 'infinity', '-infinity') then 1 else 0 end as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('d' || cast(length(case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end) as string) || ':' || case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end, 'n') || coalesce('d' || cast(length(case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end) as string) || ':' || case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end, 'n') || coalesce('d' || cast(length(case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end) as string) || ':' || case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end, 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c7 as string)) as string) || ':' || cast(c7 as string), 'n') || coalesce('t' || cast(length(cast(c8 as string)) as string) || ':' || cast(c8 as string), 'n') || coalesce('t' || cast(length(cast(c9 as string)) as string) || ':' || cast(c9 as string), 'n') || coalesce('t' || cast(length(cast(c10 as string)) as string) || ':' || cast(c10 as string), 'n') || coalesce('t' || cast(length(cast(c11 as string)) as string) || ':' || cast(c11 as string), 'n') || coalesce('t' || cast(length(cast(c12 as string)) as string) || ':' || cast(c12 as string), 'n') || coalesce('j' || cast(length(cast(c13 as string)) as string) || ':' || cast(c13 as string), 'n') || coalesce('j' || cast(length(cast(c14 as string)) as string) || ':' || cast(c14 as string), 'n') || coalesce('j' || cast(length(cast(c15 as string)) as string) || ':' || cast(c15 as string), 'n') || coalesce('t' || cast(length(cast(c16 as string)) as string) || ':' || cast(c16 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n') || coalesce('t' || cast(length(cast(e1 as string)) as string) || ':' || cast(e1 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c3,
        hashed.c4,
        hashed.c5,
        hashed.c6,
        hashed.c7,
        hashed.c8,
        hashed.c9,
        hashed.c10,
        hashed.c11,
        hashed.c12,
        hashed.c13,
        hashed.c14,
        hashed.c15,
        hashed.c16,
        hashed.c17,
        hashed.c18,
        hashed.e1
    from hashed
    left join (select cast(null as string) as record_id, cast(null as string) as checksum from (select 1 as one) as no_rows where 1 = 0) as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c3,
        null as c4,
        null as c5,
        null as c6,
        null as c7,
        null as c8,
        null as c9,
        null as c10,
        null as c11,
        null as c12,
        null as c13,
        null as c14,
        null as c15,
        null as c16,
        null as c17,
        null as c18,
        null as e1
    from (select cast(null as string) as record_id, cast(null as string) as checksum from (select 1 as one) as no_rows where 1 = 0) as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
where change_type in ('added', 'updated')
order by change_number asc
limit 5;

-- segconn_stage
create table `shop`.`segconn`.`outbox_customers_identify_0123abcd` cluster by change_number as
with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        cast(`column 3` as float64) as c3,
        `column 4` as c4,
        case when lower(cast(`column 5` as string)) in ('nan', 'inf', '-inf', 'infinity', '-infinity') then null else `column 5` end as c5,
        `column 6` as c6,
        cast(`column 7` as string) as c7,
        format_date('%E4Y-%m-%d', `column 8`) as c8,
        case when mod(extract(microsecond from coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)) end as c9,
        case when mod(extract(microsecond from datetime(`column 10`, 'UTC')), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', datetime(`column 10`, 'UTC')) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', datetime(`column 10`, 'UTC')) end as c10,
        rtrim(rtrim(format_time('%H:%M:%E6S', `column 11`), '0'), '.') as c11,
        regexp_replace(regexp_replace(concat('P', if(extract(year from `column 12`) = 0, '', concat(cast(extract(year from `column 12`) as string), 'Y')), if(extract(month from `column 12`) = 0, '', concat(cast(extract(month from `column 12`) as string), 'M')), if(extract(day from `column 12`) = 0, '', concat(cast(extract(day from `column 12`) as string), 'D')), 'T', if(extract(hour from `column 12`) = 0, '', concat(cast(extract(hour from `column 12`) as string), 'H')), if(extract(minute from `column 12`) = 0, '', concat(cast(extract(minute from `column 12`) as string), 'M')), if((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000)) = 0, '', concat(if((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S') as c12,
        to_json_string(`column 13`) as c13,
        if(`column 14` is null, 'null', concat('{', '"a":', if(`column 14`.`a` is null, 'null', cast(`column 14`.`a` as string)), ',', '"b c":', if(`column 14`.`b c` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', cast(item_1 as string)), ',' order by at_1), ''), ']') from unnest(`column 14`.`b c`) as item_1 with offset as at_1)), '}')) as c14,
        to_json_string(`column 15`) as c15,
        to_base64(`column 16`) as c16,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        cast(`exact` as string) as e1,
        case when lower(cast(`column 5` as string)) in ('nan', 'inf', '-inf', 'infinity', '-infinity') then 1 else 0 end as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('d' || cast(length(case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end) as string) || ':' || case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end, 'n') || coalesce('d' || cast(length(case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end) as string) || ':' || case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end, 'n') || coalesce('d' || cast(length(case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end) as string) || ':' || case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end, 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c7 as string)) as string) || ':' || cast(c7 as string), 'n') || coalesce('t' || cast(length(cast(c8 as string)) as string) || ':' || cast(c8 as string), 'n') || coalesce('t' || cast(length(cast(c9 as string)) as string) || ':' || cast(c9 as string), 'n') || coalesce('t' || cast(length(cast(c10 as string)) as string) || ':' || cast(c10 as string), 'n') || coalesce('t' || cast(length(cast(c11 as string)) as string) || ':' || cast(c11 as string), 'n') || coalesce('t' || cast(length(cast(c12 as string)) as string) || ':' || cast(c12 as string), 'n') || coalesce('j' || cast(length(cast(c13 as string)) as string) || ':' || cast(c13 as string), 'n') || coalesce('j' || cast(length(cast(c14 as string)) as string) || ':' || cast(c14 as string), 'n') || coalesce('j' || cast(length(cast(c15 as string)) as string) || ':' || cast(c15 as string), 'n') || coalesce('t' || cast(length(cast(c16 as string)) as string) || ':' || cast(c16 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n') || coalesce('t' || cast(length(cast(e1 as string)) as string) || ':' || cast(e1 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c3,
        hashed.c4,
        hashed.c5,
        hashed.c6,
        hashed.c7,
        hashed.c8,
        hashed.c9,
        hashed.c10,
        hashed.c11,
        hashed.c12,
        hashed.c13,
        hashed.c14,
        hashed.c15,
        hashed.c16,
        hashed.c17,
        hashed.c18,
        hashed.e1
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c3,
        null as c4,
        null as c5,
        null as c6,
        null as c7,
        null as c8,
        null as c9,
        null as c10,
        null as c11,
        null as c12,
        null as c13,
        null as c14,
        null as c15,
        null as c16,
        null as c17,
        null as c18,
        null as e1
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes;

-- segconn_stage
create table `shop`.`segconn`.`outbox_customers_identify_0123abcd` cluster by change_number as
with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        case when case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end = 1 then to_hex(md5('0123abcd without consent')) else to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) end as checksum,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as content,
        case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end as lacks_consent
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or (records.checksum <> hashed.checksum and records.checksum <> hashed.content)
        )
        and (hashed.record_id is null or duplicates.record_id is not null or not (records.record_id is null and hashed.lacks_consent = 1))
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c6,
        null as c17,
        null as c18
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes;

-- segconn_count_held_back
with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        case when case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end = 1 then to_hex(md5('0123abcd without consent')) else to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) end as checksum,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as content,
        case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end as lacks_consent
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
)
select count(*)
from hashed
left join (select cast(null as string) as record_id, cast(null as string) as checksum from (select 1 as one) as no_rows where 1 = 0) as records
    on records.record_id = hashed.record_id
left join duplicates on duplicates.record_id = hashed.record_id
where hashed.record_id is not null and duplicates.record_id is null and (records.record_id is null and hashed.lacks_consent = 1);

-- segconn_sample
select change_number, change_type, record_id, c1, c2, c6, c17, c18
from (
    select changes.*, change_number as nth
    from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join (select cast(null as string) as record_id, cast(null as string) as checksum from (select 1 as one) as no_rows where 1 = 0) as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c6,
        null as c17,
        null as c18
    from (select cast(null as string) as record_id, cast(null as string) as checksum from (select 1 as one) as no_rows where 1 = 0) as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
    where change_type in ('added', 'updated')
) as numbered
where mod(nth - 1, 3) = 0
order by change_number asc
limit 1000;

-- segconn_count_diff
select change_type, count(*)
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c6,
        null as c17,
        null as c18
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
group by change_type;

-- segconn_count_few_records
select 0 as nth, count(*) as known
from (select 1 as one from `shop`.`segconn`.`records_customers_identify_0123abcd` limit 20001) as few
union all
select 1 as nth, count(*) as known
from (select 1 as one from `shop`.`segconn`.`records_customers_identify_0123abcd` limit 20001) as few;

-- segconn_count_work
select 0 as nth, count(*) as to_do
from (
    select 1 as one
    from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c6,
        null as c17,
        null as c18
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    changes.*
from changes
) as changes
    union all
    select 1 as one
    from (
    select record_id, max(case when definition = '0123456789abcdef' then given_up else 0 end) as given_up
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd'
    group by record_id) as open_discards
    where given_up = 0
) as work
union all
select 1 as nth,
    count(case
        when hashed.record_id is null then 1
        when records.checksum is null then 1
        when records.checksum <> hashed.checksum then 1
    end) + count(hashed.record_id) - count(distinct hashed.record_id) as to_do
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
) select * from hashed) as hashed
full outer join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
union all
select 2 as nth,
    count(case
        when hashed.record_id is null then 1
        when (records.record_id is null and hashed.lacks_consent = 1) then null
        when records.checksum is null then 1
        when (records.checksum <> hashed.checksum and records.checksum <> hashed.content) then 1
    end) + count(hashed.record_id) - count(distinct hashed.record_id) as to_do
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        case when case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end = 1 then to_hex(md5('0123abcd without consent')) else to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) end as checksum,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as content,
        case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end as lacks_consent
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
) select * from hashed) as hashed
full outer join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id;

-- segconn_mappings_with_discards
select distinct mapping_id
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards;

-- segconn_count_users
select count(*), coalesce(sum(case when known.user_id is null then 1 else 0 end), 0)
from (
    select distinct user_id
    from (
        select coalesce(nullif(cast(c1 as string), ''), nullif(cast(record_id as string), '')) as user_id
        from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c6,
        null as c17,
        null as c18
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
        where change_type in ('added')
        union all
        select coalesce(nullif(cast(c1 as string), ''), nullif(cast(record_id as string), '')) as user_id
        from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as c1,
        null as c2,
        null as c6,
        null as c17,
        null as c18
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
        where change_type in ('added')
    ) as of_calls
    where user_id is not null
) as named
left join (
    select distinct user_id
    from (
        select coalesce(nullif(cast(c1 as string), ''), nullif(cast(record_id as string), '')) as user_id
        from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
) select * from hashed) as of_model
        where record_id in (select record_id from `shop`.`segconn`.`records_customers_identify_0123abcd` as records)
        union all
        select nullif(cast(record_id as string), '') as user_id
        from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    ) as of_records
) as known on known.user_id = named.user_id;

-- segconn_read_one
select 1 as one from `shop`.`marts`.`customers` limit 1;

-- segconn_count_spent
select coalesce(sum(case when finished_at is null then to_send else confirmed end), 0)
from `shop`.`segconn`.`syncs`
where (finished_at is null or finished_at >= cast('2026-01-02 03:04:05.678000' as datetime))
    and status not in ('blocked', 'planned', 'reset', 'resend') and run_id <> 'i-1';

-- segconn_last_records
select sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix
from `shop`.`segconn`.`syncs`
where mapping_id = 'customers_identify_0123abcd'
    and (status in ('success', 'partial', 'reset') or (status = 'canceled' and finished_at is not null))
order by started_at desc
limit 1;

-- segconn_count_unsettled
select count(*) from (
select coalesce('v' || record_id, 'n') as record_key
from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
where checksum is null
union all
select coalesce('v' || record_id, 'n') as record_key
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
where mapping_id = 'customers_identify_0123abcd'
) as unsettled;

-- segconn_newest
select newest as newest
from (
    select max(`column 1`) as newest
    from `shop`.`marts`.`customers`
) as newest_rows;

-- segconn_newest
select newest as newest
from (
    select max(`column 1`) as newest
    from `shop`.`marts`.`customers`
    where (`column 1` >= 41 or `column 1` is null)
) as newest_rows;

-- segconn_newest
select newest as newest
from (
    select max(`column 2`) as newest
    from `shop`.`marts`.`customers`
    where (`column 2` >= 41 or `column 2` is null)
) as newest_rows;

-- segconn_newest
select format_date('%E4Y-%m-%d', newest) as newest
from (
    select max(`column 8`) as newest
    from `shop`.`marts`.`customers`
    where (`column 8` >= cast('2026-01-02' as DATE) or `column 8` is null)
) as newest_rows;

-- segconn_newest
select case when mod(extract(microsecond from newest), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', newest) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', newest) end as newest
from (
    select max(`column 9`) as newest
    from `shop`.`marts`.`customers`
    where (`column 9` >= cast('2026-01-02 03:04:05.678000' as DATETIME) or `column 9` is null)
) as newest_rows;

-- segconn_stage
create table `shop`.`segconn`.`outbox_customers_identify_0123abcd` cluster by change_number as
with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        0 as lost_values
    from `shop`.`marts`.`customers`
    where (
        (`column 9` >= cast('2026-01-02 03:04:05.678000' as DATETIME) or `column 9` is null)
        or coalesce('v' || replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|'), 'n') in (
select coalesce('v' || record_id, 'n') as record_key
from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
where checksum is null
union all
select coalesce('v' || record_id, 'n') as record_key
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
where mapping_id = 'customers_identify_0123abcd'
        )
    )
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes;

-- segconn_newest
select case when mod(extract(microsecond from newest), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', newest) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', newest) end as newest
from (
    select max(`column 9`) as newest
    from `shop`.`marts`.`customers`
    where (`column 9` < cast('2026-01-02 03:04:05.678000' as DATETIME))
) as newest_rows;

-- segconn_newest
select case when mod(extract(microsecond from datetime(newest, 'UTC')), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', datetime(newest, 'UTC')) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', datetime(newest, 'UTC')) end as newest
from (
    select max(`column 10`) as newest
    from `shop`.`marts`.`customers`
    where (`column 10` >= cast('2026-01-02 03:04:05.678000' as TIMESTAMP) or `column 10` is null)
) as newest_rows;

-- segconn_count_changes
select change_type, count(*) as changes, min(change_number) as first_change, max(change_number) as last_change
from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
group by change_type;

-- segconn_count_lost
select coalesce(sum(lost_values), 0)
from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
where change_type in ('added', 'updated');

-- segconn_doubtful_ids
select
    'user_id' as field,
    lower(trim(replace(replace(replace(cast(c1 as string), '	', ' '), '\n', ' '), '\r', ' '))) as junk,
    count(*) as found,
    0 as most
from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
where change_type in ('added', 'updated') and (c1 in (0, -1))
group by 2
union all
select
    'group_id' as field,
    lower(trim(replace(replace(replace(cast(c7 as string), '	', ' '), '\n', ' '), '\r', ' '))) as junk,
    count(*) as found,
    0 as most
from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
where change_type in ('added', 'updated') and (lower(trim(replace(replace(replace(cast(c7 as string), '	', ' '), '\n', ' '), '\r', ' '))) in ('null', '') and cast(c7 as string) <> '')
group by 2
union all
select
    'user_id' as field,
    cast(null as string) as junk,
    count(*) as found,
    coalesce(max(records), 0) as most
from (
    select c1, count(*) as records
    from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
    where change_type in ('added', 'updated') and c1 is not null
    group by c1
    having count(*) > 5
) as of_ids
where not (c1 in (0, -1))
union all
select
    'group_id' as field,
    cast(null as string) as junk,
    count(*) as found,
    coalesce(max(records), 0) as most
from (
    select c7, record_id, count(*) as records
    from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
    where change_type in ('added', 'updated') and c7 is not null and record_id is not null
    group by c7, record_id
    having count(*) > 5
) as of_ids
where not (lower(trim(replace(replace(replace(cast(c7 as string), '	', ' '), '\n', ' '), '\r', ' '))) in ('null', '') and cast(c7 as string) <> '');

-- segconn_read_changes
select change_number, change_type, record_id, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18
from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
where change_number > 0 and change_number <= 20000
    and change_type in ('added', 'updated');

-- segconn_read_changes
select change_number, change_type, record_id, c1, c2, c6, c17, c18
from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
where change_number > 0 and change_number <= 20000
    and change_type in ('added')
    and change_number in (3, 5);

-- segconn_read_calls
select
    max(change_number) as last_change,
    count(*) as changes,
    count(written) as calls,
    string_agg(written, ',\n') as joined,
    string_agg(case when written is null then cast(change_number as string) end, ',') as others
from (
    select change_number, case when byte_length(text_of_call) <= 32000 then text_of_call end as written
    from (
        select change_number, case when change_type <> 'deleted' and (coalesce(cast(record_id as string), '') <> '' or coalesce(cast(c17 as string), '') <> '') and coalesce(length(c9), 24) in (24, 27) and coalesce(c2 between -999999999999999999999 and 999999999999999999999, true) then concat('{', substr(concat(coalesce(',"userId":' || if(nullif(cast(record_id as string), '') is null, null, to_json_string(nullif(cast(record_id as string), ''))), ''), coalesce(',"anonymousId":' || if(nullif(cast(c17 as string), '') is null, null, to_json_string(nullif(cast(c17 as string), ''))), ''), coalesce(',"timestamp":' || '"' || cast(c9 as string) || '"', ''), ',"context":{"consent":{"categoryPreferences":{"ads":', case when coalesce(c6, false) then 'true' else 'false' end, ',"mail":', case when coalesce(lower(c17) in ('true', 't', '1'), false) then 'true' else 'false' end, ',"score":', case when coalesce(c2 = 1, false) then 'true' else 'false' end, '}}', coalesce(',"locale":' || if(nullif(cast(c17 as string), '') is null, null, to_json_string(nullif(cast(c17 as string), ''))), ''), '},"traits":{"column_1":', coalesce(cast(c1 as string), 'null'), ',"column_2":', coalesce(cast(c2 as string), 'null'), ',"column_6":', coalesce(cast(c6 as string), 'null'), ',"column_7":', coalesce(if(c7 is null, null, to_json_string(c7)), 'null'), ',"column_8":', coalesce('"' || c8 || '"', 'null'), ',"column_9":', coalesce('"' || c9 || '"', 'null'), ',"column_10":', coalesce('"' || c10 || '"', 'null'), ',"column_11":', coalesce(if(c11 is null, null, to_json_string(c11)), 'null'), ',"column_16":', coalesce('"' || c16 || '"', 'null'), ',"column_17":', coalesce(if(c17 is null, null, to_json_string(c17)), 'null'), ',"text":', if(concat('it\'s ', coalesce(cast(c17 as string), ''), '\n\\') is null, null, to_json_string(concat('it\'s ', coalesce(cast(c17 as string), ''), '\n\\'))), '},"type":"identify","integrations":{"All":false}'), 2), ',', '"messageId":"prefix-', cast(change_number as string), '"}') end as text_of_call
        from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
        where change_number > 0 and change_number <= 20000
            and change_type in ('added', 'updated')
    ) as texts
) as checked
group by floor((change_number - 1) / 100);

-- segconn_read_calls
select
    max(change_number) as last_change,
    count(*) as changes,
    count(written) as calls,
    string_agg(written, ',\n') as joined,
    string_agg(case when written is null then cast(change_number as string) end, ',') as others
from (
    select change_number, case when byte_length(text_of_call) <= 32000 then text_of_call end as written
    from (
        select change_number, case when change_type <> 'deleted' and (coalesce(cast(record_id as string), '') <> '' or coalesce(cast(c17 as string), '') <> '') and coalesce(length(c9), 24) in (24, 27) and coalesce(c2 between -999999999999999999999 and 999999999999999999999, true) then concat('{', substr(concat(coalesce(',"userId":' || if(nullif(cast(record_id as string), '') is null, null, to_json_string(nullif(cast(record_id as string), ''))), ''), coalesce(',"anonymousId":' || if(nullif(cast(c17 as string), '') is null, null, to_json_string(nullif(cast(c17 as string), ''))), ''), coalesce(',"timestamp":' || '"' || cast(c9 as string) || '"', ''), ',"context":{"consent":{"categoryPreferences":{"ads":', case when coalesce(c6, false) then 'true' else 'false' end, ',"mail":', case when coalesce(lower(c17) in ('true', 't', '1'), false) then 'true' else 'false' end, ',"score":', case when coalesce(c2 = 1, false) then 'true' else 'false' end, '}}', coalesce(',"locale":' || if(nullif(cast(c17 as string), '') is null, null, to_json_string(nullif(cast(c17 as string), ''))), ''), '},"traits":{', substr(concat(coalesce(',"column_1":' || cast(c1 as string), ''), coalesce(',"column_2":' || cast(c2 as string), ''), coalesce(',"column_6":' || cast(c6 as string), ''), coalesce(',"column_7":' || if(c7 is null, null, to_json_string(c7)), ''), coalesce(',"column_8":' || '"' || c8 || '"', ''), coalesce(',"column_9":' || '"' || c9 || '"', ''), coalesce(',"column_10":' || '"' || c10 || '"', ''), coalesce(',"column_11":' || if(c11 is null, null, to_json_string(c11)), ''), coalesce(',"column_16":' || '"' || c16 || '"', ''), coalesce(',"column_17":' || if(c17 is null, null, to_json_string(c17)), ''), ',"text":', if(concat('it\'s ', coalesce(cast(c17 as string), ''), '\n\\') is null, null, to_json_string(concat('it\'s ', coalesce(cast(c17 as string), ''), '\n\\')))), 2), '},"type":"identify","integrations":{"All":false}'), 2), ',', '"messageId":"prefix-', cast(change_number as string), '"}') end as text_of_call
        from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
        where change_number > 0 and change_number <= 20000
            and change_type in ('added', 'updated')
    ) as texts
) as checked
group by floor((change_number - 1) / 100);

-- segconn_describe_changes
select change_number, change_type, record_id, checksum
from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
where change_number in (1, 2);

-- segconn_discard_unidentified
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
select 's-1', 'customers_identify_0123abcd', 'customers.it\'s',
    '0123456789abcdef', record_id, change_type, null,
    case
        when change_type = 'null_identifier' then 'the unique identifier is null'
        else 'the unique identifier is not unique'
    end,
    cast('2026-01-02 03:04:05.678000' as datetime), 0
from (
    select distinct record_id, change_type
    from `shop`.`segconn`.`outbox_customers_identify_0123abcd`
    where change_type in ('null_identifier', 'duplicate_identifier')
) as repeated
order by record_id
limit 1000;

-- segconn_count_discards
select count(distinct coalesce('v' || record_id, 'n'))
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
where mapping_id = 'customers_identify_0123abcd';

-- segconn_list_open_discards
select mapping_id, mapping, record_id, change_type, reason, all_attempts, since, last_at,
    case when given_up = 1 and change_type in ('added', 'updated', 'deleted') then 'yes' else 'no' end as given_up
from (
    select forms.*,
        cast(sum(attempts) over (partition by mapping_id, coalesce('v' || record_id, 'n')) as bigint) as all_attempts,
        min(first_at) over (partition by mapping_id, coalesce('v' || record_id, 'n')) as since,
        row_number() over (partition by mapping_id, coalesce('v' || record_id, 'n') order by last_at desc) as nth
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as forms
) as numbered
where nth = 1
order by last_at desc, mapping, record_id
limit 10;

-- segconn_count_discard_reasons
select sync_id, change_type, reason, count(*) as refused
from `shop`.`segconn`.`discards`
where change_type <> 'closed'
group by sync_id, change_type, reason
order by max(discarded_at) desc, sync_id, refused desc, change_type, reason
limit 10;

-- segconn_list_discards
select sync_id, record_id, change_type, reason
from `shop`.`segconn`.`discards`
where change_type <> 'closed'
order by discarded_at desc, sync_id, record_id
limit 10;

-- segconn_log_deliveries
insert into `shop`.`segconn`.`deliveries` (sync_id, record_id, change_type, message_id, changed_columns, settled_at)
select 's-1', outbox.record_id, outbox.change_type,
    '0f-' || cast(outbox.change_number as string),
    cast(null as string),
    cast('2026-01-02 03:04:05.678000' as datetime)
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select distinct record_id
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
) as discarded on discarded.record_id = outbox.record_id
left join (
    select record_id
    from `shop`.`segconn`.`deliveries`
    where sync_id = 's-1' and settled_at >= cast('2026-01-02 03:04:05.678000' as datetime)
) as logged on logged.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated')
    and discarded.record_id is null and logged.record_id is null;

-- segconn_delete_settled
delete from `shop`.`segconn`.`records_customers_identify_0123abcd`
where record_id in (select record_id from (
select outbox.record_id, outbox.change_type, outbox.change_number,
    case when discarded.record_id is null then outbox.checksum end as checksum,
    case when discarded.record_id is null then 0 else 1 end as is_doubtful
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select record_id, max(doubtful) as doubtful
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
    group by record_id
) as discarded on discarded.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated', 'deleted')
    and (discarded.record_id is null or discarded.doubtful = 1)
) as settled);

-- segconn_insert_settled
insert into `shop`.`segconn`.`records_customers_identify_0123abcd` (record_id, checksum)
select record_id, checksum
from (
select outbox.record_id, outbox.change_type, outbox.change_number,
    case when discarded.record_id is null then outbox.checksum end as checksum,
    case when discarded.record_id is null then 0 else 1 end as is_doubtful
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select record_id, max(doubtful) as doubtful
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
    group by record_id
) as discarded on discarded.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated', 'deleted')
    and (discarded.record_id is null or discarded.doubtful = 1)
) as settled
where change_type <> 'deleted' or is_doubtful = 1;

-- segconn_close_settled
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
select 's-1', 'customers_identify_0123abcd', 'customers.it\'s',
    '0123456789abcdef', record_id, 'closed', null, '', cast('2026-01-02 03:04:05.678000' as datetime), 0
from (
    select record_id, max(case when definition = '0123456789abcdef' then given_up else 0 end) as given_up
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd'
    group by record_id
) as open_discards
where (given_up = 0 or record_id in (select record_id from `shop`.`segconn`.`outbox_customers_identify_0123abcd` where record_id is not null))
    and coalesce('v' || record_id, 'n') not in (
        select coalesce('v' || record_id, 'n')
        from `shop`.`segconn`.`discards` as discarded
        where sync_id = 's-1' and change_type <> 'closed'
    );

-- segconn_drop
drop table if exists `shop`.`segconn`.`outbox_customers_identify_0123abcd`;

-- segconn_log_deliveries
insert into `shop`.`segconn`.`deliveries` (sync_id, record_id, change_type, message_id, changed_columns, settled_at)
select 's-1', outbox.record_id, outbox.change_type,
    cast(null as string),
    cast(null as string),
    cast('2026-01-02 03:04:05.678000' as datetime)
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select distinct record_id
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
) as discarded on discarded.record_id = outbox.record_id
left join (
    select record_id
    from `shop`.`segconn`.`deliveries`
    where sync_id = 's-1' and settled_at >= cast('2026-01-02 03:04:05.678000' as datetime)
) as logged on logged.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated')
    and outbox.change_number <= 7
    and discarded.record_id is null and logged.record_id is null;

-- segconn_delete_abandoned
delete from `shop`.`segconn`.`records_customers_identify_0123abcd`
where record_id in (
    select record_id from (
select record_id, checksum, change_type, change_number, is_doubtful
from (
select outbox.record_id, outbox.change_type, outbox.change_number,
    case when discarded.record_id is null then outbox.checksum end as checksum,
    case when discarded.record_id is null then 0 else 1 end as is_doubtful
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select record_id, max(doubtful) as doubtful
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
    group by record_id
) as discarded on discarded.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated', 'deleted')
    and (discarded.record_id is null or discarded.doubtful = 1)
) as settled
where change_type in ('added', 'updated')
) as abandoned
);

-- segconn_insert_abandoned
insert into `shop`.`segconn`.`records_customers_identify_0123abcd` (record_id, checksum)
select record_id, case when change_number <= 0 then checksum end
from (
select record_id, checksum, change_type, change_number, is_doubtful
from (
select outbox.record_id, outbox.change_type, outbox.change_number,
    case when discarded.record_id is null then outbox.checksum end as checksum,
    case when discarded.record_id is null then 0 else 1 end as is_doubtful
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select record_id, max(doubtful) as doubtful
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
    group by record_id
) as discarded on discarded.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated', 'deleted')
    and (discarded.record_id is null or discarded.doubtful = 1)
) as settled
where change_type in ('added', 'updated')
) as abandoned
where change_type <> 'deleted' or change_number > 0 or is_doubtful = 1;

-- segconn_drop
drop table if exists `shop`.`segconn`.`outbox_customers_identify_0123abcd`;

-- segconn_prune_deliveries
delete from `shop`.`segconn`.`deliveries`
where settled_at < cast('2026-01-02 03:04:05.678000' as datetime);

-- segconn_count_resent
select count(*) from (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in ('c\'1', 'c2')) as resent;

-- segconn_count_diff
select change_type, count(*)
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
    where (
        (`column 1` >= 7 or `column 1` is null)
        or replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in ('c\'1', 'c2'))
    )
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
        and record_id not in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in ('c\'1', 'c2'))
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join
(
    select known.record_id, case when resent.record_id is null then known.checksum end as checksum
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
    left join (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in ('c\'1', 'c2')) as resent on resent.record_id = known.record_id
) as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
group by change_type;

-- segconn_close_all
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
select 's-1', 'customers_identify_0123abcd', 'customers.it\'s',
    '0123456789abcdef', record_id, 'closed', null, '', cast('2026-01-02 03:04:05.678000' as datetime), 0
from (
    select distinct record_id
    from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
    where mapping_id = 'customers_identify_0123abcd'
        and record_id in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in ('c\'1', 'c2'))
) as closing;

-- segconn_mark_resent
update `shop`.`segconn`.`records_customers_identify_0123abcd`
set checksum = null
where record_id in ('c\'1', 'c2');

-- segconn_append
insert into `shop`.`segconn`.`sync_history` (sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix)
values
    ('s-1', 1, 'customers_identify_0123abcd', 'model.shop.customers', 'customers.it\'s', 'app', 'identify', 'added,updated', 'running', '0123456789abcdef', '0123abcd', 'i-1', null, cast('2026-01-02 03:04:05.678000' as datetime), cast('2026-01-02 03:04:05.678000' as datetime), null, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, null, null, null, null, null, null, null);

-- segconn_count_resent
select count(*) from (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select record_id
from `shop`.`segconn`.`deliveries`
where sync_id = 's-1'
    and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd'))) as resent;

-- segconn_count_chosen
select count(distinct record_id) from (select record_id
from `shop`.`segconn`.`deliveries`
where sync_id = 's-1'
    and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd')) as chosen;

-- segconn_count_diff
select change_type, count(*)
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
    where (
        (`column 1` >= 7 or `column 1` is null)
        or replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select record_id
from `shop`.`segconn`.`deliveries`
where sync_id = 's-1'
    and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd')))
    )
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
        and record_id not in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select record_id
from `shop`.`segconn`.`deliveries`
where sync_id = 's-1'
    and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd')))
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join
(
    select known.record_id, case when resent.record_id is null then known.checksum end as checksum
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
    left join (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select record_id
from `shop`.`segconn`.`deliveries`
where sync_id = 's-1'
    and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd'))) as resent on resent.record_id = known.record_id
) as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
group by change_type;

-- segconn_close_all
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
select 's-1', 'customers_identify_0123abcd', 'customers.it\'s',
    '0123456789abcdef', record_id, 'closed', null, '', cast('2026-01-02 03:04:05.678000' as datetime), 0
from (
    select distinct record_id
    from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
    where mapping_id = 'customers_identify_0123abcd'
        and record_id in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select record_id
from `shop`.`segconn`.`deliveries`
where sync_id = 's-1'
    and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd')))
) as closing;

-- segconn_mark_resent
update `shop`.`segconn`.`records_customers_identify_0123abcd`
set checksum = null
where record_id in (select record_id
from `shop`.`segconn`.`deliveries`
where sync_id = 's-1'
    and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd'));

-- segconn_append
insert into `shop`.`segconn`.`sync_history` (sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix)
values
    ('s-1', 1, 'customers_identify_0123abcd', 'model.shop.customers', 'customers.it\'s', 'app', 'identify', 'added,updated', 'running', '0123456789abcdef', '0123abcd', 'i-1', null, cast('2026-01-02 03:04:05.678000' as datetime), cast('2026-01-02 03:04:05.678000' as datetime), null, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, null, null, null, null, null, null, null);

-- segconn_count_resent
select count(*) from (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id
from `shop`.`marts`.`customers`
where (
    1 = 1 -- all
))) as resent;

-- segconn_count_chosen
select count(distinct record_id) from (select replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id
from `shop`.`marts`.`customers`
where (
    1 = 1 -- all
)) as chosen;

-- segconn_count_diff
select change_type, count(*)
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
    where (
        (`column 1` >= 7 or `column 1` is null)
        or replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id
from `shop`.`marts`.`customers`
where (
    1 = 1 -- all
)))
    )
),
hashed as (
    select
        source.*,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as checksum
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
        and record_id not in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id
from `shop`.`marts`.`customers`
where (
    1 = 1 -- all
)))
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join
(
    select known.record_id, case when resent.record_id is null then known.checksum end as checksum
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
    left join (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id
from `shop`.`marts`.`customers`
where (
    1 = 1 -- all
))) as resent on resent.record_id = known.record_id
) as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or records.checksum <> hashed.checksum
        )
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
group by change_type;

-- segconn_close_all
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
select 's-1', 'customers_identify_0123abcd', 'customers.it\'s',
    '0123456789abcdef', record_id, 'closed', null, '', cast('2026-01-02 03:04:05.678000' as datetime), 0
from (
    select distinct record_id
    from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
    where mapping_id = 'customers_identify_0123abcd'
        and record_id in (
select record_id
from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
where record_id in (select replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id
from `shop`.`marts`.`customers`
where (
    1 = 1 -- all
)))
) as closing;

-- segconn_mark_resent
update `shop`.`segconn`.`records_customers_identify_0123abcd`
set checksum = null
where record_id in (select replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id
from `shop`.`marts`.`customers`
where (
    1 = 1 -- all
));

-- segconn_append
insert into `shop`.`segconn`.`sync_history` (sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix)
values
    ('s-1', 1, 'customers_identify_0123abcd', 'model.shop.customers', 'customers.it\'s', 'app', 'identify', 'added,updated', 'running', '0123456789abcdef', '0123abcd', 'i-1', null, cast('2026-01-02 03:04:05.678000' as datetime), cast('2026-01-02 03:04:05.678000' as datetime), null, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, null, null, null, null, null, null, null);

-- segconn_add_column
alter table `shop`.`segconn`.`records_customers_identify_0123abcd` add column column_hashes string;

-- segconn_stage
create table `shop`.`segconn`.`outbox_customers_identify_0123abcd` cluster by change_number as
with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        cast(`column 3` as float64) as c3,
        `column 4` as c4,
        case when lower(cast(`column 5` as string)) in ('nan', 'inf', '-inf', 'infinity', '-infinity') then null else `column 5` end as c5,
        `column 6` as c6,
        cast(`column 7` as string) as c7,
        format_date('%E4Y-%m-%d', `column 8`) as c8,
        case when mod(extract(microsecond from coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', coalesce(datetime(safe.timestamp(`column 9`, 'Europe/Berlin'), 'UTC'), `column 9`)) end as c9,
        case when mod(extract(microsecond from datetime(`column 10`, 'UTC')), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', datetime(`column 10`, 'UTC')) else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', datetime(`column 10`, 'UTC')) end as c10,
        rtrim(rtrim(format_time('%H:%M:%E6S', `column 11`), '0'), '.') as c11,
        regexp_replace(regexp_replace(concat('P', if(extract(year from `column 12`) = 0, '', concat(cast(extract(year from `column 12`) as string), 'Y')), if(extract(month from `column 12`) = 0, '', concat(cast(extract(month from `column 12`) as string), 'M')), if(extract(day from `column 12`) = 0, '', concat(cast(extract(day from `column 12`) as string), 'D')), 'T', if(extract(hour from `column 12`) = 0, '', concat(cast(extract(hour from `column 12`) as string), 'H')), if(extract(minute from `column 12`) = 0, '', concat(cast(extract(minute from `column 12`) as string), 'M')), if((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000)) = 0, '', concat(if((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from `column 12`) * 1000000 + mod(extract(microsecond from `column 12`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S') as c12,
        to_json_string(`column 13`) as c13,
        if(`column 14` is null, 'null', concat('{', '"a":', if(`column 14`.`a` is null, 'null', cast(`column 14`.`a` as string)), ',', '"b c":', if(`column 14`.`b c` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', cast(item_1 as string)), ',' order by at_1), ''), ']') from unnest(`column 14`.`b c`) as item_1 with offset as at_1)), '}')) as c14,
        to_json_string(`column 15`) as c15,
        to_base64(`column 16`) as c16,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        cast(`exact` as string) as e1,
        case when lower(cast(`column 5` as string)) in ('nan', 'inf', '-inf', 'infinity', '-infinity') then 1 else 0 end as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        case when case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end = 1 then to_hex(md5('0123abcd without consent')) else to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('d' || cast(length(case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end) as string) || ':' || case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end, 'n') || coalesce('d' || cast(length(case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end) as string) || ':' || case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end, 'n') || coalesce('d' || cast(length(case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end) as string) || ':' || case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end, 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c7 as string)) as string) || ':' || cast(c7 as string), 'n') || coalesce('t' || cast(length(cast(c8 as string)) as string) || ':' || cast(c8 as string), 'n') || coalesce('t' || cast(length(cast(c9 as string)) as string) || ':' || cast(c9 as string), 'n') || coalesce('t' || cast(length(cast(c10 as string)) as string) || ':' || cast(c10 as string), 'n') || coalesce('t' || cast(length(cast(c11 as string)) as string) || ':' || cast(c11 as string), 'n') || coalesce('t' || cast(length(cast(c12 as string)) as string) || ':' || cast(c12 as string), 'n') || coalesce('j' || cast(length(cast(c13 as string)) as string) || ':' || cast(c13 as string), 'n') || coalesce('j' || cast(length(cast(c14 as string)) as string) || ':' || cast(c14 as string), 'n') || coalesce('j' || cast(length(cast(c15 as string)) as string) || ':' || cast(c15 as string), 'n') || coalesce('t' || cast(length(cast(c16 as string)) as string) || ':' || cast(c16 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n') || coalesce('t' || cast(length(cast(e1 as string)) as string) || ':' || cast(e1 as string), 'n'))) end as checksum,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('d' || cast(length(case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end) as string) || ':' || case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end, 'n') || coalesce('d' || cast(length(case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end) as string) || ':' || case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end, 'n') || coalesce('d' || cast(length(case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end) as string) || ':' || case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end, 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c7 as string)) as string) || ':' || cast(c7 as string), 'n') || coalesce('t' || cast(length(cast(c8 as string)) as string) || ':' || cast(c8 as string), 'n') || coalesce('t' || cast(length(cast(c9 as string)) as string) || ':' || cast(c9 as string), 'n') || coalesce('t' || cast(length(cast(c10 as string)) as string) || ':' || cast(c10 as string), 'n') || coalesce('t' || cast(length(cast(c11 as string)) as string) || ':' || cast(c11 as string), 'n') || coalesce('t' || cast(length(cast(c12 as string)) as string) || ':' || cast(c12 as string), 'n') || coalesce('j' || cast(length(cast(c13 as string)) as string) || ':' || cast(c13 as string), 'n') || coalesce('j' || cast(length(cast(c14 as string)) as string) || ':' || cast(c14 as string), 'n') || coalesce('j' || cast(length(cast(c15 as string)) as string) || ':' || cast(c15 as string), 'n') || coalesce('t' || cast(length(cast(c16 as string)) as string) || ':' || cast(c16 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n') || coalesce('t' || cast(length(cast(e1 as string)) as string) || ':' || cast(e1 as string), 'n'))) as content,
        case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end as lacks_consent
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            when (records.checksum = hashed.checksum and records.has_hashes = 0 and hashed.lacks_consent = 0) then 'unchanged'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        '0123abcd' || coalesce('d' || substr(to_hex(md5(cast(c1 as string))), 1, 7), 'nnnnnnnn') || coalesce('d' || substr(to_hex(md5(cast(c2 as string))), 1, 7), 'nnnnnnnn') || coalesce('d' || substr(to_hex(md5(case when abs(c3) < 9e18 and c3 = floor(c3) then cast(cast(c3 as bigint) as string) else cast(c3 as string) end)), 1, 7), 'nnnnnnnn') || coalesce('d' || substr(to_hex(md5(case when c4 = floor(c4) then cast(c4 as string) else case when abs(cast(c4 as float64)) < 9e18 and cast(c4 as float64) = floor(cast(c4 as float64)) then cast(cast(cast(c4 as float64) as bigint) as string) else cast(cast(c4 as float64) as string) end end)), 1, 7), 'nnnnnnnn') || coalesce('d' || substr(to_hex(md5(case when abs(c5) < 9e18 and c5 = floor(c5) then cast(cast(c5 as bigint) as string) else cast(c5 as string) end)), 1, 7), 'nnnnnnnn') || coalesce('b' || substr(to_hex(md5(cast(c6 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c7 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c8 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c9 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c10 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c11 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c12 as string))), 1, 7), 'nnnnnnnn') || coalesce('j' || substr(to_hex(md5(cast(c13 as string))), 1, 7), 'nnnnnnnn') || coalesce('j' || substr(to_hex(md5(cast(c14 as string))), 1, 7), 'nnnnnnnn') || coalesce('j' || substr(to_hex(md5(cast(c15 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c16 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c17 as string))), 1, 7), 'nnnnnnnn') || coalesce('j' || substr(to_hex(md5(cast(c18 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(e1 as string))), 1, 7), 'nnnnnnnn') as column_hashes,
        hashed.c1,
        hashed.c2,
        hashed.c3,
        hashed.c4,
        hashed.c5,
        hashed.c6,
        hashed.c7,
        hashed.c8,
        hashed.c9,
        hashed.c10,
        hashed.c11,
        hashed.c12,
        hashed.c13,
        hashed.c14,
        hashed.c15,
        hashed.c16,
        hashed.c17,
        hashed.c18,
        hashed.e1
    from hashed
    left join
(
    select record_id, checksum, case when substr(column_hashes, 1, 8) = '0123abcd' then 1 else 0 end as has_hashes
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
) as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or (records.checksum <> hashed.checksum and records.checksum <> hashed.content)
            or (records.checksum = hashed.checksum and records.has_hashes = 0 and hashed.lacks_consent = 0)
        )
        and (hashed.record_id is null or duplicates.record_id is not null or not (records.record_id is null and hashed.lacks_consent = 1))
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as column_hashes,
        null as c1,
        null as c2,
        null as c3,
        null as c4,
        null as c5,
        null as c6,
        null as c7,
        null as c8,
        null as c9,
        null as c10,
        null as c11,
        null as c12,
        null as c13,
        null as c14,
        null as c15,
        null as c16,
        null as c17,
        null as c18,
        null as e1
    from
(
    select record_id, checksum, case when substr(column_hashes, 1, 8) = '0123abcd' then 1 else 0 end as has_hashes
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as known
) as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes;

-- segconn_count_changed_columns
select coalesce(sum(has_hashes), 0),
    coalesce(
        sum(
            case
                when has_hashes = 1 and substr(latest, 9, 8) <> substr(former, 9, 8) then 1
                else 0
            end
        ),
        0
    ),
    coalesce(
        sum(
            case
                when has_hashes = 1 and substr(latest, 17, 8) <> substr(former, 17, 8) then 1
                else 0
            end
        ),
        0
    ),
    coalesce(
        sum(
            case
                when has_hashes = 1 and substr(latest, 25, 8) <> substr(former, 25, 8) then 1
                else 0
            end
        ),
        0
    ),
    coalesce(
        sum(
            case
                when has_hashes = 1 and substr(latest, 33, 8) <> substr(former, 33, 8) then 1
                else 0
            end
        ),
        0
    ),
    coalesce(
        sum(
            case
                when has_hashes = 1 and substr(latest, 41, 8) <> substr(former, 41, 8) then 1
                else 0
            end
        ),
        0
    )
from (
select changes.record_id, changes.column_hashes as latest, known.column_hashes as former,
    case when substr(known.column_hashes, 1, 8) = '0123abcd' then 1 else 0 end as has_hashes
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as changes
inner join `shop`.`segconn`.`records_customers_identify_0123abcd` as known on known.record_id = changes.record_id
where changes.change_type = 'updated'
) as compared;

-- segconn_changed_records
select record_id, latest, former
from (
select changes.record_id, changes.column_hashes as latest, known.column_hashes as former,
    case when substr(known.column_hashes, 1, 8) = '0123abcd' then 1 else 0 end as has_hashes
from (with source as (
    select
        replace(replace(cast(`column 1` as string), '\\', '\\\\'), '|', '\\|') || '|' || replace(replace(cast(cast(`Customer's id` as string) as string), '\\', '\\\\'), '|', '\\|') as record_id,
        `column 1` as c1,
        `column 2` as c2,
        `column 6` as c6,
        st_astext(`column 17`) as c17,
        if(`column 18` is null, 'null', (select concat('[', coalesce(string_agg(if(item_1 is null, 'null', concat('{', '"a":', if(item_1.`a` is null, 'null', coalesce(if(is_nan(item_1.`a`) or is_inf(item_1.`a`), null, cast(item_1.`a` as string)), 'null')), ',', '"at":', if(item_1.`at` is null, 'null', concat('"', regexp_replace(regexp_replace(concat('P', if(extract(year from item_1.`at`) = 0, '', concat(cast(extract(year from item_1.`at`) as string), 'Y')), if(extract(month from item_1.`at`) = 0, '', concat(cast(extract(month from item_1.`at`) as string), 'M')), if(extract(day from item_1.`at`) = 0, '', concat(cast(extract(day from item_1.`at`) as string), 'D')), 'T', if(extract(hour from item_1.`at`) = 0, '', concat(cast(extract(hour from item_1.`at`) as string), 'H')), if(extract(minute from item_1.`at`) = 0, '', concat(cast(extract(minute from item_1.`at`) as string), 'M')), if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) = 0, '', concat(if((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000)) < 0, '-', ''), rtrim(rtrim(concat(cast(div(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), '.', lpad(cast(mod(abs((extract(second from item_1.`at`) * 1000000 + mod(extract(microsecond from item_1.`at`), 1000000))), 1000000) as string), 6, '0')), '0'), '.'), 'S'))), 'T$', ''), '^P$', 'PT0S'), '"')), '}')), ',' order by at_1), ''), ']') from unnest(`column 18`) as item_1 with offset as at_1)) as c18,
        0 as lost_values
    from `shop`.`marts`.`customers`
),
hashed as (
    select
        source.*,
        case when case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end = 1 then to_hex(md5('0123abcd without consent')) else to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) end as checksum,
        to_hex(md5('0123abcd' || coalesce('d' || cast(length(cast(c1 as string)) as string) || ':' || cast(c1 as string), 'n') || coalesce('d' || cast(length(cast(c2 as string)) as string) || ':' || cast(c2 as string), 'n') || coalesce('b' || cast(length(cast(c6 as string)) as string) || ':' || cast(c6 as string), 'n') || coalesce('t' || cast(length(cast(c17 as string)) as string) || ':' || cast(c17 as string), 'n') || coalesce('j' || cast(length(cast(c18 as string)) as string) || ':' || cast(c18 as string), 'n'))) as content,
        case when c1 in (0, 1) or c2 in (0, 1) or c6 is not null or replace(lower(cast(c17 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') or replace(lower(cast(c18 as string)), '"', '') in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0') then 0 else 1 end as lacks_consent
    from source
),
duplicates as (
    select record_id
    from source
    where record_id is not null
    group by record_id
    having count(*) > 1
),
given_up as (
    select record_id, checksum
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd' and definition = '0123456789abcdef'
        and given_up = 1
),
changes as (
    select
        case
            when hashed.record_id is null then 'null_identifier'
            when duplicates.record_id is not null then 'duplicate_identifier'
            when records.record_id is null then 'added'
            when records.checksum is null then 'updated'
            else 'updated'
        end as change_type,
        hashed.record_id,
        hashed.checksum,
        hashed.lost_values,
        '0123abcd' || coalesce('d' || substr(to_hex(md5(cast(c1 as string))), 1, 7), 'nnnnnnnn') || coalesce('d' || substr(to_hex(md5(cast(c2 as string))), 1, 7), 'nnnnnnnn') || coalesce('b' || substr(to_hex(md5(cast(c6 as string))), 1, 7), 'nnnnnnnn') || coalesce('t' || substr(to_hex(md5(cast(c17 as string))), 1, 7), 'nnnnnnnn') || coalesce('j' || substr(to_hex(md5(cast(c18 as string))), 1, 7), 'nnnnnnnn') as column_hashes,
        hashed.c1,
        hashed.c2,
        hashed.c6,
        hashed.c17,
        hashed.c18
    from hashed
    left join `shop`.`segconn`.`records_customers_identify_0123abcd` as records on records.record_id = hashed.record_id
    left join duplicates on duplicates.record_id = hashed.record_id
    left join given_up on given_up.record_id = hashed.record_id and given_up.checksum = hashed.checksum
    where given_up.record_id is null
        and (
            hashed.record_id is null
            or duplicates.record_id is not null
            or records.record_id is null
            or records.checksum is null
            or (records.checksum <> hashed.checksum and records.checksum <> hashed.content)
        )
        and (hashed.record_id is null or duplicates.record_id is not null or not (records.record_id is null and hashed.lacks_consent = 1))
    union all
    select
        'deleted' as change_type,
        records.record_id,
        records.checksum,
        0 as lost_values,
        null as column_hashes,
        null as c1,
        null as c2,
        null as c6,
        null as c17,
        null as c18
    from `shop`.`segconn`.`records_customers_identify_0123abcd` as records
    left join source on source.record_id = records.record_id
    left join given_up on given_up.record_id = records.record_id and given_up.checksum = records.checksum
    where given_up.record_id is null and source.record_id is null
)
select
    (row_number() over (partition by (farm_fingerprint(coalesce(record_id, checksum)) & 255) order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + (farm_fingerprint(coalesce(record_id, checksum)) & 255) + 1 as change_number,
    changes.*
from changes
) as changes
inner join `shop`.`segconn`.`records_customers_identify_0123abcd` as known on known.record_id = changes.record_id
where changes.change_type = 'updated'
) as compared
where has_hashes = 1 and record_id in ('c1');

-- segconn_log_deliveries
insert into `shop`.`segconn`.`deliveries` (sync_id, record_id, change_type, message_id, changed_columns, settled_at)
select 's-1', outbox.record_id, outbox.change_type,
    cast(null as string),
    case when outbox.change_type = 'updated' and case when substr(known.column_hashes, 1, 8) = '0123abcd' then 1 else 0 end = 1 then '[' || substr(case when substr(outbox.column_hashes, 9, 8) <> substr(known.column_hashes, 9, 8) then ',"column_1"' else '' end || case when substr(outbox.column_hashes, 17, 8) <> substr(known.column_hashes, 17, 8) then ',"column_2"' else '' end || case when substr(outbox.column_hashes, 25, 8) <> substr(known.column_hashes, 25, 8) then ',"column_6"' else '' end || case when substr(outbox.column_hashes, 33, 8) <> substr(known.column_hashes, 33, 8) then ',"column_17"' else '' end || case when substr(outbox.column_hashes, 41, 8) <> substr(known.column_hashes, 41, 8) then ',"column_18"' else '' end, 2) || ']' end,
    cast('2026-01-02 03:04:05.678000' as datetime)
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join `shop`.`segconn`.`records_customers_identify_0123abcd` as known on known.record_id = outbox.record_id
left join (
    select distinct record_id
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
) as discarded on discarded.record_id = outbox.record_id
left join (
    select record_id
    from `shop`.`segconn`.`deliveries`
    where sync_id = 's-1' and settled_at >= cast('2026-01-02 03:04:05.678000' as datetime)
) as logged on logged.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated')
    and discarded.record_id is null and logged.record_id is null;

-- segconn_delete_settled
delete from `shop`.`segconn`.`records_customers_identify_0123abcd`
where record_id in (select record_id from (
select outbox.record_id, outbox.change_type, outbox.change_number,
    case when discarded.record_id is null then outbox.checksum end as checksum,
    case when discarded.record_id is null then outbox.column_hashes end as column_hashes,
    case when discarded.record_id is null then 0 else 1 end as is_doubtful
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select record_id, max(doubtful) as doubtful
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
    group by record_id
) as discarded on discarded.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated', 'deleted', 'unchanged')
    and (discarded.record_id is null or discarded.doubtful = 1)
) as settled);

-- segconn_insert_settled
insert into `shop`.`segconn`.`records_customers_identify_0123abcd` (record_id, checksum, column_hashes)
select record_id, checksum, column_hashes
from (
select outbox.record_id, outbox.change_type, outbox.change_number,
    case when discarded.record_id is null then outbox.checksum end as checksum,
    case when discarded.record_id is null then outbox.column_hashes end as column_hashes,
    case when discarded.record_id is null then 0 else 1 end as is_doubtful
from `shop`.`segconn`.`outbox_customers_identify_0123abcd` as outbox
left join (
    select record_id, max(doubtful) as doubtful
    from `shop`.`segconn`.`discards`
    where sync_id = 's-1' and record_id is not null and change_type <> 'closed'
    group by record_id
) as discarded on discarded.record_id = outbox.record_id
where outbox.change_type in ('added', 'updated', 'deleted', 'unchanged')
    and (discarded.record_id is null or discarded.doubtful = 1)
) as settled
where change_type <> 'deleted' or is_doubtful = 1;

-- segconn_close_settled
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
select 's-1', 'customers_identify_0123abcd', 'customers.it\'s',
    '0123456789abcdef', record_id, 'closed', null, '', cast('2026-01-02 03:04:05.678000' as datetime), 0
from (
    select record_id, max(case when definition = '0123456789abcdef' then given_up else 0 end) as given_up
    from (
select mapping_id, mapping, definition, record_id, change_type, checksum, max(reason) as reason,
    count(distinct sync_id) as attempts, min(discarded_at) as first_at, max(discarded_at) as last_at,
    case
        when count(distinct sync_id) > 5 then 1
        when
    datetime_diff(
        cast(current_datetime('UTC') as datetime),
        cast(min(discarded_at) as datetime),
        day
    )
   >= 14 then 1
        else 0
    end as given_up
from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
group by mapping_id, mapping, definition, record_id, change_type, checksum
) as attempts
    where mapping_id = 'customers_identify_0123abcd'
    group by record_id
) as open_discards
where (given_up = 0 or record_id in (select record_id from `shop`.`segconn`.`outbox_customers_identify_0123abcd` where record_id is not null))
    and coalesce('v' || record_id, 'n') not in (
        select coalesce('v' || record_id, 'n')
        from `shop`.`segconn`.`discards` as discarded
        where sync_id = 's-1' and change_type <> 'closed'
    );

-- segconn_drop
drop table if exists `shop`.`segconn`.`outbox_customers_identify_0123abcd`;

-- segconn_past_of_record
select happened_at, record_id, change_type, outcome, changed, reason, message_id, sync_id
from (
    select settled_at as happened_at, record_id, change_type, 'confirmed' as outcome, changed_columns as changed,
        cast(null as string) as reason, message_id, sync_id
    from `shop`.`segconn`.`deliveries` as deliveries
    where record_id = 'c\\1'
        and sync_id in (select sync_id from `shop`.`segconn`.`syncs` where mapping_id = 'customers_identify_0123abcd')
    union all
    select discarded_at as happened_at, record_id, change_type, 'discarded' as outcome, cast(null as string) as changed,
        reason, cast(null as string) as message_id, sync_id
    from `shop`.`segconn`.`discards` as discards
    where record_id = 'c\\1' and mapping_id = 'customers_identify_0123abcd'
        and change_type <> 'closed'
) as past
order by happened_at, sync_id;

-- segconn_drop
drop table if exists `shop`.`segconn`.`outbox_customers_identify_0123abcd`;

-- segconn_drop
drop table if exists `shop`.`segconn`.`records_customers_identify_0123abcd`;

-- segconn_close_all
insert into `shop`.`segconn`.`discards` (sync_id, mapping_id, mapping, definition, record_id, change_type, checksum, reason, discarded_at, doubtful)
select 's-1', 'customers_identify_0123abcd', 'customers.it\'s',
    '0123456789abcdef', record_id, 'closed', null, '', cast('2026-01-02 03:04:05.678000' as datetime), 0
from (
    select distinct record_id
    from (
select discarded.*
from `shop`.`segconn`.`discards` as discarded
left join (
    select mapping_id, coalesce('v' || record_id, 'n') as record_key, max(discarded_at) as closed_at
    from `shop`.`segconn`.`discards` as closings
    where change_type = 'closed'
    group by mapping_id, coalesce('v' || record_id, 'n')
) as closed on closed.mapping_id = discarded.mapping_id and closed.record_key = coalesce('v' || discarded.record_id, 'n')
where discarded.change_type <> 'closed' and (closed.closed_at is null or discarded.discarded_at > closed.closed_at)
) as open_discards
    where mapping_id = 'customers_identify_0123abcd'
) as closing;

-- segconn_append
insert into `shop`.`segconn`.`sync_history` (sync_id, revision, mapping_id, model, mapping, destination, action, sync_mode, status, definition, signature, run_id, dbt_invocation_id, started_at, saved_at, finished_at, watermark, added, updated, deleted, unidentified, held_back, left_out, to_send, sent, confirmed, discarded, resumed, error, identifier, relation, checkpoint, checkpoint_of, integrations, message_prefix)
values
    ('s-1', 1, 'customers_identify_0123abcd', 'model.shop.customers', 'customers.it\'s', 'app', 'identify', 'added,updated', 'running', '0123456789abcdef', '0123abcd', 'i-1', null, cast('2026-01-02 03:04:05.678000' as datetime), cast('2026-01-02 03:04:05.678000' as datetime), null, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, null, null, null, null, null, null, null);

