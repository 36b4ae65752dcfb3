"""Consent: where its columns are declared, when they are required, and what happens to records without a value."""

from __future__ import annotations

import json
import random

import pytest
from standing import ADA, BOB, MAPPING

ADS = {"Ads": "ads_ok"}


@pytest.fixture
def asking(shop):
    """A shop whose customers are asked for two kinds of consent; records that say nothing are skipped."""
    shop.columns = ("customer_id", "email", "plan", "ads_ok", "mail_ok")
    shop.more_settings = {"consent": {"without_value": "skip"}}
    shop.settings()
    shop.manifest(MAPPING, consent={"Ads": "ads_ok", "Mail": "mail_ok"})
    return shop


def preferences(api):
    return {call["userId"]: call["context"]["consent"].get("categoryPreferences") for call in api.calls()}


def validate(shop):
    return json.loads(shop.segconn("validate", "--format", "json").output)["findings"]


def counts(shop):
    return json.loads((shop.dir / "target/segconn/run_results.json").read_text())["results"][0]["counts"]


def test_a_mapping_has_the_columns_of_its_model_its_own_or_none(shop, api):
    shop.columns = ("customer_id", "email", "plan", "ads_ok", "mail_ok")
    others = [
        {**MAPPING, "name": "own", "consent": {"Mail": "mail_ok"}, "fields": {"user_id": "own-${customer_id}"}},
        {**MAPPING, "name": "free", "consent": "not_needed", "fields": {"user_id": "free-${customer_id}"}},
    ]
    shop.manifest(MAPPING, *others, consent=ADS)
    assert shop.resync((*ADA, "TRUE", "f")).exit_code == 0
    assert preferences(api) == {"c1": {"Ads": True}, "own-c1": {"Mail": False}, "free-c1": None}


def test_required_consent_is_named_or_declined_by_every_mapping(shop, api):
    shop.more_settings = {"consent": {"required": True}}
    shop.settings()
    shop.columns = (*shop.columns, "ads_ok")
    shop.manifest(MAPPING, {**MAPPING, "name": "free", "consent": "not_needed"})
    (finding,) = validate(shop)
    assert (finding["code"], finding["mapping"], finding["path"]) == ("SEG211", "identify_customers", "consent")
    written = (shop.dir / "models/customers.yml").read_text().splitlines()
    assert "- name: identify_customers" in written[finding["line"] - 1], "as it has no such key"
    result = shop.resync((*ADA, "true"))
    assert result.exit_code == 2
    assert "consent: is missing, but segconn.yml requires it" in result.output
    assert api.received == []
    shop.manifest(MAPPING, {**MAPPING, "name": "free", "consent": "not_needed"}, consent=ADS)
    assert validate(shop) == []
    assert shop.resync((*ADA, "true")).exit_code == 0


@pytest.mark.parametrize("wrong", [{}, "none", ["ads_ok"], False])
def test_what_is_neither_columns_nor_a_clear_no_is_one_error(shop, wrong):
    shop.more_settings = {"consent": {"required": True}}
    shop.settings()
    shop.manifest({**MAPPING, "consent": wrong})
    (finding,) = validate(shop)
    assert "be not_needed" in finding["message"]


def test_a_missing_column_is_told_where_it_was_named(shop):
    shop.manifest(MAPPING, consent={"Ads": "adds_ok"})
    shop.table(ADA)
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert "model customers: consent.Ads: column 'adds_ok' is not in" in result.output
    shop.manifest({**MAPPING, "consent": {"Ads": "adds_ok"}})
    assert "mapping identify_customers: consent.Ads: column" in shop.segconn("run", "--all").output


def test_records_that_say_nothing_are_sent_as_withheld_by_default(asking, api):
    asking.more_settings = {}
    asking.settings()
    asking.resync((*ADA, None, ""))
    assert preferences(api) == {"c1": {"Ads": False, "Mail": False}}


def test_records_that_say_nothing_are_skipped_and_counted_until_they_say_something(asking, api):
    result = asking.resync((*ADA, "true", None), (*BOB, None, "perhaps"))
    assert result.exit_code == 0, result.output
    assert "1 record held back: no consent column has a value" in result.output
    assert "ADDED 1 UPDATED 0 DELETED 0 HELD BACK 1" in result.output
    assert preferences(api) == {"c1": {"Ads": True, "Mail": False}}
    assert counts(asking) | {"added": 1, "held_back": 1, "to_send": 1, "confirmed": 1} == counts(asking)
    (row,) = asking.query("select added, held_back, to_send, confirmed, discarded from segconn.syncs")
    assert row == {"added": 1, "held_back": 1, "to_send": 1, "confirmed": 1, "discarded": 0}
    asking.resync((*ADA, "true", None), ("c2", "new@example.com", "free", None, None))
    assert len(api.received) == 1
    assert counts(asking)["held_back"] == 1
    assert "ADDED 1" in asking.resync((*ADA, "true", None), (*BOB, "false", None)).output
    assert preferences(api)["c2"] == {"Ads": False, "Mail": False}, "a clear no is said"


