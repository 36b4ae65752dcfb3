"""Columns that dbt labels as personal data do not reach a destination that denies them, but as hashes."""

from __future__ import annotations

import hashlib
import json

from standing import ADA, MAPPING

READS = (
    ({"traits": {"email": "$email"}}, "fields.traits.email"),
    ({"traits": {"a": ["x", "to ${email}"]}}, "fields.traits.a.1"),
    ({"traits": {"a": {"@if": {"exists": {"@path": "$.properties.email"}, "then": "yes"}}}}, "fields.traits.a"),
    ({"traits": "$*"}, "fields.traits"),
    ({"traits": {"email": "$email | hash meta email", "plan": "$plan"}}, None),
    ({"traits": {"id": "$__segment_id"}}, None),
)
LABELS = {
    "a": {"config": {"meta": {"pii": True}}},
    "b": {"meta": {"sensitivity": ["high", "x"]}},
    "c": {"tags": ["pii"]},
    "d": {"classifiers": [{"name": "pii"}]},
    "e": {"meta": {"pii": False}, "tags": ["other"]},
}


def mapped(shop, *fields, **labels):
    """Map these fields, each in a mapping of its own, and label columns in dbt's manifest."""
    shop.settings(deny=["pii", "sensitivity=high", "piii"])
    shop.manifest(
        *({**MAPPING, "name": f"m{at}", "fields": {"user_id": "$customer_id", **one}} for at, one in enumerate(fields))
    )
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    for name, keys in labels.items():
        manifest["nodes"]["model.shop.customers"]["columns"][name] = {"name": name, "meta": {}, "tags": [], **keys}
    path.write_text(json.dumps(manifest))


def findings(shop):
    found = json.loads(shop.segconn("validate", "--format", "json").stdout)["findings"]
    return {(one["mapping"], one["path"]) for one in found if one["code"] == "SEG220"}


def test_each_read_of_a_denied_column_is_found(shop, api):
    mapped(shop, *(fields for fields, _ in READS), EMAIL={"meta": {"pii": "email"}})
    assert findings(shop) == {(f"m{at}", path) for at, (_, path) in enumerate(READS) if path}
    result = shop.resync(ADA)
    assert result.exit_code == 2
    assert "sends email; the destination 'app' denies pii. Remove it, or hash it" in result.output
    assert api.calls() == []


def test_each_kind_of_label_counts(shop):
    mapped(shop, *({"traits": {"x": f"${name}"}} for name in LABELS), {"traits": {"x": "$__segment_id"}}, **LABELS)
    assert {mapping for mapping, _ in findings(shop)} == {"m0", "m1", "m2", "m3"}
    mapped(shop, {"traits": {"x": "$__segment_id"}}, customer_id=LABELS["c"])
    assert ("m0", "fields") in findings(shop)
    output = shop.segconn("validate").output
    assert "deny: no column of a mapped model has the label 'piii'. Did you mean 'pii'?" in output


def test_denied_column_is_sent_as_hash(shop, api):
    mapped(shop, READS[4][0], email=LABELS["c"])
    shop.resync(ADA, ("c2", None, "free"))
    assert {call["userId"]: call["traits"]["email"] for call in api.calls()} == {
        "c1": hashlib.sha256(b"ada@example.com").hexdigest(),
        "c2": None,
    }
