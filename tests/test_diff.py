"""`diff` says what a branch changes for Segment, and fails on what breaks."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from standing import ADA, BOB, EVE, MAPPING

FIELDS = MAPPING["fields"]
TRACK = {"name": "paid", "action": "track", "fields": {"user_id": "$customer_id", "event_name": "Paid"}}


def edit(shop, change):
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest["nodes"]["model.shop.customers"])
    path.write_text(json.dumps(manifest))


def typed(**types):
    columns = {
        name: {"name": name, "data_type": kind, "description": "", "constraints": []} for name, kind in types.items()
    }
    return lambda node: node.update(columns=columns)


def keep_as_production(shop):
    shutil.copytree(shop.dir / "target", shop.dir / "prod", dirs_exist_ok=True)


def compared(shop, *mappings, production=(MAPPING,), before=None, after=None, **meta):
    shop.manifest(*production)
    if before:
        edit(shop, before)
    keep_as_production(shop)
    shop.manifest(*mappings, **meta)
    if after:
        edit(shop, after)
    result = shop.segconn("diff", "--state", str(shop.dir / "prod"), "--format", "json")
    answer = json.loads(result.output)
    assert result.exit_code == int(answer["breaking"])
    return answer["changes"]


def test_equal_projects_have_no_changes(shop):
    assert compared(shop, MAPPING) == []
    assert "No mapping changes." in shop.segconn("diff", "--state", str(shop.dir / "prod")).output


@pytest.mark.parametrize(
    ("change", "effect", "words"),
    [
        ({"action": "group", "fields": {**FIELDS, "group_id": "$plan"}}, "breaking", "action: identify → group"),
        ({"enabled": False}, "breaking", "enabled: default → false"),
        ({"sync_mode": "added"}, "note", "sync_mode: default → added"),
        ({"guards": {"max_records": 5}}, "note", 'guards: default → {"max_records":5}'),
        ({"fields": {**FIELDS, "user_id": "$email"}}, "breaking", "fields.user_id: $customer_id → $email"),
        ({"fields": {**FIELDS, "traits": {"email": "$email"}}}, "breaking", "fields.traits.plan: removed, was $plan"),
        ({"fields": {**FIELDS, "locale": "en"}}, "note", "fields.locale: added, en"),
        ({"fields": {**FIELDS, "locale": "$language"}}, "resends", "every known record is sent again, as updated"),
        (
            {"fields": {**FIELDS, "traits": {"email": {"@path": "$.properties.email"}, "plan": "free"}}},
            "note",
            'fields.traits.email: $email → {"@path":"$.properties.email"}',
        ),
    ],
)
def test_edited_mapping_has_effect(shop, change, effect, words):
    (found,) = compared(shop, {**MAPPING, **change})
    assert (found["mapping"], found["status"]) == ("customers.identify_customers", "changed")
    assert any(words in one["text"] and one["effect"] == effect for one in found["details"]), found


def test_added_removed_and_renamed_mappings(shop):
    other = {**MAPPING, "name": "other", "action": "page"}
    changes = compared(shop, {**MAPPING, "name": "users"}, TRACK, production=(MAPPING, other))
    assert [(one["mapping"], one["status"], one["breaking"]) for one in changes] == [
        ("customers.users", "renamed", True),
        ("customers.paid", "added", False),
        ("customers.other", "removed", True),
    ]
    assert "adopt customers.identify_customers customers.users" in changes[0]["details"][0]["text"]
    assert "its first sync sends every record" in changes[1]["details"][0]["text"]


def test_changed_identifier_is_breaking(shop):
    (found,) = compared(shop, MAPPING, unique_identifier=["customer_id", "plan"])
    assert found["breaking"]
    assert "unique_identifier: customer_id → customer_id, plan" in found["details"][0]["text"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (typed(email="text", plan="text"), typed(email="text", plan="varchar"), [("resends", "plan: text → varchar")]),
        (typed(email="text", plan="int"), typed(email="text", plan="text"), [("breaking", "plan: int → text")]),
        (typed(EMAIL="text", plan="int"), typed(email="TEXT", plan="int"), []),
        (typed(email="text", plan="int"), typed(email="text"), [("breaking", "column plan: removed from the model")]),
        (
            typed(email="text", plan="int"),
            typed(email_address="text", plan="int", other="int"),
            [("breaking", "column email: removed from the model, but the mapping reads it")],
        ),
        (typed(email="text", unused="int"), typed(email="text"), []),
    ],
)
def test_changed_columns_have_effect(shop, before, after, expected):
    changes = compared(shop, MAPPING, before=before, after=after)
    details = [detail for change in changes for detail in change["details"]]
    assert len(details) == len(expected)
    for detail, (effect, words) in zip(details, expected, strict=True):
        assert detail["effect"] == effect
        assert words in detail["text"]


def test_catalog_has_undocumented_columns(shop):
    shop.rows(ADA)
    shop.dbt("run")
    shop.dbt("docs", "generate")
    keep_as_production(shop)
    shop.columns = ("customer_id", "mail", "plan")
    shop.rows(ADA)
    shop.dbt("run")
    shop.dbt("docs", "generate")
    result = shop.segconn("diff", "--state", str(shop.dir / "prod"))
    assert result.exit_code == 1
    assert "! column email: removed from the model, but the mapping reads it. Did you mean 'mail'?" in result.output


def test_online_counts_calls_of_each_change(shop):
    shop.manifest(MAPPING, {**TRACK, "name": "moved", "destination": "app"}, {**MAPPING, "name": "keyed"})
    shop.resync(ADA, BOB)
    keep_as_production(shop)
    shop.settings()
    other = {"write_key": "x", "endpoint": shop.endpoint}
    settings = yaml.safe_load((shop.dir / "segconn.yml").read_text())
    shop.write("segconn.yml", {"destinations": {**settings["destinations"], "web": other}})
    wider = {**MAPPING, "destination": "app", "fields": {**FIELDS, "locale": "$plan", "traits": {"email": "$email"}}}
    fewer = {**MAPPING, "name": "keyed", "destination": "app", "fields": {**FIELDS, "traits": {"email": "$email"}}}
    new = {**TRACK, "name": "new", "destination": "web"}
    shop.manifest(
        wider,
        {**TRACK, "name": "moved", "destination": "web"},
        fewer,
        new,
        {**new, "name": "late", "first_sync": "baseline"},
    )
    shop.table(ADA, BOB, EVE)
    result = shop.segconn("diff", "--state", str(shop.dir / "prod"), "--online", "--format", "json")
    calls = {one["mapping"]: one["calls"] for one in json.loads(result.output)["changes"]}
    assert calls == {
        "customers.identify_customers": 0,  # the same columns, in another place
        "customers.moved": 3,  # nothing is known at the new destination
        "customers.keyed": 2,  # the two that Segment has; the third is new whatever the branch changes
        "customers.new": 3,
        "customers.late": 0,
    }


def test_comment_escapes_table_cells(shop):
    edited = {**FIELDS, "traits": {**FIELDS["traits"], "note": "a|b\n<i>*x*"}}
    compared(shop, {**MAPPING, "fields": edited}, TRACK)
    result = shop.segconn("diff", "--state", str(shop.dir / "prod"), "--format", "markdown")
    assert result.exit_code == 0
    assert result.output.startswith("<!-- dbt-segconn diff -->\n### What this changes for Segment\n")
    assert r"| fields.traits.note: added, a\|b \<i\>\*x\* |" in result.output
    assert "2 mappings: 1 added, 0 removed, 0 renamed, 1 changed; 0 with breaking changes." in result.output


def test_code_in_comment_is_not_escaped(shop):
    compared(shop, {**MAPPING, "name": "new_name"}, {**TRACK, "name": "a_`b`|@team"})
    output = shop.segconn("diff", "--state", str(shop.dir / "prod"), "--format", "markdown").output
    assert f"`dbt-segconn adopt customers.{MAPPING['name']} customers.new_name`" in output
    assert r"| ``" + " customers.a_`b`\\|@team `` |" in output
    assert "@team" not in output.replace(r"\|@team `` |", "")


def test_invalid_or_missing_state_fails(shop):
    shop.manifest(MAPPING)
    keep_as_production(shop)
    shop.manifest({**MAPPING, "action": "x"})
    result = shop.segconn("diff", "--state", str(shop.dir / "prod"))
    assert result.exit_code == 2
    assert "'x' is not an action" in result.output
    assert shop.segconn("diff", "--state", str(shop.dir / "nowhere")).exit_code == 2
