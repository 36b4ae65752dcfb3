"""The default of `unique_identifier`, and what happens when the identifier changes."""

from __future__ import annotations

import json

import pytest
import yaml
from standing import ADA, BOB, EVE, MAPPING

NAME = "customers.identify_customers"
BOTH = ["unique", "not_null"]


def column(name, *tests, **more):
    return {"name": name, "data_tests": list(tests or BOTH), **more}


def unique(**config):
    return {"unique": {"config": config}}


def at_model(name, column_name):
    return {name: {"arguments": {"column_name": column_name}}}


KEY = {"type": "primary_key"}
# model → keys beside its mappings, and the columns of its identifier
TOLD = {
    "tested": ({"columns": [column("customer_id")]}, ["customer_id"]),
    "other_is_unique": ({"columns": [column("customer_id"), column("email", "unique")]}, ["customer_id"]),
    "other_only_warns": (
        {"columns": [column("customer_id"), column("email", unique(severity="warn"), "not_null")]},
        ["customer_id"],
    ),
    "other_is_disabled": (
        {"columns": [column("customer_id"), column("email", unique(enabled=False), "not_null")]},
        ["customer_id"],
    ),
    "other_is_partly_tested": (
        {"columns": [column("customer_id"), column("email", unique(where="plan = 'pro'"), "not_null")]},
        ["customer_id"],
    ),
    "other_is_expression": (
        {
            "columns": [column("customer_id")],
            "data_tests": [at_model("unique", "lower(email)"), at_model("not_null", "lower(email)")],
        },
        ["customer_id"],
    ),
    "tested_at_the_model": (
        {"data_tests": [at_model("unique", "Customer_ID"), at_model("not_null", "customer_id")]},
        ["Customer_ID"],
    ),
    "severities_spelled_out": (
        {"columns": [column("customer_id", unique(severity="Error", error_if=">0", warn_if=">0"), "not_null")]},
        ["customer_id"],
    ),
    "quoted": ({"columns": [column("Customer Id", quote=True), column("email", "unique")]}, ["Customer Id"]),
    "constrained": (
        {"constraints": [{**KEY, "columns": ["customer_id", "plan"]}], "columns": [column("email")]},
        ["customer_id", "plan"],
    ),
    "constrained_at_column": ({"columns": [column("customer_id", "unique", constraints=[KEY])]}, ["customer_id"]),
}
# model → keys beside its mappings, and words of the finding
ASKED = {
    "nothing": ({}, "is missing and has no default: no column is tested both unique and not_null"),
    "two_columns": (
        {"columns": [column("customer_id"), column("email")]},
        "is missing and has no default: several columns are tested both unique and not_null: customer_id, email",
    ),
    "only_unique": ({"columns": [column("customer_id", "unique")]}, "Candidates: customer_id."),
    "only_warns": (
        {"columns": [column("customer_id", unique(severity="warn"), "not_null")]},
        "Candidates: customer_id.",
    ),
    "fails_late": (
        {"columns": [column("customer_id", unique(error_if=">1000"), "not_null")]},
        "Candidates: customer_id.",
    ),
    "only_together": (
        {"columns": [column("customer_id", "not_null"), column("plan", "not_null")], "data_tests": ["together"]},
        "no column is tested both",
    ),
    "other_arguments": ({"columns": [column("customer_id", {"unique": {"arguments": {"slack": 3}}}, "not_null")]}, ""),
}
TOGETHER = {"unique_combination_of_columns": {"arguments": {"combination_of_columns": ["customer_id", "plan"]}}}
TESTS = """
{% test unique_combination_of_columns(model, combination_of_columns) %} select 1 where false {% endtest %}
{% test slack_unique(model) %} select 1 where false {% endtest %}
"""
SLACK = "{% test unique(model, column_name, slack=0) %} select 1 where false {% endtest %}"


def model(name, given):
    tests = [TOGETHER if test == "together" else test for test in given.get("data_tests", ())]
    meta = {"segconn": {"mappings": [MAPPING]}}
    return {"name": name, **given, "data_tests": tests, "config": {"meta": meta}}


def write(shop, cases):
    (shop.dir / "models/customers.yml").unlink()
    shop.write("models/all.yml", {"models": [model(name, given) for name, (given, _) in cases.items()]})
    shop.write("tests/generic/more.sql", TESTS)
    for name in cases:
        shop.write(f"models/{name}.sql", "select 'c1' as customer_id, 'x' as email, 'pro' as plan")
    shop.dbt("parse")


def test_identifier_defaults_to_key_or_tested_column(shop):
    write(shop, TOLD)
    written = shop.segconn("exposures", "--owner", "Data")
    assert written.exit_code == 0, written.output
    exposures = yaml.safe_load(written.output)["exposures"]
    found = {one["depends_on"][0]: one["config"]["meta"]["segconn"]["unique_identifier"] for one in exposures}
    assert found == {f"ref('{name}')": columns for name, (_, columns) in TOLD.items()}


def test_ambiguous_tests_require_identifier(shop):
    shop.write("tests/generic/slack.sql", SLACK)
    write(shop, ASKED)
    findings = json.loads(shop.segconn("validate", "--format", "json").output)["findings"]
    found = {one["model"]: f"{one['message']}. {one['fix']}" for one in findings if one["code"] == "SEG301"}
    assert set(found) == set(ASKED)
    assert [name for name, (_, words) in ASKED.items() if words not in found[name]] == []


