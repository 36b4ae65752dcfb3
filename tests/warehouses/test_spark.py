"""What is peculiar to Spark: inserts of several processes into one table, and the errors of its server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from standing import ADA, BOB, MAPPING

pytest.importorskip("pyhive", reason="tests/warehouses/run.sh spark installs it")
pytestmark = pytest.mark.parametrize("warehouse", ["spark_thrift"], indirect=True)

# Of another process of dbt-segconn; without them, its insert would publish and delete the files of all others
SETTINGS = (
    "set mapreduce.job.application.attempt.id = 7",
    "set mapreduce.fileoutputcommitter.cleanup.skipped = true",
)
SLEEP = "java_method('java.lang.Thread', 'sleep', cast({} as bigint))"
SLEEP_MS = 20_000
NOW = "cast(current_timestamp() as timestamp_ntz)"


def test_insert_of_another_process_is_kept(shop, api, warehouse):
    """Its insert into the locks begins before a run and ends after it."""
    shop.synced(ADA)
    locks = f"{warehouse.state_schema}.locks"
    with ThreadPoolExecutor(1) as pool, warehouse.connect() as connection:
        cursor = connection.cursor()
        for setting in SETTINGS:
            cursor.execute(setting)
        other = pool.submit(
            cursor.execute,
            f"insert into {locks} (mapping_id, token, holder, claimed_at, beat_at) "
            f"select 'other', 't-1', {SLEEP.format(SLEEP_MS)}, {NOW}, {NOW}",
        )
        result = shop.synced(ADA, BOB)
        assert not other.done(), "the run ended too late"
        other.result()
    assert result.exit_code == 0, result.output
    assert "ADDED 1" in result.output
    assert warehouse.query(f"select count(*) from {locks} where token = 't-1'") == [(1,)]


def test_value_in_an_error_is_masked(shop, warehouse):
    shop.manifest(MAPPING)
    shop.fill(("c1", "hidden-in-a-row", "x"))
    shop.warehouse.execute(f"alter table {warehouse.schema}.customers rename to {warehouse.schema}.raw")
    shop.warehouse.execute(
        f"create view {warehouse.schema}.customers as "
        f"select customer_id, raise_error(email) as email, plan from {warehouse.schema}.raw"
    )
    shop.watch.use_row(("email",), ("hidden-in-a-row",))
    result = shop.run()
    assert result.exit_code == 1
    assert "USER_RAISED_EXCEPTION" in result.output
    assert "hidden-in-a-row" not in result.output
    assert "HiveThriftServer" not in result.output, "a stack trace"
