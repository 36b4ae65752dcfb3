"""`validate` finds misplaced mappings, with the line of their key."""

from __future__ import annotations

import json

import pytest
import yaml
from standing import ADA, MAPPING
from test_findings import by_line, found, marked

BLOCK = "{unique_identifier: id, mappings: [{name: m, action: identify, fields: {user_id: $id}}]}"
MODELS = f"""
models:
  - name: right
    config: {{meta: {{owner: me, segment: {{mappings: 1}}, segconn: {BLOCK}}}}}
    columns: [{{name: id, data_tests: [unique, not_null]}}]
  - name: near
    config:
      meta:
        segcon: {BLOCK}  # SEG214
  - name: cased
    config:
      meta:
        Seg_Conn: {BLOCK}  # SEG214
  - name: beside
    config:
      segconn: {BLOCK}  # SEG214
  - name: on_top
    segconn: {BLOCK}  # SEG214
  - name: in_column
    columns:
      - name: id
        config:
          meta:
            segconn: {BLOCK}  # SEG214
  - name: in_config
  - name: disabled
    config:
      enabled: false
      meta:
        segconn:
          {BLOCK}  # SEG215
  - name: no_model
    config:
      meta:
        segconn: {BLOCK}  # SEG104
sources:
  - name: raw
    tables:
      - name: orders
        config:
          meta:
            segconn: {BLOCK}  # SEG214
exposures:
  - name: board
    type: dashboard
    owner: {{name: Data}}
    depends_on: [ref('right')]
    config:
      meta:
        segconn: {BLOCK}  # SEG214
  - name: written_by_us
    type: application
    owner: {{name: Data}}
    depends_on: [ref('right')]
    config: {{meta: {{segconn: {{mapping: m, columns: all, unique_identifier: [id]}}}}}}
"""


def write(shop, text, *names, file="models/customers.yml"):
    (shop.dir / "models/customers.yml").unlink()
    shop.write(file, text)
    for name in names:
        shop.write(f"models/{name}.sql", "select 1 as id, true as ads_ok")


def test_misplaced_mappings_are_found(shop):
    write(shop, MODELS, "right", "near", "cased", "beside", "on_top", "in_column", "disabled")
    shop.write(
        "models/in_config.sql", "{{ config(segconn={'unique_identifier': 'id', 'mappings': []}) }} select 1 as id"
    )
    shop.dbt("parse")
    answer = found(shop)
    assert by_line(answer, "models/customers.yml") == marked(MODELS)
    assert by_line(answer, "models/in_config.sql") == {1: ["SEG214"]}
    assert all(one["fix"] for one in answer["findings"])
    assert {one["file"] for one in answer["findings"]} == {"models/customers.yml", "models/in_config.sql"}


def test_meta_copied_to_columns_is_accepted(shop):
    shop.manifest(MAPPING)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    node = manifest["nodes"]["model.shop.customers"]
    node["columns"]["customer_id"] |= {"meta": node["config"]["meta"], "config": {"meta": node["config"]["meta"]}}
    path.write_text(json.dumps(manifest))
    assert found(shop)["findings"] == []


FOLDER = """name: shop
profile: shop
models:
  shop:
    marts:
      +meta: {segconn: {consent: {Ads: ads_ok}, timezone: Europe/Berlin}}
      deep:
        +meta: {segconn: {timezone: Europe/Berlin}}
    typo:
      +meta: {segcon: {consent: {Ads: ads_ok}}}  # SEG214
    aside:
      +segconn: {consent: {Ads: ads_ok}}  # SEG214
"""
IN_FOLDER = """models:
  - name: drops
    config:
      meta:
        segconn:
          unique_identifier: id  # SEG216
          mappings: [{name: m, action: identify, fields: {user_id: $id}}]
    columns: &tested [{name: id, data_tests: [unique, not_null]}]
  - name: deep_drops
    config:
      meta:
        segconn:
          unique_identifier: id  # SEG216
          mappings: [{name: m, action: identify, fields: {user_id: $id}}]
    columns: *tested
  - name: repeats
    config: {meta: {segconn: {consent: {Ads: ads_ok}, mappings: [{name: m, action: identify, fields: {user_id: $id}}]}}}
    columns: *tested
  - name: declines
    config:
      meta:
        segconn: {mappings: [{name: m, action: identify, consent: not_needed, fields: {user_id: $id}}]}
    columns: *tested
"""


def test_folder_consent_must_not_be_lost(shop):
    names = ["drops", "repeats", "declines", "plain", "deep/deep_drops", "deep/deep_plain"]
    write(shop, IN_FOLDER, *(f"marts/{name}" for name in names), file="models/marts/all.yml")
    shop.write("dbt_project.yml", FOLDER)
    shop.write(
        "models/marts/in_sql.sql",
        "\n\n{{ config(meta={'segconn': {'unique_identifier': 'id', 'mappings': [\n"
        "  {'name': 'm', 'action': 'identify', 'fields': {'user_id': '$id'}}]}}) }} select 1 as id",
    )
    shop.rows(ADA)
    shop.dbt("parse")
    answer = found(shop)
    assert by_line(answer, "models/marts/all.yml") == marked(IN_FOLDER)
    assert by_line(answer, "models/marts/in_sql.sql") == {3: ["SEG216", "SEG302"]}
    assert by_line(answer, "dbt_project.yml") == marked(FOLDER)
    assert len(answer["findings"]) == 6


