"""Updated records name the columns that changed, and to keep what that takes sends nothing again."""

from __future__ import annotations

import json
from dataclasses import replace

from standing import MAPPING
from warehouses.test_contract import read_json

NAME = "customers.identify_customers"
KEEPING = {**MAPPING, "changed_columns": True}


def rows(count=10, **changed):
    """Return customers; `changed` has a column with the numbers of those that have another value in it."""
    email, plan = changed.get("email", ()), changed.get("plan", ())
    return [(f"c{at}", "new" if at in email else "old", None if at in plan else "pro") for at in range(count)]


def estimated(shop):
    return json.loads(shop.segconn("estimate", "--format", "json").output)["mappings"][0]


def changed(shop, *customers):
    shop.fill(*customers)
    return estimated(shop)["changed"]


def test_changed_columns_are_counted(shop, api):
    shop.manifest({**KEEPING, "guards": {"max_updated_percent": 30}})
    assert shop.synced(*rows()).exit_code == 0
    shop.fill(*rows(email=[1, 2, 3], plan=[3, 4]))
    line = "updated 4: email 3, plan 2"
    words = "4 of 10 records were updated, more than max_updated_percent 30 (changed: email 3, plan 2)"
    found = estimated(shop)
    assert found["changed"] == {"updated": 4, "columns": {"email": 3, "plan": 2}, "unknown": 0}
    assert found["notes"] == [line, f"a guard would block it: {words}"]
    told = shop.segconn("preview")
    shown = read_json(replace(told, output=told.stdout))
    assert {one["record_id"]: one["changed"] for one in shown} == {
        "c1": ["email"], "c2": ["email"], "c3": ["email", "plan"], "c4": ["plan"],
    }  # fmt: skip
    assert f"{NAME}: {line}." in told.output
    assert "\nchanged: email, plan\n" in shop.segconn("preview", "--format", "text", "--record", "c3").output
    assert words in shop.run().output
    assert words in json.loads((shop.dir / "target/segconn/run_results.json").read_text())["results"][0]["message"]
    assert len(api.received) == 10


def test_switching_sends_nothing_and_learns(shop, api):
    shop.manifest({**MAPPING, "guards": {"max_updated_percent": 10}})
    shop.synced(*rows())
    blocked = shop.synced(*rows(email=[1, 2]))
    assert "(`changed_columns: true` in the mapping names the changed columns of later updates)" in blocked.output
    shop.manifest(KEEPING)
    found = estimated(shop)
    assert found["changed"] == {"updated": 2, "columns": {}, "unknown": 2}
    assert found["notes"] == ["updated 2: not known of 2, last sent without hashes of these columns"]
    assert "UPDATED 2" in shop.run().output
    known = {"updated": 2, "columns": {"plan": 2}, "unknown": 0}
    assert changed(shop, *rows(email=[1, 2], plan=[2, 3])) == known, "of records that were not sent, too"
    shop.manifest(MAPPING)
    assert "UPDATED 2" in shop.run().output
    shop.manifest(KEEPING)
    assert changed(shop, *rows(email=[2], plan=[2, 3, 4])) == {
        "updated": 2, "columns": {"email": 1, "plan": 1}, "unknown": 0,
    }  # fmt: skip


def test_hashes_survive_edits_and_renames(shop, api):
    shop.manifest(KEEPING)
    shop.synced(*rows(4))
    api.refuses = lambda call: call["userId"] == "c1"
    shop.synced(*rows(4, email=[1, 2]))
    assert estimated(shop)["changed"] == {"updated": 1, "columns": {"email": 1}, "unknown": 0}
    api.refuses = lambda _call: False
    api.faults = [401]
    shop.synced(*rows(4, email=[1, 2], plan=[3]))
    edited = {**KEEPING, "fields": {"user_id": "$customer_id", "traits": {"email": "$email"}}}
    shop.manifest(edited)
    assert estimated(shop)["changed"] == {"updated": 4, "columns": {}, "unknown": 4}, "of other columns"
    assert "the mapping has changed" in shop.run().output
    shop.manifest({**edited, "name": "renamed"})
    assert shop.segconn("adopt", NAME, "customers.renamed").exit_code == 0
    one = {"updated": 1, "columns": {"email": 1}, "unknown": 0}
    assert changed(shop, *rows(4, email=[0, 1, 2], plan=[1])) == one
    for command in (("reset", "--yes", "customers.renamed"), ("baseline", "customers.renamed")):
        assert shop.segconn(*command).exit_code == 0
    assert changed(shop, *rows(4, email=[0, 1])) == one
