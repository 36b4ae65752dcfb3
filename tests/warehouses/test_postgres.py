"""What PostgreSQL alone makes hard: open transactions, materialized views, pages, sums."""

from __future__ import annotations

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


def test_pages_of_the_outbox_are_found_by_an_index(shop, api, warehouse):
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
