"""Unit tests of mappings: `dbt-segconn test` says what a run sends, without a warehouse."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from standing import MAPPING

TYPES = {
    "customer_id": "integer",
    "email": "varchar",
    "plan": "varchar",
    "seen_at": "timestamp",
    "spent": "decimal(10,2)",
}
FIELDS = {
    "user_id": "$customer_id",
    "traits": {"email": "$email", "at": "$seen_at", "spent": "$spent", "seen": {"@liquid": "{{ 'now' | date: '%Y' }}"}},
}
ROW = {"customer_id": 7, "email": "ada@example.com", "seen_at": "2026-03-01 12:00:00", "spent": 12}
CALL = {"userId": "7", "traits": {"at": "2026-03-01T11:00:00.000Z", "spent": 12, "seen": "2026"}}


@pytest.fixture
def tested(shop):
    """Run tests of a mapping whose columns have known types."""

    def run(*tests, options=(), settings=None, typed=True, meta=None, **mapping):
        shop.manifest({**MAPPING, "fields": FIELDS, "tests": list(tests), **mapping}, **(meta or {}))
        if typed:
            shop.document(TYPES)
        if settings:
            shop.more_settings = settings
            shop.settings()
        return shop.segconn("test", *options)

    return run


def unit(expect, *rows, name="one", **given):
    return {"name": name, "given": {"rows": list(rows or [ROW]), **given}, "expect": expect}


def test_typed_rows_pass_without_warehouse(tested, shop):
    result = tested(unit({"calls": [CALL]}), meta={"timezone": "Europe/Berlin"})
    assert result.exit_code == 0, result.output
    assert "PASS customers.identify_customers: one" in result.output
    assert "1 test of 1 mapping: 0 failed." in result.output
    assert "Types are unknown" not in result.output
    assert not (shop.dir / "shop.duckdb").exists()


def test_difference_is_shown_and_fails(tested, shop):
    wrong = {"calls": [{"userId": 7, "traits": {"email": "ada@example.com", "spent": True}}]}
    result = tested(unit(wrong), unit({"calls": [{}]}, name="two"), options=("--junit", str(shop.dir / "j/u.xml")))
    assert result.exit_code == 1
    lines = {" ".join(line.split()).rstrip(",") for line in result.output.splitlines()}
    assert {'- "userId": 7', '+ "userId": "7"', '- "spent": true', '+ "spent": 12.0'} <= lines
    assert '"email": "ada@example.com"' in lines, "is the same in both"
    suite = ET.parse(shop.dir / "j/u.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite[0].find("failure")
    assert (suite[0].get("name"), failure.get("message")) == ("one", "call 1 (- expected, + actual)")
    assert '+   "userId": "7"' in failure.text


def test_unsent_rows_give_their_reasons(tested):
    rows = [{**ROW, "customer_id": one} for one in (1, None, 2, 2)]
    reasons = ["identifier is null", "not unique", "not unique"]
    assert tested(unit({"calls": [{"userId": "1"}], "discards": reasons}, *rows)).exit_code == 0
    left = unit({"discards": ["sync_mode has no deleted records"]}, change_type="deleted")
    assert tested(left).exit_code == 0
    wrong = tested(unit({"calls": []}, {"customer_id": 1}, {"email": "x"}))
    assert "expected 0 calls, got 1" in wrong.output
    assert "+ the unique identifier is null" in wrong.output


def test_deleted_record_keeps_its_identifier(tested):
    gone = {"calls": [{"userId": "7", "traits": {"email": None}}]}
    assert tested(unit(gone, change_type="deleted"), sync_mode="deleted").exit_code == 0


def test_exact_compares_whole_calls(tested):
    call = {"userId": "7", "type": "identify", "context": {"consent": {}}, "traits": {"email": "ada@example.com"}}
    fields = {"user_id": "$customer_id", "traits": {"email": "$email"}}
    assert tested(unit({"calls": [call], "exact": True}), fields=fields).exit_code == 0
    del call["context"]
    assert tested(unit({"calls": [call], "exact": True}), fields=fields).exit_code == 1


def test_skipped_consent_is_held_back(tested):
    result = tested(
        unit({"calls": [{"userId": "1"}], "discards": ["held back"]}, {"customer_id": 1, "plan": "t"}, ROW),
        settings={"consent": {"without_value": "skip"}},
        meta={"consent": {"Ads": "plan"}},
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"emial": "x"}, "the column 'emial' is neither mapped nor a known column of the model. Did you mean 'email'?"),
        ({"customer_id": "x"}, "given.rows.0.customer_id: 'x' is not a value of the type integer"),
        ({"seen_at": "noon"}, "given.rows.0.seen_at: 'noon' is not a value of the type timestamp"),
    ],
)
def test_impossible_rows_fail(tested, row, words):
    result = tested(unit({}, {**ROW, **row}))
    assert result.exit_code == 1
    assert words in result.output


def test_untyped_columns_are_named(tested):
    result = tested(unit({"calls": [{"traits": {"spent": 12}}]}), typed=False)
    assert result.exit_code == 0, result.output
    assert "Types are unknown, so values are used as written: customer_id, email, seen_at, spent." in result.output


def test_a_test_agrees_with_a_run(tested, shop, api):
    shop.columns, shop.types = tuple(TYPES), TYPES
    row = {**ROW, "plan": None, "customer_id": 7}
    assert tested(unit({"calls": [{}]}, row), typed=True, meta={"timezone": "Europe/Berlin"}).exit_code == 0
    shop.table(tuple(row[name] for name in TYPES))
    shop.segconn("run", "--all")
    sent = {key: value for key, value in api.calls()[0].items() if key != "messageId"}
    sent["traits"]["seen"] = "2026"
    again = tested(unit({"calls": [sent], "exact": True}, row), typed=True, meta={"timezone": "Europe/Berlin"})
    assert again.exit_code == 0, again.output


def test_malformed_tests_are_findings(shop):
    shop.manifest({**MAPPING, "tests": [{"name": "one", "given": {"row": []}, "expect": {}}]})
    output = shop.segconn("validate").output
    assert "tests.0.given.row: unknown key. Did you mean 'rows'?" in output
    shop.manifest({**MAPPING, "tests": [unit({}), unit({})]})
    assert "has two tests with the name 'one'" in shop.segconn("validate").output


def test_edit_after_parse_is_a_warning(tested, shop):
    passed = tested(unit({"calls": [{"userId": "7"}]}))
    assert "SEG104" not in passed.output
    shop.mappings({**MAPPING, "fields": FIELDS, "tests": [unit({"calls": [{"userId": "8"}]})]})
    result = shop.segconn("test")
    assert "PASS" in result.output, "the tests of the manifest run"
    assert (
        "warning SEG104: model customers: the file has changed since dbt parsed it. Run `dbt parse`." in result.output
    )
