"""What PostgreSQL alone makes hard: open transactions, materialized views, pages, sums."""

from __future__ import annotations

import re

import pytest
from standing import ADA, BOB, MAPPING, wait_for

pytestmark = pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)


def test_while_it_delivers_no_transaction_is_open_and_dbt_may_rebuild_the_model(shop, api, warehouse):
    shop.fill(ADA, BOB)
    api.delay = 5.0
    with shop.running() as process:
        wait_for(lambda: api.received)
        states = warehouse.query(
            "select state from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert {state for (state,) in states} == {"idle"}
        warehouse.execute("set lock_timeout = 1000; drop table customers")
        assert process.poll() is None, "it was over before it was looked at"


def test_a_materialized_view_is_a_model_like_another(shop, api, warehouse):
    warehouse.execute(
        "create materialized view customers as select 'c1'::text as customer_id, 'a@b.co'::text as email, "
        "12.50::numeric(10, 2) as plan"
    )
    shop.run()
    assert [call["traits"] for call in api.calls()] == [{"email": "a@b.co", "plan": 12.5}]


def test_step_has_the_limits_of_its_zone(shop, api, warehouse):
    warehouse.execute(
        "create table customers as select *, ('2026-01-01 10:30:00+00'::timestamptz + interval '30 minutes' * n) as at "
        "from (values ('c0', 'a', 'x', 0), ('c1', 'b', 'x', 1), ('c2', 'c', 'x', 2)) as t (customer_id, email, plan, n)"
    )
    shop.manifest({**MAPPING, "checkpoint": {"column": "at", "lag": "1 hour"}}, timezone="Asia/Tokyo")
    result = shop.run("--after", "2026-01-01T12:00+01:00", "--before", "2026-01-01 11:30")
    assert [call["userId"] for call in api.calls()] == ["c1"], result.output


def test_outbox_pages_use_an_index(shop, api, warehouse):
    api.faults = [401]
    shop.synced(ADA, BOB)
    (outbox,) = (
        name
        for (name,) in warehouse.query("select tablename from pg_tables where schemaname = 'segconn'")
        if name.startswith("outbox_")
    )
    found = warehouse.query(f"select indexdef from pg_indexes where tablename = '{outbox}'")
    assert [definition.endswith("(change_number)") for (definition,) in found] == [True]


def test_decimals_of_a_sum_are_integers_where_they_are_whole(shop, api, warehouse):
    warehouse.execute(
        "create view customers as select customer_id, sum(amount) as email, sum(amount) / 4 as plan "
        "from (values ('c1', 9007199254740992::bigint), ('c1', 1)) as orders (customer_id, amount) group by customer_id"
    )
    shop.manifest(MAPPING)
    shop.run()
    assert [call["traits"] for call in api.calls()] == [{"email": 9007199254740993, "plan": 2251799813685248.25}]


def test_of_two_runs_at_once_one_works_and_the_other_says_who_holds_the_lock(shop, api, warehouse):
    shop.fill(ADA, BOB)
    api.delay = 60.0
    with shop.running() as process:
        wait_for(lambda: api.received)
        second = shop.run()
        api.released.set()
        assert second.exit_code == 1
        since = rf"process {process.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        assert re.search(f"customers.identify_customers is being synced by .* {since}", second.output), second.output
        assert "use --break-lock" in second.output
        assert process.wait(20) == 0
    assert len(api.received) == 2
    assert "ADDED 0" in shop.run().output


def test_who_lost_its_lock_writes_nothing_more_and_no_call_counts_twice(shop, api, warehouse):
    shop.fill(ADA, BOB)
    api.delay = 60.0
    with shop.running() as process:
        wait_for(lambda: api.received)
        api.delay = 0.0
        taker = shop.run("--break-lock")
        api.released.set()
        assert taker.exit_code == 0, taker.output
        assert "RESUMED 2" in taker.output
        assert process.wait(20) == 1
    assert len(api.accepted) == 2, "both have sent the same messageIds"
    rows = warehouse.query("select status, confirmed, resumed from segconn.syncs order by started_at")
    assert rows == [("success", 2, 2), ("success", 0, 0)]


def test_a_role_without_the_right_to_create_the_schema_is_told_what_to_ask_for(shop, api, warehouse):
    shop.fill(ADA)
    role = f"loader_{warehouse.database}"
    warehouse.execute(f"create role {role} login; grant select on all tables in schema public to {role}")
    profiles = (shop.dir / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles.replace("user: postgres", f"user: {role}"))
    told = shop.segconn("debug").output
    result = shop.run()
    assert result.exit_code == 2
    grant = f'create schema if not exists "segconn" authorization "{role}";'
    assert "segconn.yml: state.schema: the tables of" in result.output
    assert f"Ask for: {grant}" in result.output
    assert re.search(rf"ERROR  rights: the state tables of .* cannot be kept: .*\n +Ask for: {re.escape(grant)}", told)
    assert api.received == []
    warehouse.execute(grant)
    assert "OK     rights: may create, write, read and drop tables in" in shop.segconn("debug").output
    assert shop.run().exit_code == 0
    assert len(api.received) == 1
    warehouse.execute(f"revoke select on customers from {role}")
    told = shop.segconn("debug")
    assert told.exit_code == 1
    assert "ERROR  customers.identify_customers: its model cannot be read" in told.output


def test_names_without_quotes_are_found(shop, api):
    """PostgreSQL folds them to lower case, where DuckDB keeps them as written."""
    quoting = {"identifier": False, "schema": False}
    shop.write("dbt_project.yml", {"name": "shop", "profile": "shop", "quoting": quoting})
    text = (shop.dir / "models/customers.yml").read_text()
    shop.write("models/DimCustomers.yml", text.replace("name: customers", "name: DimCustomers"))
    (shop.dir / "models/customers.yml").unlink()
    shop.write("models/DimCustomers.sql", "select 'c1' as customer_id, 'a@b.co' as email, 'p' as plan")
    shop.dbt("build")
    result = shop.segconn("run")
    assert result.exit_code == 0, result.output
    assert [call["userId"] for call in api.calls()] == ["c1"]


def test_other_schema_or_database_refused(shop, api, warehouse):
    other = {"marts": {**warehouse.output, "schema": "marts"}, "elsewhere": {**warehouse.output, "dbname": "postgres"}}
    outputs = {"dev": warehouse.output, **other}
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": outputs}})
    shop.rows(ADA)
    shop.dbt("build")
    for target, names in (
        ("marts", f"{warehouse.database}.marts.customers"),
        ("elsewhere", "postgres.public.customers"),
    ):
        result = shop.segconn("run", "--target", target)
        assert result.exit_code == 2
        assert f"and target {target} of profile shop names it {names}" in result.output
    assert api.received == []
    assert shop.segconn("run").exit_code == 0
    warehouse.execute("drop table customers")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert f"is not in target dev (postgres database {warehouse.database} on {warehouse.socket})" in result.output


# Types that users make, with names like those of others: the type, SQL of a value, its JSON
OWN_TYPES = {
    "count_of": ("count_of_count", "7", 7),
    "share": ("share", "0.5", 0.5),
    "price": ("price_of_price", "'1234567890.50'", 1234567890.5),
    "shares": ("share[]", "array['0.5', 'NaN']::share[]", [0.5, None]),
    "grid": ("grid", "array[1, 2]", [1, 2]),
    "grids": ("grid[]", "array[array[1, 2]::grid]", [[1, 2]]),
    "span": ("floatrange", "'[0.5,1.5)'", "[0.5,1.5)"),
    "spans": ("int4multirange", "'{[1,3)}'", "{[1,3)}"),
    "mood": ("jsonish", "'sad'", "sad"),
    "moods": ("jsonish[]", "array['sad']::jsonish[]", ["sad"]),
    "birth": ("my_timestamp", "row('Ada', 36)", {"name": "Ada", "age": 36}),
    "births": ("my_timestamp[]", "array[row('Ada', 36)]::my_timestamp[]", [{"name": "Ada", "age": 36}]),
    "zip": ("interval_id", "'00123'", "00123"),
    "padded": ("code", "'ab'", "ab"),
    "flag": ("map_flag", "true", True),
    "at": ("at_home", "'2024-02-29 12:00:00'", "2024-02-29T12:00:00.000Z"),
    "doc": ("document", """'{"a": [1]}'""", {"a": [1]}),
    "bytes": ("bytes_of", r"'\x00ff'", "AP8="),
    "path": ("jsonpath", "'$.a'", '$."a"'),
    "vector": ("int2vector", "'1 2'", "1 2"),
    "odd": ('"Variant 1"."json odd"', "'x'", "x"),
    "pairs": ('"Variant 1".hstore', "'a=>1'", {"a": "1"}),
    "name": ('"Variant 1".citext', "'Ada'", "Ada"),
}


def test_types_are_known_by_what_they_are_and_not_by_their_names(shop, api, warehouse):
    for statement in (
        "domain count_of as integer",
        "domain count_of_count as count_of check (value > 0)",
        "domain share as double precision check (value = 'NaN' or value < 1)",
        "domain price as numeric(12, 2)",
        "domain price_of_price as price",
        "domain grid as integer[]",
        "type floatrange as range (subtype = float8)",
        "type jsonish as enum ('sad')",
        "type my_timestamp as (name text, age integer)",
        "domain interval_id as text",
        "domain code as char(5)",
        "domain map_flag as boolean",
        "domain at_home as timestamp",
        "domain document as jsonb",
        "domain bytes_of as bytea",
        'schema "Variant 1"',
        'extension hstore schema "Variant 1"',
        'extension citext schema "Variant 1"',
        'domain "Variant 1"."json odd" as varchar(9)',
    ):
        warehouse.execute(f"create {statement}")
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in OWN_TYPES.items())
    shop.make(f"customer_id text, {columns}", ", ".join(["'c1'", *(sql for _, sql, _ in OWN_TYPES.values())]))
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}})
    result = shop.run()
    assert result.exit_code == 0, result.output
    traits = api.calls()[0]["traits"]
    assert {name: traits[name] for name in OWN_TYPES} == {name: value for name, (_, _, value) in OWN_TYPES.items()}


