"""Tracking plans: `validate` checks mappings against them, and a run checks each call."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING

from dbt_segconn.project.tracking_plan import read_rules

PROPERTIES = {
    "type": "object",
    "required": ["order", "plan"],
    "properties": {
        "plan": {"type": ["string"], "enum": ["pro", "free"]},
        "order": {"type": "string", "pattern": "^c\\d$"},
        "channel": {"enum": ["web", "shop"]},
        "email": {"type": "string", "format": "email"},
    },
}
WHOLE = {"$schema": "http://json-schema.org/draft-07/schema#", "labels": {}, "properties": {"properties": PROPERTIES}}
COMMON = {"required": ["userId", "sentAt"], "properties": {"context": {"required": ["library"]}}}
TRAITS = {"properties": {"traits": {"properties": {"email": {"type": "string"}}}}}
TRACK = {
    "name": "paid",
    "action": "track",
    "fields": {
        "user_id": "$customer_id",
        "event_name": "Order Paid",
        "properties": {"order": "$customer_id", "plan": "$plan", "channel": "web", "email": "$email"},
    },
}


def rule(kind, key, schema, version=1):
    return {"type": kind, "key": key, "version": version, "jsonSchema": schema}


PLAN = {"data": {"rules": [rule("TRACK", "Order Paid", WHOLE), rule("COMMON", None, COMMON)]}}
TYPEWRITER = {"eventMetadata": {"name": "Order Paid", "type": "TRACK"}, **PROPERTIES}
CONFIG = {"rules": {"global": COMMON, "identify": TRAITS, "events": [{"name": "Order Paid", "rules": WHOLE}]}}
TERRAFORM = """
resource "segment_tracking_plan" "shop" {
  name = "Shop"
  rules = [{
    key = "Order Paid", type = "TRACK", version = 1,
    json_schema = jsonencode({"properties" = {"properties" = {"required" = ["plan"]}}})
  }]
}
"""


@pytest.fixture
def planned(shop):
    """Give the destination a tracking plan, and the model these mappings."""

    def give(*mappings, plan=PLAN, violations="discard"):
        shop.write("plan.json", json.dumps(plan))
        shop.settings(tracking_plan="plan.json", violations=violations)
        shop.manifest(*(mappings or [TRACK]))
        return shop

    return give


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"plan.json": {"id": "tp_1", "rules": PLAN["data"]["rules"]}}, {"track Order Paid 1", "common None 1"}),
        ({"plan.json": {"rules": [rule("TRACK", "Order Paid", TYPEWRITER, 2)]}}, {"track Order Paid 2"}),
        ({"plan.json": CONFIG}, {"common None 1", "identify None 1", "track Order Paid 1"}),
        ({"plan.tf": TERRAFORM}, {"track Order Paid 1"}),
        (
            {"Order Paid.json": PROPERTIES, "Order Paid@2.json": WHOLE, "identify.json": TRAITS, "page/Home.json": {}},
            None,
        ),
        (
            {
                "Order Paid.json": PROPERTIES,
                "Order Paid@2.json": WHOLE,
                "identify.json": TRAITS,
                "page/Home.json": WHOLE,
            },
            {"track Order Paid 1", "track Order Paid 2", "identify None 1", "page Home 1"},
        ),
    ],
)
def test_plans_are_read_in_each_shape(tmp_path, files, expected):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    if expected is None:
        with pytest.raises(Exception, match=r"Home.json: is neither a tracking plan with `rules` nor a JSON Schema"):
            read_rules(tmp_path)
        return
    rules = read_rules(tmp_path)
    assert {f"{one.call_type} {one.name} {one.version}" for one in rules} == expected
    for one in rules:
        if one.call_type == "track":
            assert "plan" in one.schema["properties"]["properties"]["required"]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"data": {"rules": PLAN["data"]["rules"], "pagination": {"totalEntries": 3}}}, "has 2 of 3 rules"),
        ({"rules": [rule("TRACK", None, WHOLE)]}, "has a rule without type, key, version or schema"),
        ({"rules": [rule("TRACK", "a", WHOLE)] * 2}, "has two rules for track a, version 1"),
        ({"rules": []}, "has no rules of a tracking plan"),
        ({"rules": [rule("TRACK", "a", {"type": "txt"})]}, "the rule track a, version 1 is not a JSON Schema"),
        ({"rules": [rule("TRACK", "a", {"$ref": "http://127.0.0.1:9/x"})]}, "http://127.0.0.1:9/x"),
    ],
)
def test_unusable_plans_are_refused(planned, plan, words):
    shop = planned(plan=plan)
    output = shop.segconn("validate").output
    assert "SEG106: destinations.app.tracking_plan: " in output
    assert words in output
    assert shop.resync(ADA).exit_code == 2
    planned(plan=plan, violations="off")
    assert "SEG106" not in shop.segconn("validate").output


def test_violations_are_discarded_and_counted(planned, api):
    shop = planned()
    result = shop.resync(ADA, BOB, EVE, ("x4", "no e-mail", "pro"))
    assert result.exit_code == 1
    assert {call["userId"] for call in api.calls()} == {"c1", "c2"}
    reasons = shop.query("select record_id, reason from segconn.discards order by record_id")
    broken = "the call violates the tracking plan: "
    assert [(one["record_id"], one["reason"]) for one in reasons] == [
        ("c3", f"{broken}properties.plan: enum"),
        ("x4", f"{broken}properties.order: pattern, properties.email: format"),
    ]
    (synced,) = result.artifact(shop.dir)["results"]
    found = {(one["field"], one["kind"]): one for one in synced["violations"]}
    assert found.keys() == {
        ("properties.plan", "enum"),
        ("properties.email", "format"),
        ("properties.order", "pattern"),
    }
    assert {one["count"] for one in found.values()} == {1}
    assert {one["rule"] for one in found.values()} == {"track Order Paid, version 1"}
    assert {one["sample"] for one in found.values()}.isdisjoint(call["messageId"] for call in api.calls())
    shown = shop.segconn("preview", "--record", "c3").output
    assert "violates the tracking plan: properties.plan: enum" in shown


def test_warnings_send_every_call(planned, api):
    shop = planned(violations="warn")
    result = shop.resync(ADA, EVE)
    assert (result.exit_code, len(api.calls())) == (0, 2)
    assert "calls violate the tracking plan: properties.plan: enum in 1" in result.output
    shop = planned(violations="off")
    assert "violate" not in shop.resync(("c4", "x", "none")).output


def test_event_version_chooses_the_rule(planned, api):
    strict = {"properties": {"properties": {"required": ["coupon"]}}}
    rules = [rule("TRACK", "Order Paid", WHOLE), rule("TRACK", "Order Paid", strict, 2)]
    shop = planned({**TRACK, "event_version": 2}, TRACK | {"name": "oldest"}, plan=rules, violations="warn")
    result = shop.resync(ADA)
    by_name = {one["name"]: one["violations"] for one in result.artifact(shop.dir)["results"]}
    assert [one["field"] for one in by_name["customers.paid"]] == ["properties.coupon"]
    assert by_name["customers.oldest"] == []
    versions = [call["context"].get("protocols") for call in api.calls()]
    assert {json.dumps(one) for one in versions} == {"null", '{"event_version": 2}'}


def test_other_rows_names_stay_secret(planned, api):
    maps = {"properties": {"properties": {"additionalProperties": {"type": "number"}}}}
    email = {"@path": "$.properties.email"}
    fields = {**TRACK["fields"], "event_name": "$plan", "properties": {"@json": {"mode": "decode", "value": email}}}
    shop = planned({**TRACK, "fields": fields}, plan=[rule("TRACK", "pro", maps), rule("COMMON", None, {})])
    shop.resync(("c1", '{"ada@example.com": "x"}', "pro"), ("c2", "{}", "secret plan"))
    reasons = {one["reason"] for one in shop.query("select reason from segconn.discards")}
    broken = "the call violates the tracking plan: "
    assert reasons == {f"{broken}properties.*: type", f"{broken}event: unplanned"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"event_name": "Order Payed"},
            "SEG504: model customers, mapping paid: fields.event_name: the tracking plan has",
        ),
        (
            {"properties": {"order": "$email"}},
            "SEG505: model customers, mapping paid: fields.properties: 'plan' is requ",
        ),
        (
            {"properties": {**TRACK["fields"]["properties"], "channel": "radio"}},
            '"radio" is not one of "web" or "shop"',
        ),
        (
            {"properties": {**TRACK["fields"]["properties"], "chanel": "web"}},
            "no property 'chanel'. Did you mean 'chan",
        ),
        (
            {"properties": {**TRACK["fields"]["properties"], "order": "$spent"}},
            "fields.properties.order: must be string, and the column spent is of the type integer",
        ),
        ({"user_id": None, "anonymous_id": "$customer_id"}, "fields: userId is required by the rule common, version 1"),
    ],
)
def test_validate_finds_certain_violations(planned, fields, words):
    merged = {key: value for key, value in {**TRACK["fields"], **fields}.items() if value is not None}
    shop = planned({**TRACK, "fields": merged})
    shop.document({"customer_id": "varchar", "email": "varchar", "plan": "varchar", "spent": "integer"})
    output = shop.segconn("validate").output
    assert words in output, output


def test_a_fitting_mapping_has_no_finding(planned):
    shop = planned(TRACK, {**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}})
    shop.document({"customer_id": "varchar", "email": "varchar", "plan": "varchar"})
    assert "SEG50" not in shop.segconn("validate").output


def test_unit_tests_discard_by_plan(planned):
    test = {"name": "one", "given": {"rows": [{"customer_id": "c1", "plan": "gold"}]}}
    test["expect"] = {"discards": ["properties.plan: enum"]}
    assert planned({**TRACK, "tests": [test]}).segconn("test").exit_code == 0


def test_missing_library_is_named(planned, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jsonschema_rs", None)
    assert "pip install 'dbt-segconn[tracking-plan]'" in planned().segconn("validate").output


def test_syntax_error_names_its_line(planned):
    shop = planned()
    (shop.dir / "plan.json").write_text('{"rules": [\n  {"type" "TRACK"}]}')
    assert "plan.json:2: is not valid JSON: Expecting ':' delimiter" in shop.segconn("validate").output


def test_violations_need_a_plan(planned):
    """An empty key would check no call, and send all."""
    shop = planned()
    shop.settings(tracking_plan=None, violations="discard")
    assert "SEG204: destinations.app: `violations: discard` needs a `tracking_plan`" in shop.segconn("validate").output
    shop.settings(tracking_plan=None, violations="off")
    assert "SEG204" not in shop.segconn("validate").output
