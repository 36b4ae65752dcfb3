"""The delivery log agrees with what arrived and with the records, and `history` shows the past of a record."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING

MAPPED = {**MAPPING, "sync_mode": ["added", "updated", "deleted"], "changed_columns": True}
NAME = "customers.identify_customers"
FIELDS = {"event_name": "State", "user_id": "$__segment_id", "properties": {"at": "$email"}}
STATE = {"action": "track", "fields": FIELDS}


@pytest.fixture
def logged(shop):
    shop.state = {**shop.state, "deliveries": {"keep": "90 days"}}
    shop.settings()
    shop.manifest({**MAPPED, **STATE})
    return shop


def past(shop, record, name=NAME):
    result = shop.segconn("history", name, "--record", record, "--format", "json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def log(shop):
    return sorted(shop.warehouse.query(f"select message_id, change_type from {shop.warehouse.state_schema}.deliveries"))


def test_log_has_each_confirmed_call(logged, api):
    api.refuses = lambda call: call["properties"]["at"] == EVE[1]
    logged.synced(ADA, BOB, EVE)
    logged.synced(("c1", "new@example.com", "pro"), EVE)
    assert [message_id for message_id, _ in log(logged)] == sorted(api.accepted)
    first, second = past(logged, "c1")
    assert (first["change_type"], first["outcome"], first["changed"]) == ("added", "confirmed", None)
    assert (second["change_type"], second["changed"]) == ("updated", ["email"])
    assert api.accepted[second["message_id"]]["properties"] == {"at": "new@example.com"}
    assert [row["change_type"] for row in past(logged, "c2")] == ["added", "deleted"]
    assert {(row["outcome"], row["message_id"]) for row in past(logged, "c3")} == {("discarded", None)}
    text = logged.segconn("history", NAME, "--record", "c3").output
    assert "Segment rejected the call with HTTP status 400" in text
    assert "in the last 90 days" in logged.segconn("history", NAME, "--record", "c9").output


def test_log_off_runs_no_statement(shop, api):
    shop.synced(ADA)
    tables = "select table_name from information_schema.tables where table_name = 'deliveries'"
    assert shop.warehouse.query(tables) == []
    assert "The delivery log is off" in shop.segconn("history", NAME, "--record", "c1").output


def test_run_prunes_old_rows_of_the_log(logged):
    logged.synced(ADA)
    table = f"{logged.warehouse.state_schema}.deliveries"
    logged.warehouse.execute(f"update {table} set settled_at = settled_at - interval '91 days'")
    logged.synced(ADA, BOB)
    assert [row["change_type"] for row in past(logged, "c1")] == []
    assert len(log(logged)) == 1


def test_adopted_mapping_keeps_its_log(logged):
    logged.synced(ADA)
    logged.manifest({**MAPPED, **STATE, "name": "other"})
    assert logged.segconn("adopt", NAME, "customers.other").exit_code == 0
    assert len(past(logged, "c1", "customers.other")) == 1


def test_log_names_old_key_of_resumed_sync(logged, api, monkeypatch):
    """What was confirmed before the write key changed has the messageIds of the former key."""
    monkeypatch.setattr("dbt_segconn.engine.ranges.FIRST_PAGE", 1)  # the watermark rises after each page
    monkeypatch.setattr("dbt_segconn.delivery.batches.BATCH_CALLS", 1)
    logged.settings(concurrency=1)
    api.faults = [200, 401]
    assert logged.synced(ADA, BOB, EVE).exit_code == 1
    monkeypatch.setenv("WK", "wk-another-9Zk2p")
    logged.watch.use_key("wk-another-9Zk2p")
    assert logged.run().exit_code == 0
    assert [message_id for message_id, _ in log(logged)] == sorted(api.accepted)
    assert len({message_id.partition("-")[0] for message_id in api.accepted}) == 2


def test_log_leaves_mapped_message_ids_out(logged):
    logged.manifest({**MAPPED, **STATE, "fields": {**FIELDS, "message_id": "$email"}})
    logged.synced(ADA)
    assert log(logged) == [(None, "added")]


def test_log_has_calls_of_an_applied_plan(logged, api):
    logged.fill(ADA, BOB)
    plan = str(logged.dir / "plan.json")
    assert logged.run("--plan", plan).exit_code == 0
    result = logged.segconn("resend", NAME, "--where", "1 = 1", "--yes")
    assert (result.exit_code, "has a plan that waits for `run --apply`" in result.output) == (1, True)
    assert logged.segconn("run", "--apply", plan).exit_code == 0
    assert [message_id for message_id, _ in log(logged)] == sorted(api.accepted)