# SQL of two columns, before and after: PostgreSQL takes both for equal, or they have the same parts. Their JSON differs
ALIKE = {
    "letters": (("'Ada'::citext", "null::text"), ("'ADA'::citext", "null::text")),
    "durations": (("'1 day'::interval", "null::text"), ("'24 hours'::interval", "null::text")),
    "swapped": (("'x'::text", "'y'::text"), ("'y'::text", "'x'::text")),
    "twice": (("'x'::text", "'x'::text"), ("'y'::text", "'y'::text")),
    "empty": (("''::text", "null::text"), ("null::text", "''::text")),
    "numbers": (("1::bigint", "2::bigint"), ("2::bigint", "1::bigint")),
    "texts": (("'a,b'::text", "'c'::text"), ("'a'::text", "'b,c'::text")),
}


def test_rows_that_are_alike_are_updates(shop, warehouse):
    warehouse.execute("create extension citext")
    shop.manifest(
        *(
            {**MAPPING, "name": name, "fields": {"user_id": "$id", "traits": {"a": f"${name}_a", "b": f"${name}_b"}}}
            for name in ALIKE
        ),
        unique_identifier="id",
    )
    for at in (0, 1):
        columns = [f"{pair[at][0]} as {name}_a, {pair[at][1]} as {name}_b" for name, pair in ALIKE.items()]
        warehouse.execute(
            f"drop table if exists customers; create table customers as select 1 as id, {', '.join(columns)}"
        )
        results = shop.run().artifact(shop.dir)["results"]
    assert [one["name"] for one in results if one["counts"]["updated"] != 1] == []


