"""Records are sent again on purpose: counted, guarded, under new messageIds, and never by mistake."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING

NAME = "customers.identify_customers"
YES = ("--yes",)


@pytest.fixture
def logged(shop):
    shop.state = {**shop.state, "deliveries": {"keep": "12 weeks"}}
    shop.settings()
    return shop


def resend(shop, *arguments):
    return shop.segconn("resend", NAME, *arguments)


def sent(shop, api):
    """Run, and return the users of what arrives, each under a new messageId."""
    known = set(api.accepted)
    assert shop.run().exit_code == 0
    return sorted(call["userId"] for message_id, call in api.accepted.items() if message_id not in known)


def test_resend_sends_chosen_records_again(logged, api):
    logged.synced(ADA, BOB, EVE)
    (first,) = (
        json.loads(line) for line in logged.segconn("status", "--history", "--format", "json").stdout.splitlines()
    )
    result = resend(logged, "--record", "c1", "--record", "c3", *YES)
    assert "2 records of" in result.output
    assert "Marked 2 records" in result.output
    assert "2 records marked" in logged.segconn("status").output
    assert sent(logged, api) == ["c1", "c3"]
    assert sent(logged, api) == []
    logged.fill(ADA, BOB)  # the sync mode leaves c3 out: it is gone afterwards
    assert sent(logged, api) == []
    result = resend(logged, "--where", "plan = 'free' -- cheap", "--now", *YES)
    assert result.exit_code == 0, result.output
    assert [call["userId"] for call in api.received][5:] == ["c2"]
    result = resend(logged, "--sync", first["sync_id"], *YES)
    assert "known records count as updated" not in result.output  # no column is to blame: the user chose all records
    assert "Left out: 1 chosen record, deleted since." in result.output
    assert sent(logged, api) == ["c1", "c2"]
    assert len(api.received) == len(api.accepted) == 8


def test_resend_of_unknown_records_marks_nothing(shop, api):
    shop.synced(ADA)
    shop.fill(ADA, BOB)
    result = resend(shop, "--record", "c1", "--record", "c2", "--record", "x\x1b[31m", *YES)
    assert (result.exit_code, "\x1b" in result.output) == (2, False)
    assert "record 'c2': not delivered yet" in result.output
    assert "record 'x\\x1b[31m': neither" in result.output
    assert sent(shop, api) == ["c2"]
    result = resend(shop, "--where", "no_such_column = 1", *YES)
    assert (result.exit_code, "--where cannot be evaluated: " in result.output) == (2, True)
    assert "Confirm with --yes" in resend(shop, "--record", "c1").output
    assert "delivery log, which does not exist" in resend(shop, "--sync", "s", *YES).output
    assert sent(shop, api) == []


def test_resend_asks_the_guards_first(shop, api):
    shop.manifest({**MAPPING, "guards": {"max_updated_percent": 50}})
    shop.synced(ADA, BOB, EVE)
    result = resend(shop, "--where", "1 = 1", *YES)
    assert (result.exit_code, "max_updated_percent 50" in result.output) == (1, True)
    assert sent(shop, api) == []
    assert resend(shop, "--where", "1 = 1", "--allow-guarded", "--now", *YES).exit_code == 0
    assert len(api.received) == len(api.accepted) == 6


def test_resend_finds_rows_before_the_checkpoint(shop, api):
    shop.columns = ("customer_id", "email", "plan", "version")
    shop.manifest({**MAPPING, "checkpoint": {"column": "version", "lag": 0}})
    columns = "customer_id varchar(9), email varchar(99), plan varchar(9), version bigint"
    shop.make(columns, "'c1', 'a@b.c', 'pro', 1", "'c2', 'b@b.c', 'pro', 2", "'c3', 'c@b.c', 'pro', 30")
    assert sent(shop, api) == ["c1", "c2", "c3"]
    result = resend(shop, "--record", "c1", *YES)
    assert "1 record of" in result.output
    assert sent(shop, api) == ["c1"]


def test_resend_sends_given_up_records(shop, api):
    shop.synced(ADA, BOB)
    api.refuses = lambda call: call["traits"]["plan"] == "odd"
    shop.synced(("c1", "ada@example.com", "odd"), BOB)
    discards = f"{shop.warehouse.state_schema}.discards"
    shop.warehouse.execute(f"update {discards} set discarded_at = discarded_at - interval '15 days'")
    api.refuses = lambda _call: False
    assert sent(shop, api) == []
    assert resend(shop, "--record", "c1", *YES).exit_code == 0
    assert sent(shop, api) == ["c1"]
    assert shop.segconn("status", "--discards").output == "None.\n"
