"""`run --plan` and `run --apply`: changes are reviewed in a file, and exactly these are sent."""

from __future__ import annotations

import json
import os
import stat

import pytest
from standing import ADA, BOB, EVE, MAPPING

from dbt_segconn.delivery import tracking_api

NAME = "customers.identify_customers"
NEW_ADA = ("c1", "new@example.com", "pro")


@pytest.fixture
def synced(shop, api):
    """A shop with two customers that Segment knows, and a third that it does not."""
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    api.forget()
    shop.table(NEW_ADA, BOB, EVE)
    return shop


def plan(shop, *options):
    path = shop.dir / "plan.json"
    result = shop.segconn("run", "--all", "--plan", str(path), *options)
    return result, json.loads(path.read_text())


def apply(shop):
    return shop.segconn("run", "--apply", str(shop.dir / "plan.json"))


def sent(api):
    return sorted((call["userId"], call["traits"]["email"]) for call in api.calls())


def test_plan_shows_what_apply_sends(synced, api):
    (synced.dir / f".plan.json.{os.getpid()}").touch(0o666)  # as another user may plant it, to read the plan
    result, content = plan(synced)
    assert result.exit_code == 0, result.output
    assert "OK planned customers.identify_customers" in result.output
    assert "ADDED 1 UPDATED 1 DELETED 0" in result.output
    assert api.received == []
    (one,) = content["syncs"]
    assert (one["name"], one["status"], content["calls"]) == (NAME, "planned", 2)
    assert sorted(sample["call"]["userId"] for sample in one["samples"]) == ["c1", "c3"]
    assert stat.S_IMODE((synced.dir / "plan.json").stat().st_mode) == 0o600
    synced.table(("c1", "later@example.com", "pro"), BOB)  # dbt runs before the plan is applied
    applied = apply(synced)
    assert applied.exit_code == 0, applied.output
    assert sent(api) == [("c1", NEW_ADA[1]), ("c3", EVE[1])]
    assert [call["messageId"] for call in api.calls()] == [sample["call"]["messageId"] for sample in one["samples"]]
    again = apply(synced)
    assert (again.exit_code, len(api.received)) == (0, 2)
    assert "the plan was applied before" in again.output
    assert "ADDED 0 UPDATED 1 DELETED 1" in synced.segconn("run", "--all").output


def test_cost_of_plan_follows_the_pricing(synced):
    settings = (synced.dir / "segconn.yml").read_text()
    synced.write("segconn.yml", settings + "\npricing: {api_calls: {included: 3, price: 5.0, per: 1}}\n")
    _, content = plan(synced)
    # two calls were sent this month, so one of the two planned calls is beyond the three that are included
    assert content["cost"] == {"api_calls": 2, "beyond_included": 1, "price": 5.0, "currency": "USD"}
    assert content["calls_this_month"] == 2


def test_run_replaces_plan_that_was_not_applied(synced, api):
    plan(synced)
    assert "an interrupted sync" not in synced.segconn("preview").output
    assert synced.segconn("retry").exit_code == 0
    assert api.received == []
    result = synced.segconn("run", "--all")
    assert "the last plan was not applied: its changes are staged again" in result.output
    assert sent(api) == [("c1", NEW_ADA[1]), ("c3", EVE[1])]
    late = apply(synced)
    assert late.exit_code == 1
    assert "the plan is out of date: the sync of" in late.output
    assert len(api.received) == 2


def test_plan_of_changed_mapping_is_refused(synced, api):
    plan(synced)
    synced.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"plan": "$plan"}}})
    result = apply(synced)
    assert result.exit_code == 1
    assert "the mapping or the columns of its model have changed since" in result.output
    assert api.received == []


def test_blocked_sync_is_in_plan(synced, api):
    synced.manifest({**MAPPING, "guards": {"max_records": 1}})
    result, content = plan(synced)
    assert result.exit_code == 1
    assert content["syncs"][0]["status"] == "blocked"
    assert "max_records" in content["syncs"][0]["message"]
    assert "It has no sync to send" in result.output
    assert "the plan has no sync to deliver" in apply(synced).output
    assert api.received == []


def test_unwritable_plan_stages_nothing(synced):
    refused = synced.segconn("run", "--all", "--plan", "nowhere/plan.json")
    assert refused.exit_code == 2
    assert "nowhere/plan.json: cannot be written: No such file" in refused.output
    assert "START sync" not in refused.output


def test_interrupted_apply_is_resumed(synced, api, monkeypatch):
    monkeypatch.setattr(tracking_api, "BACKOFF_SECONDS", 0.001)
    plan(synced)
    api.faults = [401]
    assert apply(synced).exit_code == 1
    assert "Run without --plan, then plan again" in plan(synced)[0].output
    assert synced.segconn("run", "--all").exit_code == 0
    assert sent(api) == [("c1", NEW_ADA[1]), ("c3", EVE[1])]


def test_discards_wait_for_apply(shop, api):
    shop.manifest(MAPPING)
    shop.table(ADA, BOB, BOB)
    plan(shop)
    plan(shop)  # a plan that is replaced counts no attempt
    assert shop.segconn("status", "--discards").output.count("not unique") == 0
    assert apply(shop).exit_code == 1
    assert shop.segconn("status", "--discards", "--format", "json").output.count("not unique") == 1
    assert sent(api) == [("c1", ADA[1])]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not a plan"),
        ('{"syncs": []}', "is not a plan"),
        ('{"metadata": {"plan_version": 9}, "syncs": []}', "is a plan of another version"),
        (None, "cannot be read: No such file"),
    ],
)
def test_file_that_is_no_plan_is_refused(synced, api, content, words):
    path = synced.dir / "plan.json"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    result = apply(synced)
    assert (result.exit_code, words in result.output) == (2, True), result.output
    assert api.received == []


def test_other_options_beside_apply_are_refused(synced):
    result = synced.segconn("run", "--apply", "plan.json", "--all", "--select", "customers")
    assert result.exit_code == 2
    assert "leave out --select, --all" in result.output
    assert synced.segconn("run", "--plan", "plan.json", "--full-refresh").exit_code == 2
