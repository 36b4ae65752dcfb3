"""Which models are synced: fresh ones, whole ones, tested ones, selected ones."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, MAPPING


def second_model(shop):
    meta = {
        "segconn": {
            "unique_identifier": "id",
            "mappings": [{"name": "others", "action": "identify", "fields": {"user_id": "$id"}}],
        }
    }
    shop.write("models/others.sql", "select 'o1' as id")
    shop.write("models/others.yml", {"models": [{"name": "others", "config": {"meta": meta, "tags": ["slow"]}}]})


def test_without_artifacts_the_way_out_is_named(shop):
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "manifest.json: not found" in result.output
    assert "Run `dbt run` or `dbt build` first" in result.output


@pytest.mark.parametrize("command", ["test", "compile", "docs generate"])
def test_results_of_a_command_that_refreshes_nothing_are_refused(shop, api, command):
    shop.rows(ADA)
    shop.dbt("run")
    shop.dbt(*command.split())
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert f"is of `dbt {command}`, which refreshes no model" in result.output
    assert api.received == []
    assert shop.segconn("run", "--select", "customers", "--all").exit_code == 0
    assert len(api.received) == 1


def test_an_empty_run_is_refused(shop, api):
    shop.sync(ADA)
    shop.dbt("run", "--empty")
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "--empty" in result.output


def test_a_manifest_of_another_invocation_is_refused(shop):
    shop.sync(ADA)
    shop.dbt("parse")
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "is of another dbt invocation" in result.output


@pytest.mark.parametrize("text", ["", "{", "[]", '{"metadata": {}}'])
def test_a_broken_artifact_is_named(shop, text):
    shop.rows(ADA)
    shop.dbt("run")
    (shop.dir / "target/run_results.json").write_text(text)
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "is not a dbt run-results file, or was cut short" in result.output


def test_an_artifact_of_a_newer_schema_is_refused(shop):
    shop.rows(ADA)
    shop.dbt("run")
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metadata"]["dbt_schema_version"] = "https://schemas.getdbt.com/dbt/manifest/v99.json"
    path.write_text(json.dumps(manifest))
    assert "has version 99 of dbt's manifest schema" in shop.segconn("run").output


def test_a_manifest_of_another_adapter_is_refused(shop):
    shop.rows(ADA)
    shop.dbt("run")
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metadata"]["adapter_type"] = "snowflake"
    path.write_text(json.dumps(manifest))
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "the manifest was built for snowflake" in result.output


def test_a_model_that_failed_its_tests_is_not_synced_unless_asked(shop, api):
    shop.rows(ADA, ADA)
    shop.dbt("build")
    result = shop.segconn("run")
    assert result.exit_code == 1
    assert "the model failed its dbt tests: unique_customers_customer_id" in result.output
    assert "SKIP=1" in result.output
    assert api.received == []
    assert "PARTIAL synced" in shop.segconn("run", "--ignore-tests").output


def test_a_model_that_dbt_failed_to_build_is_not_synced(shop):
    shop.write("models/customers.sql", "select no_such_column from nowhere")
    shop.dbt("run")
    result = shop.segconn("run")
    assert result.exit_code == 1
    assert "dbt failed to build the model" in result.output


def test_disabled_mappings_and_destinations_are_listed(shop, api):
    shop.mappings({**MAPPING, "enabled": False})
    result = shop.sync(ADA)
    assert result.exit_code == 0
    assert "SKIP customers.identify_customers" in result.output
    assert "the mapping is disabled" in result.output
    shop.mappings(MAPPING)
    shop.settings(enabled=False)
    assert "the destination app is disabled" in shop.sync(ADA).output
    assert api.received == []


def test_only_refreshed_and_selected_models_are_synced(shop, api):
    second_model(shop)
    shop.rows(ADA)
    shop.dbt("run", "--select", "others")
    result = shop.segconn("run")
    assert "1 mapping left alone" in result.output
    assert [call["userId"] for call in api.calls()] == ["o1"]
    shop.dbt("run")
    assert "TOTAL=1" in shop.segconn("run", "--select", "customers").output
    assert "TOTAL=1" in shop.segconn("run", "--exclude", "tag:slow").output
    assert "TOTAL=1" in shop.segconn("run", "--select", "tag:slow").output
    assert "TOTAL=0" in shop.segconn("run", "--select", "nothing_like_it").output


def test_a_target_other_than_dbts_is_refused(shop):
    outputs = {name: {"type": "duckdb", "path": f"{name}.duckdb"} for name in ("dev", "prod")}
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": outputs}})
    shop.rows(ADA)
    shop.dbt("run", "--target", "prod")
    assert "Run dbt with --target dev first" in shop.segconn("run", "--target", "dev").output
    assert shop.segconn("run").exit_code == 0, "the target of the last run is the default"


def test_an_empty_model_is_taken_for_an_accident(shop, api):
    shop.sync(ADA, BOB)
    result = shop.sync()
    assert result.exit_code == 1
    assert "the model is empty, and all 2 records would count as deleted" in result.output
    assert "--allow-guarded customers.identify_customers" in result.output
    allowed = shop.segconn("run", "--allow-guarded", "customers.identify_customers")
    assert "DELETED 2" in allowed.output


@pytest.mark.parametrize(
    ("guards", "rows", "words"),
    [
        ({"max_records": 1}, [ADA, BOB], "more than max_records 1"),
        ({"max_updated_percent": 50}, None, "more than max_updated_percent 50"),
        ({"max_deleted_percent": 10}, [ADA], "more than max_deleted_percent 10"),
    ],
)
def test_guards_hold_a_sync_back(shop, api, guards, rows, words):
    if "max_records" not in guards:
        shop.sync(ADA, BOB)
    api.forget()
    shop.mappings({**MAPPING, "guards": guards})
    result = shop.sync(*(rows or [("c1", "x@example.com", "a"), ("c2", "y@example.com", "b")]))
    assert result.exit_code == 1
    assert words in result.output
    assert api.received == []