def test_unparsed_mapping_is_found(shop):
    shop.manifest(MAPPING)
    path = shop.dir / "models/customers.yml"
    (model,) = yaml.safe_load(path.read_text())["models"]
    segconn = model["config"]["meta"]["segconn"]
    for names, line in ((["other", "new"], 15), (["new"], 8)):
        more = [{**MAPPING, "name": name} for name in names]
        segconn["mappings"] = [*([MAPPING] if line > 8 else []), *more]
        shop.write("models/customers.yml", {"models": [model]})
        found_here = [one for one in found(shop)["findings"] if one["code"] == "SEG104"]
        assert [one["mapping"] for one in found_here] == names
        assert found_here[0]["line"] == line
    del model["config"]["meta"]["segconn"]
    shop.write("models/customers.yml", {"models": [model]})
    assert "SEG104: model customers: dbt's manifest has mappings that were removed" in shop.segconn("validate").output
    path.unlink()
    assert "SEG104" in shop.segconn("validate").output


def test_sql_comment_keeps_line_numbers(shop):
    shop.manifest({**MAPPING, "action": "identfy"})
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    node = manifest["nodes"]["model.shop.customers"]
    for sql in (
        "{{ config(materialized='table', tags=['segconn']) }} select 1 -- what segconn: reads",
        "{{ config(alias=f('a)', \"b\")) }}\n/* segconn: (see its YAML) */ select 1",
        "{# {{ config(meta={'segconn': {}}) }} #} select 1",
    ):
        node["raw_code"] = sql
        path.write_text(json.dumps(manifest))
        assert by_line(found(shop), "models/customers.yml") == {9: ["SEG205"]}, sql


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("s3cretPlain", ["SEG105"]),
        ("{{ 's3cretPlain' }}", ["SEG105"]),
        ("{{ env_var('WK') }}", []),
        ("{{ var('key', 'x') }}", []),
    ],
)
def test_plain_text_key_is_found(shop, key, expected):
    shop.manifest(MAPPING)
    shop.settings(write_key=key)
    answer = found(shop)
    assert [one["code"] for one in answer["findings"]] == expected
    assert all((one["line"], one["severity"]) == (3, "warning") for one in answer["findings"])
    assert "s3cretPlain" not in json.dumps(answer)


TOKEN = "Xq7ZsecretToken0SlackKey"


@pytest.mark.parametrize(
    ("url", "count"),
    [
        (f"https://hooks.slack.com/services/T0/B0/{TOKEN}", 1),
        ("https://hooks.slack.com/services/{{ env_var('WK') }}/B0/" + TOKEN, 1),
        (f"https://example.com/hook?key={TOKEN}", 1),
        ("https://hooks.slack.com/services/{{ env_var('WK') }}", 0),
        ("{{ env_var('WK', 'http://example.com') }}", 0),
        ("http://alerts-2024-production.example.com:8080/dbt/segconn-2024", 0),
    ],
)
def test_plain_webhook_token_is_found(shop, monkeypatch, url, count):
    monkeypatch.setenv("WK", "http://example.com")
    shop.more_settings = {"alerts": [{"url": url}]}
    shop.manifest(MAPPING)
    shop.settings()
    answer = found(shop)
    assert [(one["code"], one["path"]) for one in answer["findings"]] == [("SEG105", "alerts.0.url")] * count
    assert TOKEN not in json.dumps(answer)


def test_plain_alert_secrets_are_found(shop):
    secrets = {
        "routing_key": TOKEN.ljust(32, "0")[:32],
        "headers": {"Authorization": TOKEN, "X-Team": "{{ env_var('WK') }}"},
    }
    shop.more_settings = {"alerts": [{"url": "http://example.com", "format": "pagerduty", **secrets}]}
    shop.manifest(MAPPING)
    shop.settings()
    answer = found(shop)
    assert [(one["code"], one["path"]) for one in answer["findings"]] == [
        ("SEG105", "alerts.0.routing_key"),
        ("SEG105", "alerts.0.headers.Authorization"),
    ]
    assert "env_var('ALERT_AUTHORIZATION')" in json.dumps(answer)
    assert TOKEN not in json.dumps(answer)


@pytest.mark.parametrize("package", [None, "shop"])
def test_key_in_project_vars_is_found(shop, package):
    shop.manifest(MAPPING)
    shop.settings(write_key="{{ var('segment_key') }}")
    project = (shop.dir / "dbt_project.yml").read_text()
    vars_ = {"other": "x", "segment_key": "s3cretPlain"}
    shop.write("dbt_project.yml", project + yaml.safe_dump({"vars": {package: vars_} if package else vars_}))
    answer = found(shop)
    (one,) = answer["findings"]
    line = project.count("\n") + (4 if package else 3)
    assert (one["code"], one["file"], one["line"]) == ("SEG105", "dbt_project.yml", line)
    assert "s3cretPlain" not in json.dumps(answer)
