"""What only BigQuery has: its types inside arrays and structs, locations, numbers in buckets, its errors."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from standing import ADA, MAPPING

pytestmark = pytest.mark.parametrize("warehouse", ["bigquery_fake"], indirect=True)

WHOLE = {**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}, "guards": {"allow_junk_ids": True}}


@pytest.fixture(autouse=True)
def needed():
    pytest.importorskip("local_bigquery", reason="tests/warehouses/run.sh installs it")


def traits(shop, api, warehouse, **columns):
    """Sync a model of one record with these columns, each in SQL, and return its traits."""
    values = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    warehouse.execute(f"create or replace table {warehouse.schema}.customers as select 'c1' as customer_id, {values}")
    result = shop.run()
    assert result.exit_code == 0, result.output
    (call,) = api.calls()[-1:]
    return {name: value for name, value in call["traits"].items() if name != "customer_id"}


def test_numbers_in_arrays_and_structs_are_numbers(shop, api, warehouse):
    shop.manifest(WHOLE)
    assert traits(
        shop,
        api,
        warehouse,
        amounts="[numeric '0.10', numeric '12345678901234567890.5', numeric '7']",
        wide="[9007199254740993]",
        floats="[0.5, cast('NaN' as float64), cast('inf' as float64)]",
        nested="struct(numeric '1.5' as price, [struct('x' as `b c`, 9007199254740993 as n)] as items, null as no_)",
        took="[interval '0-0 1 0:0:2.5' year to second]",
        words="""['a"b', 'c']""",
        empty="cast([] as array<numeric>)",
    ) == {
        "amounts": [0.1, 12345678901234567890.5, 7],
        "wide": [9007199254740993],
        "floats": [0.5, None, None],
        "nested": {"price": 1.5, "items": [{"b c": "x", "n": 9007199254740993}], "no_": None},
        "took": ["P1DT2.5S"],
        "words": ['a"b', "c"],
        "empty": [],
    }


def test_years_1_to_9999_have_four_digits(shop, api, warehouse):
    shop.manifest(WHOLE)
    assert traits(
        shop,
        api,
        warehouse,
        first="date '0001-01-01'",
        early="timestamp '0044-03-15 12:00:00+00'",
        naive="datetime '0999-12-31 12:00:00.25'",
        never="datetime '9999-12-31 23:59:59'",
    ) == {
        "first": "0001-01-01",
        "early": "0044-03-15T12:00:00.000Z",
        "naive": "0999-12-31T12:00:00.250Z",
        "never": "9999-12-31T23:59:59.000Z",
    }


def test_decimals_as_text_keep_their_digits(shop, api, warehouse):
    shop.manifest({**WHOLE, "decimals": "text"})
    digits = {"price": "numeric '12.5'", "rate": "bignumeric '123456789012345678.901234567890123456'"}
    assert traits(shop, api, warehouse, **digits)["price"].startswith("12.5")


def test_state_is_created_where_the_model_is(shop, api, warehouse):
    """The profile has no `location`."""
    there = replace(warehouse, options={})
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": {"dev": there.output}}})
    with closing(warehouse.client) as client:
        dataset = client.get_dataset(warehouse.schema)
        dataset.location = "EU"
        client.delete_dataset(dataset)
        client.create_dataset(dataset)
        shop.synced(("c1", "ada@example.com", "pro"))
        assert client.get_dataset(warehouse.state_schema).location == "EU"


def test_numbers_of_changes_are_unique_and_pages_find_all(shop, api, warehouse):
    rows = [(f"c{at}", f"{at}@example.com", "pro") for at in range(3000)]
    shop.synced(*rows, *([(None, None, None)] * 700), ("c1", "again@example.com", None))
    assert sorted(call["userId"] for call in api.calls()) == sorted({user for user, _, _ in rows} - {"c1"})
    assert len({call["messageId"] for call in api.received}) == len(api.received) == 2999
    assert shop.counts()["unidentified"] == 702


def test_values_of_rows_are_not_in_errors(shop, api, warehouse):
    warehouse.execute(
        f"create view {warehouse.schema}.customers as "
        "select 'c1' as customer_id, cast(email as int64) as email, 'pro' as plan "
        "from (select 'ada@example.com' as email)"
    )
    result = shop.run()
    assert result.exit_code == 1
    assert "ada@example.com" not in result.output
    assert "the warehouse says" in result.output


WRITE = re.compile(
    r"\s*(?:/\*.*?\*/\s*)?(insert|delete|update|merge|create|drop|alter)\b[^(]*?`\.`\w+`\.`(\w+?)(_customers\w*)?`",
    re.DOTALL,
)


def written_by(run, warehouse):
    """Count the statements of a run that write, by verb and kind of table."""
    with closing(warehouse.client) as client:
        known = {job.job_id for job in client.list_jobs()}
        run()
        found = [WRITE.match(job.query) for job in client.list_jobs() if job.job_id not in known]
    return Counter(f"{one[1]} {one[2]}" for one in found if one)


def test_run_writes_what_quotas_allow(shop, api, warehouse):
    """The numbers of the manual: for 2 mappings with changes, of which it is the first sync, and without."""
    shop.manifest(*({**MAPPING, "name": f"number_{number}"} for number in range(2)))
    changed = written_by(lambda: shop.synced(ADA), warehouse)
    beats, saves = changed.pop("insert locks") - 2, changed.pop("insert sync_history") - 8
    created = {f"create {name}": 1 for name in ("sync_history", "discards", "locks", "alerts", "syncs")}
    assert changed == {
        **created,
        "create records": 2,
        "delete locks": 2,
        "insert discards": 2,
        "create outbox": 2,
        "insert records": 2,
        "delete records": 2,
        "drop outbox": 2,
    }
    assert written_by(shop.run, warehouse) == {"insert sync_history": 1, "insert locks": 1, "delete locks": 1}
    assert 0 <= beats < 30
    assert 0 <= saves <= 2  # of a watermark, on a slow machine