def test_consent_that_is_withdrawn_is_sent_once_and_then_the_record_rests(asking, api):
    asking.resync((*ADA, "true", "true"))
    asking.resync((*ADA, None, None))
    assert [call["context"]["consent"]["categoryPreferences"]["Ads"] for call in api.received] == [True, False]
    asking.resync(("c1", "later@example.com", "pro", None, None))
    assert len(api.received) == 2
    asking.resync((*ADA, "true", "true"))
    assert len(api.received) == 3, "as it was at first, and yet told again"
    asking.manifest({**MAPPING, "sync_mode": ["added", "updated", "deleted"], "fields": {"user_id": "$__segment_id"}})
    asking.resync((*BOB, "true", None), options=("--allow-guarded", "customers.identify_customers"))
    assert "c1" in [call["userId"] for call in api.received[3:]], "a record that Segment has got is told to be gone"


def test_a_record_that_was_never_sent_is_not_deleted_either(asking, api):
    mode = {"sync_mode": ["added", "deleted"], "fields": {"user_id": "$__segment_id"}}
    asking.manifest({**MAPPING, **mode}, consent=ADS)
    asking.resync((*ADA, "true", None), (*BOB, None, None))
    asking.resync((*ADA, "true", None))
    assert [call["userId"] for call in api.received] == ["c1"]


def test_a_baseline_takes_records_that_say_nothing_for_sent(asking, api):
    asking.manifest({**MAPPING, "first_sync": "baseline"}, consent=ADS)
    assert "LEFT OUT 2" in asking.resync((*ADA, "true", None), (*BOB, None, None)).output
    asking.resync((*ADA, "true", None), ("c2", "new@example.com", "free", None, None))
    assert api.received == []
    assert "UPDATED 1" in asking.resync((*ADA, "true", None), (*BOB, "true", None)).output


def test_skipping_from_now_on_sends_nothing_again_and_sending_catches_up(asking, api):
    rows = [(*ADA, "true", None), (*BOB, None, None)]
    asking.more_settings = {}
    asking.settings()
    asking.resync(*rows)
    asking.more_settings = {"consent": {"without_value": "skip"}}
    asking.settings()
    assert "ADDED 0 UPDATED 0 DELETED 0 " in asking.resync(*rows).output
    new = ("c3", "eve@example.com", "team", None, None)
    asking.resync(*rows, new)
    asking.more_settings = {}
    asking.settings()
    assert "ADDED 1 UPDATED 0" in asking.resync(*rows, new).output


def test_preview_omits_held_back_records(asking):
    asking.table((*ADA, "true", None), (*BOB, None, None))
    shown = asking.segconn("preview").output
    assert "c1" in shown
    assert "c2" not in shown


def test_whatever_happens_segment_hears_what_the_rules_say(asking, api):
    """Compare a random history with the rules: which records were ever sent, and what was sent last for each."""
    choose = random.Random(7)
    told: dict[str, object] = {}
    expected: list[tuple[str, str, bool]] = []
    for _ in range(9):
        rows = [
            (f"c{number}", choose.choice(["x@example.com", "y@example.com"]), "pro", consent, None)
            for number in range(12)
            for consent in [choose.choice(["true", "false", None, ""])]
            if choose.random() < 0.9 or f"c{number}" in told
        ]
        held_back = 0
        for record, email, _, consent, _ in rows:
            form = (email, consent) if consent else "nothing"
            if record not in told and not consent:
                held_back += 1
            elif told.get(record) != form:
                told[record] = form
                expected.append((record, email, consent == "true"))
        asking.resync(*rows)
        heard = [
            (call["userId"], call["traits"]["email"], call["context"]["consent"]["categoryPreferences"]["Ads"])
            for call in api.received
        ]
        assert sorted(heard) == sorted(expected)
        assert counts(asking)["held_back"] == held_back
        assert len(api.accepted) == len(api.received)


def test_a_withdrawal_that_was_cut_short_is_told_once_and_by_its_own_message_id(asking, api):
    asking.resync((*ADA, "true", None), (*BOB, "true", None))
    api.faults = ["lost", 401]
    assert asking.resync((*ADA, None, None), (*BOB, "true", None), ("c3", "", "", None, None)).exit_code == 1
    assert asking.segconn("run", "--all").exit_code == 0
    heard = [call for call in api.accepted.values() if call["userId"] == "c1"]
    assert [call["context"]["consent"]["categoryPreferences"]["Ads"] for call in heard] == [True, False]
    assert {call["userId"] for call in api.accepted.values()} == {"c1", "c2"}
