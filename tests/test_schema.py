"""The schemas for editors accept and refuse what `validate` does."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import MAPPING

from dbt_segconn.commands import main
from dbt_segconn.mapping import MappingError, compile_mapping
from dbt_segconn.mapping.compiler import expand
from dbt_segconn.mapping.directives import DIRECTIVES
from dbt_segconn.mapping.schema import definitions


def schema_of(what):
    schema = json.loads(CliRunner().invoke(main, ["schema", what]).output)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.fixture(scope="module")
def meta():
    return schema_of("meta")


PAGERDUTY = f"format: pagerduty, routing_key: {'0a' * 16}, severity: critical"
TRACK = {"action": "track", "fields": {"event_name": "Paid", "user_id": "$a"}}


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"action": "sendIdentify"}, True),
        ({"action": "identfy"}, False),
        ({"action": None}, False),
        ({"name": ""}, False),
        ({"name": "x" * 101}, False),
        ({"feilds": {}}, False),
        ({"destination": None}, True),
        ({"destination": 3}, False),
        ({"sync_mode": "deleted"}, True),
        ({"sync_mode": ["added", "deleted"]}, True),
        ({"sync_mode": "deletes"}, False),
        ({"sync_mode": []}, False),
        ({"sync_mode": ["gone"]}, False),
        ({"enabled": False}, True),
        ({"enabled": "perhaps"}, False),
        ({"first_sync": "baseline"}, True),
        ({"first_sync": "never"}, False),
        ({"consent": {"Ads": "ads_ok"}}, True),
        ({"consent": ["ads_ok"]}, False),
        ({"consent": {"Ads": True}}, False),
        ({"guards": {"max_records": 3, "max_deleted_percent": 2.5}}, True),
        ({"guards": {"max_records": -1}}, False),
        ({"guards": {"max_rows": 1}}, False),
        ({"fields": {}}, False),
        ({"fields": ["x"]}, False),
        ({"fields": {"user_id": ""}}, False),
        ({"fields": {"user_id": "$a", "emial": "$b"}}, False),
        ({"fields": {"user_id": "$a", "location": {"city": "$b"}}}, True),
        ({"fields": {"user_id": "$a", "location": {"citty": "$b"}}}, False),
        ({"fields": {"user_id": "$a", "location": {"@path": "$.x"}}}, True),
        ({"fields": {"user_id": "$a", "batch_size": 5, "enable_batching": True}}, True),
        ({"fields": {"@path": "$.properties"}}, True),
        ({"fields": {"@pth": "$.properties"}}, False),
        ({"fields": {"anonymous_id": {"@template": "{{x}}"}, "traits": {"a": [1, "${b}", {"c": "$$"}]}}}, True),
        ({"fields": {"user_id": {"@path": 3}}}, False),
        ({"fields": {"user_id": {"@path": "a", "@template": "b"}}}, False),
        ({"fields": {"user_id": {"@path": "a", "x": "b"}}}, False),
        ({"fields": {"user_id": "a $b"}}, False),
        ({"fields": {"user_id": "$a", "traits": {"x": {"y": "cost $b"}}}}, False),
        ({"fields": {"user_id": "$a", "traits": {"x": ["cost $b"]}}}, False),
        ({"fields": {"user_id": "$a", "traits": {"x": "costs $5 or $$b, ${c} $.d $"}}}, True),
        ({"fields": {"user_id": "$a", "traits": {"x": "${}"}}}, False),
        ({"fields": {"user_id": "$a", "traits": "$*"}}, True),
        (TRACK, True),
        ({**TRACK, "fields": {"user_id": "$a"}}, False),
        ({**TRACK, "fields": {"user_id": "$a", "event_name": None}}, False),
        ({**TRACK, "action": "group"}, False),
    ],
)
def test_a_mapping(shop, meta, change, accepted):
    mapping = {**MAPPING, **change}
    shop.manifest(mapping)
    findings = json.loads(shop.segconn("validate", "--format", "json").output)["errors"]
    assert (findings == 0) is accepted
    assert meta.is_valid({"unique_identifier": "customer_id", "mappings": [mapping]}) is accepted


@pytest.mark.parametrize(
    ("given_meta", "accepted"),
    [
        ({"unique_identifier": ["a", "b"]}, True),
        ({"unique_identifier": []}, False),
        ({"unique_identifier": {}}, False),
        ({"unique_identifer": "a"}, False),
        ({"mappings": []}, False),
        ({"mappings": {}}, False),
    ],
)
def test_a_models_meta(shop, meta, given_meta, accepted):
    whole = {"unique_identifier": "customer_id", "mappings": [MAPPING], **given_meta}
    shop.manifest()
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["nodes"]["model.shop.customers"]["config"]["meta"]["segconn"] = whole
    path.write_text(json.dumps(manifest))
    errors = json.loads(shop.segconn("validate", "--format", "json").output)["errors"]
    assert (errors == 0) is accepted
    assert meta.is_valid(whole) is accepted


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("destinations: {app: {write_key: x, region: eu-west-1, events_per_second: unlimited}}", True),
        ("destinations: {app: {write_key: x, events_per_second: 2.5, gzip: true}}\nstate: {schema: s}", True),
        ('destinations: {app: {write_key: "{{ env_var(\'WK\') }}", concurrency: "{{ 3 | as_number }}"}}', True),
        ("destinations: {}", False),
        ("{}", False),
        ("destinations: {app: {}}", False),
        ("destinations: {app: {write_key: ' '}}", False),
        ("destinations: {app: {write_key: x, region: mars}}", False),
        ("destinations: {app: {write_key: x, endpoint: 'http://[::1]:8123'}}", True),
        ("destinations: {app: {write_key: x, endpoint: 'ftp://x'}}", False),
        ("destinations: {app: {write_key: x, endpoint: 'http://:80'}}", False),
        ("destinations: {app: {write_key: x, endpoint: 'http://localhost:80/a/b@c'}}", True),
        ("destinations: {app: {write_key: x, endpoint: 'http://u:p@host'}}", False),
        ("destinations: {app: {write_key: x, endpoint: 'http://host?a=b'}}", False),
        ("destinations: {app: {write_key: x, events_per_second: 0}}", False),
        ("destinations: {app: {write_key: x, events_per_second: fast}}", False),
        ("destinations: {app: {write_key: x, concurrency: 65}}", False),
        ("destinations: {app: {write_key: x}}\nstat: {}", False),
        ("destinations: {app: {write_key: x}}\nstate: {schema: ''}", False),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x/y', when: [failed], format: json}]", True),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x/y', when: [lost]}]", False),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'ftp://x'}]", False),
        ("destinations: {app: {write_key: x}}\nalerts: [{when: [failed]}]", False),
        (f"destinations: {{app: {{write_key: x}}}}\nalerts: [{{url: 'https://x', {PAGERDUTY}}}]", True),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x', format: pagerduty}]", False),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x', severity: info}]", False),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x', stale_after: 2 days}]", True),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x', remind_after: soon}]", False),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x', headers: {X-Key: k}}]", True),
        ("destinations: {app: {write_key: x}}\nalerts: [{url: 'https://x', headers: {X Key: k}}]", False),
        ("destinations: {app: {write_key: x, oauth: {client_id: a, key_id: b}}}", False),
    ],
)
def test_settings(shop, text, accepted):
    shop.manifest(MAPPING)
    shop.write("segconn.yml", text)
    errors = json.loads(shop.segconn("validate", "--format", "json").output)["errors"]
    assert (errors == 0) is accepted
    assert schema_of("settings").is_valid(yaml.safe_load(text)) is accepted


WORDS = st.sampled_from(["", "a", "$.a", "upper", "Left", "encode", "eleven chars", "{{a}}"])
KEYS = st.sampled_from(
    [
        *DIRECTIVES,
        "@nope",
        "_metadata",
        "a",
        "value",
        "operator",
        "pattern",
        "mode",
        "objects",
        "direction",
        "apply",
        "then",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(0, 20) | WORDS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@settings(max_examples=400, deadline=None)
@given(value=st.sampled_from(sorted(DIRECTIVES)).flatmap(lambda name: VALUES.map(lambda value: {name: value})))
def test_directives_are_refused_by_the_schema_where_compiling_refuses_them(value):
    schema = {"$ref": "#/definitions/value", "definitions": definitions()}
    try:
        compile_mapping({"x": value})
        accepted = True
    except MappingError:
        accepted = False
    assert jsonschema.Draft7Validator(schema).is_valid(value) is accepted


@settings(max_examples=400, deadline=None)
@given(text=st.text(st.sampled_from("$${}*a_5. '")))
def test_the_shorthand_is_refused_by_the_schema_where_reading_refuses_it(text):
    schema = {"$ref": "#/definitions/field", "definitions": definitions()}
    try:
        expand(text)
        accepted = True
    except MappingError:
        accepted = False
    assert jsonschema.Draft7Validator(schema).is_valid(text) is accepted


def test_dbts_own_keys_are_let_through_and_ours_checked_wherever_they_stand():
    models = schema_of("models")
    good = {"unique_identifier": "a", "mappings": [MAPPING]}
    bad = {"mappings": [{**MAPPING, "action": "x"}]}
    for place in (
        lambda meta: {"models": [{"name": "m", "config": {"tags": ["x"], "meta": {"owner": "y", "segconn": meta}}}]},
        lambda meta: {"seeds": [{"name": "m", "meta": {"segconn": meta}, "columns": []}], "sources": [{}]},
        lambda meta: {"version": 2, "models": [{"versions": [{"v": 1, "config": {"meta": {"segconn": meta}}}]}]},
    ):
        assert models.is_valid(place(good))
        assert not models.is_valid(place(bad))


def test_both_schemas_are_written(shop):
    result = shop.segconn("schema")
    assert result.exit_code == 0
    assert "# yaml-language-server: $schema=.segconn/settings.schema.json" in result.output
    for name in ("settings", "models"):
        jsonschema.Draft7Validator.check_schema(json.loads((shop.dir / f".segconn/{name}.schema.json").read_text()))


def test_editor_schema_describes_settings(meta):
    settings_schema, mapping = schema_of("settings").schema, meta.schema["definitions"]["mapping"]
    shown = [settings_schema, *settings_schema["definitions"].values(), meta.schema, mapping]
    shown += [meta.schema["definitions"][name] for name in ("Checkpoint", "Guards")]
    described = [(name, about.get("description")) for one in shown for name, about in one["properties"].items()]
    assert not [name for name, description in described if not description]
    told = dict(described)
    assert told["schema"].startswith("Schema of the state tables.")
    assert told["sync_null_values"].startswith("Whether null columns are sent")
