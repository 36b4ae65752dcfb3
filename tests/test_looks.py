"""Looking before a run: records beside their calls, and one call sent by itself."""

from __future__ import annotations

import json
import re

import pytest
from standing import ADA, BOB, EVE, MAPPING

NAME = "customers.identify_customers"


def state(shop):
    """All that a sync keeps of a mapping."""
    tables = shop.query("select table_name from information_schema.tables where table_schema = 'segconn'")
    return {
        table: shop.query(f"select * from segconn.{table} order by all")
        for table in sorted(row["table_name"] for row in tables)
    }


def test_records_are_beside_their_calls(shop, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    shop.manifest({**MAPPING, "sync_mode": ["added", "updated", "deleted"]})
    shop.resync(ADA, BOB)
    shop.table(("c1", "new@example.com", None), EVE, ("c4", "d\x1b[31m@example.com", "pro"))
    lines = shop.segconn("preview", "--format", "text").output.splitlines()
    heads = [line for line in lines if line.startswith(NAME)]
    kinds = [line.removeprefix(NAME).split() for line in heads]
    assert [sorted(kinds[:2]), *kinds[2:]] == [[["added", "c3"], ["added", "c4"]], ["updated", "c1"], ["deleted", "c2"]]
    assert max(map(len, lines)) <= 100
    assert any(re.fullmatch(r'email +"new@example.com" +\| .*', line) for line in lines)
    assert any(re.fullmatch(r'.*\| +"email": "new@example.com",', line) for line in lines)
    assert any('"userId": "c2"' in line for line in lines[lines.index(heads[3]) :]), (
        "a deleted one keeps its identifier"
    )
    assert "\x1b" not in "".join(lines), "a value cannot speak to the terminal"
    shorter = shop.segconn("preview", "--format", "text", "-n", "1").output
    assert [line.split()[1] for line in shorter.splitlines() if f"{NAME} " in line] == ["added", "updated", "deleted"]
    assert "Nothing to show" in shop.segconn("preview", "--format", "text", "--record", "nobody").output


def test_preview_marks_unsent_changes(shop, api):
    shop.columns = (*shop.columns, "seen_at")
    fields = {**MAPPING["fields"], "timestamp": "$seen_at"}
    now, bad = "2024-01-01T00:00:00Z", "the timestamp is not ISO-8601 with a time zone"
    shop.manifest({**MAPPING, "fields": fields})
    shop.table(
        (*ADA, "yesterday"), ("c2", "xy" * 20_000, "", now), ("c3", "", "", now), ("c3", "", "", now),
        (None, *[""] * 3), *((f"d{at}", "", "", now) for at in range(59)),
    )  # fmt: skip
    told = shop.segconn("preview")
    assert f'"discard": "{bad}' in told.stdout
    assert '"discard": "the call is larger than Segment\'s limit of 32,000 bytes"' in told.stdout
    assert f"{NAME}: 5 of 61 changes are shown; -n shows more.\n" in told.output.replace(told.stdout, "")
    assert f"{NAME}: 3 records discarded: the identifier is null or not unique.\n" in told.output
    text = shop.segconn("preview", "--format", "text").output
    assert "5 of 61 changes are shown" in text
    named = shop.segconn("preview", "--record", "c3", "--record", "c9").output
    assert named.count('"discard": "the unique identifier is not unique"') == 2
    assert "Nothing to show for the record 'c9': the model has no such record" in named
    estimated = shop.segconn("estimate").output
    assert f"  1: {bad}" in estimated
    assert "`preview`" not in estimated
    assert shop.segconn("run", "--all").exit_code == 1
    assert {one["reason"] for one in shop.query("select reason from segconn.discards")} >= {
        json.loads(one)["discard"] for one in told.stdout.replace("}\n{", "}\0{").split("\0") if "discard" in one
    }


def test_preview_marks_what_is_left_out_and_says_where_there_is_nothing(shop):
    shop.manifest({**MAPPING, "guards": {"max_records": 1}}, {**MAPPING, "name": "off", "enabled": False})
    shop.table(ADA, BOB)
    told = shop.segconn("preview", "-n", "1")
    assert told.stdout.count('"unsent": "the mapping is disabled"') == 1
    assert "customers.off: the mapping is disabled: a run sends nothing of this mapping." in told.output
    assert f"{NAME}: a guard would block it: 2 records are to be sent, more than max_records 1." in told.output
    shop.manifest({**MAPPING, "first_sync": "baseline"})
    assert '"unsent": "left out: the first sync is a baseline"' in shop.segconn("preview", "-n", "1").output
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    told = shop.segconn("preview")
    assert (told.stdout, told.output) == ("", f"{NAME}: Nothing to show: a run would send no such change now.\n")
    assert "Nothing to show for the record 'c1': it has no such" in shop.segconn("preview", "--record", "c1").output
    shop.table(BOB)
    assert f"{NAME}: 1 change left out by its sync mode (1 deleted)." in shop.segconn("preview").output
    assert "left out: sync_mode has no deleted records" in shop.segconn("preview", "--change-type", "deleted").output


def test_column_updating_all_is_named(shop):
    shop.columns, shop.types = (*shop.columns, "built_at", "seen_at"), {"built_at": "timestamp", "seen_at": "date"}
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}})
    shop.resync((*ADA, "2024-01-01", "2024-01-01"), (*BOB, "2024-01-01", "2024-01-02"))
    rows = (*ADA, "2024-01-02", "2024-01-01"), (*BOB, "2024-01-02", "2024-01-02")
    shop.table(*rows)
    words = f"{NAME}: all 2 known records count as updated. built_at has one value in all rows"
    assert words in shop.segconn("preview").output
    assert words in shop.segconn("estimate").output
    shop.table(*((*row[:-2], "2024-01-03", row[-1]) for row in rows), (*EVE, "2024-01-04", "2024-01-03"))
    assert "all 2 known records count as updated. Leave columns" in shop.segconn("preview").output
    shop.table((*ADA, "2024-01-02", "2024-01-01"), (*BOB, "2024-01-01", "2024-01-02"))
    assert "count as updated" not in shop.segconn("preview").output