def test_all_resources_use_tested_ids(shop):
    (shop.dir / "models/customers.yml").unlink()
    shop.write("models/base.sql", "select 'c1' as customer_id")
    shop.write("models/people_v1.sql", "select 'c1' as customer_id")
    shop.write("models/people_v2.sql", "select 'c1' as customer_id")
    shop.write("seeds/countries.csv", "code\nde\n")
    of_people = {**model("people", {"columns": [column("customer_id")]}), "versions": [{"v": 1}, {"v": 2}]}
    snapshot = model("kept", {"columns": [column("dbt_scd_id"), column("customer_id", "not_null")]})
    snapshot["config"] |= {"unique_key": "customer_id", "strategy": "check", "check_cols": "all"}
    snapshot["config"]["meta"] = {"segconn": {"mappings": [{**MAPPING, "order_by": "dbt_valid_from"}]}}
    everything = {
        "models": [of_people],
        "seeds": [model("countries", {"columns": [column("code")]})],
        "snapshots": [{**snapshot, "relation": "ref('base')"}],
    }
    shop.write("models/all.yml", everything)
    shop.dbt("parse")
    written = shop.segconn("exposures", "--owner", "Data")
    assert written.exit_code == 0, written.output
    exposures = yaml.safe_load(written.output)["exposures"]
    found = sorted(one["config"]["meta"]["segconn"]["unique_identifier"] for one in exposures)
    assert found == [["code"], ["customer_id"], ["dbt_scd_id"]]


CHANGED = "its unique identifier was customer_id and is customer_id,email now: "
OTHER = f"{CHANGED}2 records would count as added and 2 as deleted"
TWO = ["customer_id", "email"]


@pytest.fixture
def sent(shop, api):
    """A mapping that sent two records with the identifier customer_id."""
    shop.manifest(MAPPING, unique_identifier=None)
    assert shop.resync(ADA, BOB).exit_code == 0
    api.forget()
    return shop


def blocked(shop, api, *options, words=OTHER):
    result = shop.segconn("run", "--all", *options)
    assert result.exit_code == 1
    assert words in result.output, result.output
    assert api.tried == []
    return result


def test_new_identifier_needs_permission(sent, api):
    sent.manifest(MAPPING, unique_identifier=TWO)
    output = blocked(sent, api).output
    assert "Set `unique_identifier: customer_id` to keep" in output
    assert "more than half" not in output
    assert OTHER in sent.segconn("estimate").output
    allowed = sent.segconn("run", "--all", "--allow-guarded", NAME)
    assert allowed.exit_code == 0
    assert OTHER.replace("would count", "count") in allowed.output
    assert len(api.calls()) == 2
    assert sent.segconn("run", "--all").exit_code == 0
    assert len(api.calls()) == 2


def test_changed_default_identifier_blocks(sent, api):
    sent.watch.identify_by(TWO)
    path = sent.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    node = manifest["nodes"]["model.shop.customers"]
    node["constraints"] = [{"type": "primary_key", "columns": TWO}]
    path.write_text(json.dumps(manifest))
    blocked(sent, api)
    node["constraints"] = []
    path.write_text(json.dumps(manifest))
    assert sent.segconn("run", "--all").exit_code == 0
    assert api.tried == []


def test_baseline_adopts_new_identifier(sent, api):
    sent.manifest(MAPPING, unique_identifier=TWO)
    assert sent.segconn("baseline", NAME).exit_code == 0
    assert sent.segconn("run", "--all").exit_code == 0
    assert api.tried == []
    sent.manifest(MAPPING, unique_identifier="email")
    assert sent.segconn("run", "--all", "--full-refresh").exit_code == 0
    assert len(api.calls()) == 2


def test_identifier_case_is_ignored(sent, api):
    sent.manifest(MAPPING, unique_identifier="CUSTOMER_ID")
    assert sent.segconn("run", "--all").exit_code == 0
    assert api.tried == []


def test_new_identifier_blocks_checkpoint(shop, api):
    shop.columns, shop.types = (*shop.columns, "version"), {"version": "integer"}
    mapping = {**MAPPING, "checkpoint": {"column": "version", "lag": 1}}
    shop.manifest(mapping)
    assert shop.resync((*ADA, 1), (*BOB, 9)).exit_code == 0
    api.forget()
    shop.manifest(mapping, unique_identifier=TWO)
    blocked(shop, api)


def test_new_identifier_blocks_open_outbox(shop, api):
    shop.manifest(MAPPING)
    assert shop.resync(ADA, BOB).exit_code == 0
    api.faults = [401]
    assert shop.resync((*ADA[:2], "x"), BOB, EVE).exit_code == 1
    api.faults = []
    api.forget()
    shop.manifest(MAPPING, unique_identifier=TWO)
    blocked(shop, api, words=f"{CHANGED}3 records")
    shop.manifest(MAPPING)
    assert shop.segconn("run", "--all").exit_code == 0
    assert sorted(call["userId"] for call in api.calls()) == ["c1", "c3"]


def test_new_identifier_blocks_failed_stage(sent, api):
    sent.manifest(MAPPING, unique_identifier=TWO)
    now = sent.query("select max(started_at) as at from segconn.sync_history")[0]["at"]
    with sent.connect() as connection:
        names = [row[0] for row in connection.execute("describe segconn.sync_history").fetchall()]
        row = dict(zip(names, connection.execute("select * from segconn.sync_history").fetchall()[-1], strict=True))
        row |= {"sync_id": "dead", "status": "staging", "identifier": ",".join(TWO), "finished_at": None}
        row["started_at"] = row["saved_at"] = now.replace(year=now.year + 1)
        marks = ", ".join("?" * len(row))
        connection.execute(f"insert into segconn.sync_history ({', '.join(row)}) values ({marks})", list(row.values()))
    blocked(sent, api)
