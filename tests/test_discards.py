"""Refused records: tried again in their latest form, given up after a while, taken up again on request."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, MAPPING

NAME = "customers.identify_customers"
BAD = ("c2", "bad@example.com", "free")


@pytest.fixture
def refusing(shop, api):
    """A shop whose Segment does not take bad@example.com."""
    shop.manifest(MAPPING)
    api.refuses = lambda call: call["traits"]["email"] == "bad@example.com"
    return shop


def discards(shop):
    lines = shop.segconn("status", "--discards", "--format", "json").output.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def asked(api, email):
    return sum(any(call["traits"]["email"] == email for call in body["batch"]) for body in api.tried)


def test_a_refused_record_stops_no_other_and_is_listed_with_all_that_is_known(refusing, api):
    result = refusing.resync(ADA, BAD)
    assert result.exit_code == 1
    assert "PARTIAL synced" in result.output
    assert "DISCARDED 1" in result.output
    assert [call["userId"] for call in api.calls()] == ["c1"]
    refusing.resync(ADA, BAD)
    (one,) = discards(refusing)
    assert one["mapping"] == NAME
    assert (one["record_id"], one["change_type"], one["attempts"], one["given_up"]) == ("c2", "added", 2, "no")
    assert one["reason"] == "Segment rejected the call with HTTP status 400"
    assert one["first_at"] < one["last_at"]


def test_it_is_tried_in_five_more_syncs_then_given_up_until_it_changes(refusing, api):
    for _ in range(9):
        refusing.resync(ADA, BAD)
    assert asked(api, "bad@example.com") >= 6
    (one,) = discards(refusing)
    assert (one["attempts"], one["given_up"]) == (6, "yes")
    result = refusing.resync(ADA, BAD)
    assert result.exit_code == 0, "what was given up does not fail the syncs after it"
    assert refusing.resync(ADA, BOB).exit_code == 0
    assert sorted(call["userId"] for call in api.calls()) == ["c1", "c2"]
    assert discards(refusing) == []


def test_given_up_record_with_earlier_form_stays_open(refusing, api):
    refusing.resync(ADA, (*BAD[:2], "pro"))
    for _ in range(7):
        refusing.resync(ADA, BAD)
    (one,) = discards(refusing)
    assert (one["attempts"], one["given_up"]) == (7, "yes")
    api.refuses = lambda _call: False
    result = refusing.segconn("retry")
    assert "ADDED 1" in result.output, result.output
    assert discards(refusing) == []


def test_it_is_given_up_after_fourteen_days(refusing):
    refusing.resync(ADA, BAD)
    with refusing.connect() as connection:
        connection.execute("update segconn.discards set discarded_at = discarded_at - interval 14 days")
    assert refusing.resync(ADA, BAD).exit_code == 0
    assert [one["given_up"] for one in discards(refusing)] == ["yes"]


def test_a_form_that_was_once_refused_is_no_reason_to_give_it_up_weeks_later(refusing, api):
    refusing.resync(ADA, BAD)
    api.refuses = lambda _call: False
    assert refusing.resync(ADA, BAD).exit_code == 0
    refusing.resync(ADA, BOB)
    with refusing.connect() as connection:
        connection.execute("update segconn.discards set discarded_at = discarded_at - interval 30 days")
    refusing.resync(ADA, BAD)
    emails = [call["traits"]["email"] for call in api.calls() if call["userId"] == "c2"]
    assert emails == ["bad@example.com", "bob@example.com", "bad@example.com"]


def test_retry_takes_up_what_was_given_up(refusing, api):
    for _ in range(7):
        refusing.resync(ADA, BAD)
    assert refusing.segconn("retry").exit_code == 1, "it is still refused"
    (one,) = discards(refusing)
    assert (one["attempts"], one["given_up"]) == (1, "no"), "and counted anew"
    api.refuses = lambda _call: False
    result = refusing.segconn("retry", "--mapping", NAME)
    assert result.exit_code == 0, result.output
    assert "ADDED 1" in result.output
    assert discards(refusing) == []
    assert "TOTAL=0" in refusing.segconn("retry").output, "nothing is left to try again"


def test_retry_delivers_what_an_outage_has_left_and_leaves_the_others_alone(shop, api):
    shop.manifest({**MAPPING, "name": "fine"}, MAPPING)
    shop.table(ADA, BOB)
    shop.segconn("run", "--all", "--mapping", "fine")
    api.faults = [401]
    shop.segconn("run", "--all", "--mapping", "identify_customers")
    result = shop.segconn("retry")
    assert result.exit_code == 0
    assert "RESUMED 2" in result.output
    assert "TOTAL=1" in result.output


def test_a_refused_record_that_leaves_the_model_is_no_discard_any_more(refusing, api):
    refusing.resync(ADA, BAD)
    assert refusing.resync(ADA).exit_code == 0
    assert discards(refusing) == []
    assert [call["userId"] for call in api.calls()] == ["c1"]


def test_what_segment_may_have_taken_before_it_refused_it_is_deleted_there_all_the_same(shop, api):
    deleted = {"event_name": "Gone", "user_id": "$__segment_id", "properties": {"email": "$email"}}
    shop.manifest({**MAPPING, "action": "track", "sync_mode": ["added", "deleted"], "fields": deleted})
    api.faults = ["lost", 400]
    assert shop.resync(ADA).exit_code == 1, "it was taken, but the answer was lost, and the next one a refusal"
    assert [one["record_id"] for one in discards(shop)] == ["c1"]
    shop.segconn("run", "--all")
    shop.resync(options=("--allow-guarded", NAME))
    assert [call["properties"]["email"] for call in api.calls()][-1] is None


def test_the_call_of_a_discarded_record_is_shown_on_request_only(refusing):
    result = refusing.resync(ADA, BAD)
    assert "bad@example.com" not in result.output
    assert "bad@example.com" not in refusing.segconn("status", "--discards").output
    shown = json.loads(refusing.segconn("preview", "--record", "c2").output)
    assert shown["call"]["traits"]["email"] == "bad@example.com"