def test_columns_may_have_different_collations(shop, api, warehouse):
    shop.manifest(
        {**MAPPING, "fields": {"user_id": "${one}${two}", "traits": "$*"}, "changed_columns": True},
        unique_identifier=["one", "two"],
    )
    for plan in ("pro", "free"):
        warehouse.execute(
            "drop table if exists customers; create table customers as select 'a' collate \"C\" as one, "
            f"'b' collate \"POSIX\" as two, 'c'::name as three, '{plan}'::text as plan"
        )
        result = shop.run()
        assert result.exit_code == 0, result.output
    assert [call["traits"]["plan"] for call in api.calls()] == ["pro", "free"]


def test_an_upgrade_keeps_views_of_the_user_on_the_history(shop, warehouse):
    """The view of an earlier version has fewer columns, and in another order than the log."""
    assert shop.synced(ADA).exit_code == 0
    view = "select revision, status, sync_id, mapping_id, started_at from segconn.sync_history"
    warehouse.execute(f"drop view segconn.syncs; create view segconn.syncs as {view}")
    warehouse.execute("create view mine as select status from segconn.syncs; grant select on segconn.syncs to public")
    warehouse.execute("alter table segconn.sync_history drop column resumed")
    assert shop.synced(ADA, BOB).exit_code == 0
    assert warehouse.query("select status from mine") == [("success",), ("success",)]
    assert warehouse.query("select has_table_privilege('pg_monitor', 'segconn.syncs', 'select')") == [(True,)]


def test_a_view_that_cannot_be_replaced_is_left_as_it_is(shop, api, warehouse):
    assert shop.synced(ADA).exit_code == 0
    altered = "select 1 as own, sync_id, status from segconn.sync_history"
    warehouse.execute(f"drop view segconn.syncs; create view segconn.syncs as {altered}")
    warehouse.execute("create view mine as select status from segconn.syncs")
    api.forget()
    refused = shop.synced(ADA, BOB)
    assert refused.exit_code == 2
    assert "has other columns than this version of dbt-segconn needs, and cannot be replaced" in refused.output
    assert "view mine depends on view segconn.syncs" in refused.output
    assert "Drop the objects that depend on it, run dbt-segconn again, then create them again." in refused.output
    assert "CASCADE" not in refused.output
    assert api.tried == []
    assert len(warehouse.query("select * from mine")) > 0
    warehouse.execute("drop view mine")
    assert shop.run().exit_code == 0