def test_pipes_keep_their_json(shop):
    shop.manifest(MAPPING)
    shop.table(ADA)
    told = json.loads(shop.segconn("preview").output)
    assert list(told) == ["mapping", "change_type", "record_id", "call"]
    assert json.loads(shop.segconn("preview", "--format", "json").output)["call"]["userId"] == "c1"


def test_huge_and_long_values_are_shown(shop, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    shop.manifest(MAPPING)
    with shop.connect() as connection:
        connection.execute(
            "create table main.customers as select 'c1' as customer_id, repeat('long ', 40) as email, "
            "12345678901234567890123::hugeint as plan"
        )
    assert json.loads(shop.segconn("preview").output)["call"]["traits"]["plan"] == 12345678901234567890123
    lines = shop.segconn("preview", "--format", "text").output.splitlines()
    assert max(map(len, lines)) <= 60
    for side in zip(*(line.split("|") for line in lines if "|" in line), strict=True):
        shown = re.sub(r"\s", "", "".join(side))
        assert "12345678901234567890123" in shown
        assert shown.count("long") == 40, "nothing is cut off"


def test_a_terminal_gets_them_side_by_side(shop, monkeypatch):
    shop.manifest(MAPPING)
    shop.table(ADA)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "│ {" in shop.segconn("preview").output


def test_test_call_changes_no_state(shop, api):
    shop.manifest(MAPPING)
    shop.table(ADA)
    result = shop.segconn("send-test", NAME, "--record", "c1")
    assert result.exit_code == 0, result.output
    assert f"of {NAME}, record c1 (added: a change that a run would also send)" in result.output
    assert f"to the destination app at {api.url}: the call was accepted" in result.output
    assert shop.query("select * from information_schema.tables where table_schema = 'segconn'") == []
    assert shop.resync(ADA).exit_code == 0
    test, real = api.received
    assert test["messageId"] != real["messageId"]
    assert test["traits"] == real["traits"]
    before = state(shop)
    result = shop.segconn("send-test", "identify_customers", "--record", "c1")
    assert "(updated: unchanged, sent as updated)" in result.output
    assert len({call["messageId"] for call in api.received}) == 3
    assert state(shop) == before


def test_a_mapping_with_message_ids_of_its_own_is_not_swallowed_after_a_test(shop, api):
    shop.manifest({**MAPPING, "fields": {**MAPPING["fields"], "message_id": "id-${customer_id}"}})
    shop.table(ADA)
    shop.segconn("send-test", NAME, "--record", "c1")
    shop.segconn("run", "--all")
    assert [call["messageId"] == "id-c1" for call in api.received] == [False, True]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (401, "the write key was rejected with HTTP status 401"),
        (400, "Segment rejected the call with HTTP status 400"),
        ((429, {"Retry-After": "7"}), "try again in 7 seconds"),
        ("reset", "the connection broke"),
    ],
)
def test_what_the_api_answered_is_said(shop, api, fault, words):
    shop.manifest(MAPPING)
    shop.table(ADA)
    api.faults = [fault]
    result = shop.segconn("send-test", NAME, "--record", "c1")
    assert result.exit_code == 1
    assert "Tried to send this call" in result.output
    assert words in result.output
    assert len(api.tried) == 1


def test_what_must_not_be_sent_is_not(shop, api):
    shop.columns = (*shop.columns, "ads_ok")
    shop.more_settings = {"consent": {"without_value": "skip"}}
    shop.settings()
    shop.manifest(MAPPING, consent={"Ads": "ads_ok"})
    shop.table((*ADA, None), ("", "no id", "pro", "true"), (*BOB, "true"), (*BOB, "true"))
    silent = shop.segconn("send-test", NAME, "--record", "c1")
    assert "has no consent value" in silent.output
    assert (
        "Either `Anonymous ID` or `User ID` must be defined.\n"
        in shop.segconn("send-test", NAME, "--record", "").output
    )
    assert "has no record 'c2', or several" in shop.segconn("send-test", NAME, "--record", "c2").output
    assert "no mapping is named 'other'" in shop.segconn("send-test", "other", "--record", "c1").output
    shop.settings(enabled=False)
    assert "the destination app is disabled" in shop.segconn("send-test", NAME, "--record", "c1").output
    assert api.tried == []


def test_updates_by_a_build_time_block(shop, api):
    shop.columns = ("customer_id", "email", "built_at")
    shop.types = {"built_at": "timestamp"}
    mapping = {**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}}
    shop.manifest(mapping)

    def built(hour, count=120):
        return shop.resync(*((f"c{at}", "x", f"2026-01-02 {hour:02}:00") for at in range(count)))

    assert built(3).exit_code == 0
    api.forget()
    result = built(4)
    assert result.exit_code == 1
    words = "120 of 120 records were updated, and built_at has one value in all rows"
    assert words in result.output
    assert f"a guard would block it: {words}" in shop.segconn("estimate").output
    assert api.received == []
    shop.manifest({**mapping, "guards": {"max_updated_percent": 100}})
    assert built(4).exit_code == 0
    assert len(api.received) == 120
