"""Which models are synced: fresh, complete, tested and selected models."""

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


def test_missing_artifact_message_has_a_fix(shop):
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "manifest.json: not found" in result.output
    assert "Run `dbt run` or `dbt build` first" in result.output


def test_build_with_empty_flag_is_rejected(shop, api):
    shop.sync(ADA)
    shop.dbt("run", "--empty")
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "--empty" in result.output


@pytest.mark.parametrize("text", ["", "{", "[]", '{"metadata": {}}'])
def test_broken_artifact_is_named(shop, text):
    shop.manifest(MAPPING)
    (shop.dir / "target/run_results.json").write_text(text)
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "not a dbt run-results file, or incomplete" in result.output


def test_newer_artifact_schema_is_rejected(shop):
    shop.manifest(MAPPING)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metadata"]["dbt_schema_version"] = "https://schemas.getdbt.com/dbt/manifest/v99.json"
    path.write_text(json.dumps(manifest))
    assert "the version of dbt's manifest schema must be 4 to 12, not 99" in shop.segconn("run").output


def test_other_adapters_manifest_rejected(shop):
    shop.manifest(MAPPING)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metadata"]["adapter_type"] = "snowflake"
    path.write_text(json.dumps(manifest))
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert "the manifest was built for snowflake" in result.output


def test_model_with_failed_tests_is_skipped(shop, api):
    shop.rows(ADA, ADA)
    shop.dbt("build")
    result = shop.segconn("run")
    assert result.exit_code == 1
    assert "the model failed its dbt tests: unique_customers_customer_id" in result.output
    assert "SKIP=1" in result.output
    assert api.received == []
    assert "PARTIAL synced" in shop.segconn("run", "--ignore-tests").output


def test_failed_model_is_skipped(shop):
    shop.write("models/customers.sql", "select no_such_column from nowhere")
    shop.dbt("run")
    result = shop.segconn("run")
    assert result.exit_code == 1
    assert "dbt failed to build the model" in result.output


def test_disabled_mappings_are_listed(shop, api):
    shop.manifest({**MAPPING, "enabled": False})
    result = shop.resync(ADA)
    assert result.exit_code == 0
    assert "SKIP customers.identify_customers" in result.output
    assert "the mapping is disabled" in result.output
    shop.manifest(MAPPING)
    shop.settings(enabled=False)
    assert "the destination app is disabled" in shop.resync(ADA).output
    assert api.received == []


def test_only_fresh_selected_models_sync(shop, api):
    second_model(shop)
    shop.rows(ADA)
    shop.dbt("run", "--select", "others")
    result = shop.segconn("run")
    assert "1 mapping left alone" in result.output
    assert [call["userId"] for call in api.calls()] == ["o1"]
    shop.dbt("run")
    assert "TOTAL=0" in shop.segconn("run", "--select", "nothing_like_it").output
    assert "OK synced customers.identify_customers" in shop.segconn("run", "--exclude", "tag:slow").output
    both = shop.segconn("run", "--all", "--select", "customers", "others").output
    assert "TOTAL=2" in both, "one option takes several values, as dbt's"
    assert "TOTAL=1" in shop.segconn("run", "--all", "--select", "tag:slow", "--select=nothing_like_it").output


def test_empty_model_blocks_the_sync(shop, api):
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    result = shop.resync()
    assert result.exit_code == 1
    assert "the model is empty, and all 2 records would count as deleted" in result.output
    assert "--allow-guarded customers.identify_customers" in result.output
    allowed = shop.segconn("run", "--all", "--allow-guarded", "customers.identify_customers")
    assert "DELETED 2" in allowed.output


@pytest.mark.parametrize(
    ("guards", "rows", "words"),
    [
        ({"max_records": 1}, [ADA, BOB], "more than max_records 1"),
        ({"max_updated_percent": 50}, None, "more than max_updated_percent 50"),
        ({"max_deleted_percent": 10}, [ADA], "more than max_deleted_percent 10"),
    ],
)
def test_guards_block_a_sync(shop, api, guards, rows, words):
    shop.manifest({**MAPPING, "guards": guards})
    if "max_records" not in guards:
        shop.resync(ADA, BOB)
    api.forget()
    result = shop.resync(*(rows or [("c1", "x@example.com", "a"), ("c2", "y@example.com", "b")]))
    assert result.exit_code == 1
    assert words in result.output
    assert api.received == []


def failing_test(shop):
    """Make model `customers` fail its test; model `others` passes."""
    second_model(shop)
    shop.rows(ADA, ADA)


def test_dbt_test_after_dbt_run_gates(shop, api):
    failing_test(shop)
    shop.dbt("run")
    shop.dbt("test")
    result = shop.segconn("run")
    assert result.exit_code == 1
    assert "the model failed its dbt tests: unique_customers_customer_id" in result.output
    assert [call["userId"] for call in api.calls()] == ["o1"]


def test_failed_upstream_test_skips_model(shop, api):
    shop.rows(ADA)
    sql = (shop.dir / "models/customers.sql").read_text()
    shop.write("models/stg.sql", sql)
    shop.write("models/stg.yml", {"models": [{"name": "stg", "columns": [{"name": "plan", "data_tests": [NEVER]}]}]})
    shop.write("models/customers.sql", "select * from {{ ref('stg') }}")
    shop.dbt("run")
    shop.dbt("test")
    result = shop.segconn("run")
    assert result.exit_code == 1
    assert "stg, which the model is made of, failed its dbt tests: accepted_values_stg" in result.output
    assert api.received == []
    assert "OK synced" in shop.segconn("run", "--ignore-tests").output


NEVER = {"accepted_values": {"arguments": {"values": ["none of them"]}}}


@pytest.mark.parametrize("command", ["parse", "ls", "docs generate", "compile", "run-operation nothing"])
def test_later_dbt_command_keeps_results(shop, api, command):
    shop.write("macros/nothing.sql", "{% macro nothing() %}{% endmacro %}")
    shop.rows(ADA)
    shop.dbt("build")
    shop.dbt(*command.split())
    result = shop.segconn("run")
    assert result.exit_code == 0, result.output
    assert "OK synced customers.identify_customers" in result.output
    rewritten = command not in {"parse", "ls"}
    assert (f"are of `dbt {command.split()[0]}" in result.output) is rewritten
    assert ("no failed dbt test holds one back" in result.output) is rewritten


def test_dbt_retry_is_merged_with_its_build(shop, api):
    failing_test(shop)
    shop.dbt("build")
    assert shop.segconn("run").exit_code == 1
    assert [call["userId"] for call in api.calls()] == ["o1"]
    shop.table(ADA)
    shop.dbt("retry")
    result = shop.segconn("run")
    assert result.exit_code == 0, result.output
    assert sorted(call["userId"] for call in api.calls()) == ["c1", "o1"]


def test_retry_follows_dbt_retry(shop, api):
    failing_test(shop)
    shop.dbt("build")
    shop.segconn("run")
    (shop.dir / "target/segconn/run_results.json").unlink()
    shop.table(ADA)
    shop.dbt("retry")
    assert "OK synced customers.identify_customers" in shop.segconn("retry").output
    assert sorted(call["userId"] for call in api.calls()) == ["c1", "o1"]


def test_retry_syncs_skipped_models(shop, api):
    failing_test(shop)
    shop.dbt("build")
    shop.segconn("run")
    shop.rows(ADA)
    shop.dbt("build")
    assert "OK synced customers.identify_customers" in shop.segconn("retry").output


def rewritten(shop, change):
    """Change the result of the model in run_results.json."""
    path = shop.dir / "target/run_results.json"
    results = json.loads(path.read_text())
    for result in results["results"]:
        if result["unique_id"] == "model.shop.customers":
            result.update(change)
    path.write_text(json.dumps(results))


def test_other_statuses_do_not_fail(shop, api):
    shop.rows(ADA)
    shop.dbt("run")
    for status in ("reused", "no-op", "warn", "hibernated"):
        rewritten(shop, {"status": status})
        result = shop.segconn("run")
        assert result.exit_code == 0, status
        assert "1 mapping left alone" in result.output, status
    assert api.received == []


def test_partial_success_names_its_batches(shop, api):
    shop.write("models/events.sql", "select cast('2026-01-0' || i as timestamp) as moment, i from range(1, 4) as t(i)")
    shop.write("models/events.yml", {"models": [{"name": "events", "config": {"event_time": "moment"}}]})
    shop.columns = ("customer_id", "moment")
    config = "materialized='incremental', incremental_strategy='microbatch', event_time='moment', begin='2026-01-01'"
    fails = "cast(case when i = 2 then 'no number' else i::varchar end as integer)"  # fails in its batch only
    shop.write(
        "models/customers.sql",
        f"{{{{ config({config}, batch_size='day') }}}} "
        f"select 'c' || {fails} as customer_id, 'x' as email, 'y' as plan, moment "
        "from {{ ref('events') }}",
    )
    shop.dbt("run", "--event-time-start", "2026-01-01", "--event-time-end", "2026-01-04")
    result = shop.segconn("run")
    assert result.exit_code == 1, result.output
    assert "dbt built only a part of the model: 1 of its batches failed (2026-01-02 to 2026-01-03)" in result.output
    assert api.received == []


def test_results_of_folders_are_merged(shop, api):
    failing_test(shop)
    shop.dbt("run", "--select", "customers", "--target-path", "runs/1")
    shop.dbt("run", "--select", "others", "--target-path", "runs/2")
    shop.dbt("test", "--target-path", "runs/3")
    alone = shop.segconn("run", "--run-results", "runs/1", "runs/2/run_results.json")
    assert alone.exit_code == 1, "the tests are not among them, and duplicates are discarded"
    assert {call["userId"] for call in api.calls()} == {"o1"}
    result = shop.segconn("run", "--run-results", "runs/*")
    assert result.exit_code == 1
    assert "failed its dbt tests: unique_customers_customer_id" in result.output
    assert "was synced before" in result.output
    twice = shop.segconn("run", "--target-path", "runs/1", "--target-path", "runs/2")
    assert twice.exit_code == 2
    assert "To merge results of several dbt invocations, use --run-results" in twice.output
    shop.dbt("test", "--target", "dev", "--target-path", "runs/4")
    other = shop.segconn("run", "--run-results", "runs/1", "runs/4")
    assert other.exit_code == 2
    assert "dbt's results are from different targets" in other.output
    nothing = shop.segconn("run", "--run-results", "runs/9")
    assert nothing.exit_code == 2
    assert "--run-results runs/9: no run_results.json found" in nothing.output


def test_newest_result_of_a_node_counts(shop, api):
    shop.rows(ADA, ADA)
    shop.dbt("build", "--target-path", "runs/1")
    shop.rows(ADA)
    shop.dbt("build", "--target-path", "runs/2")
    assert shop.segconn("run", "--run-results", "runs/2", "--run-results", "runs/1").exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c1"]


def test_same_results_send_nothing_again(shop, api):
    shop.sync(ADA)
    shop.rows(BOB, BOB)
    shop.dbt("--no-write-json", "build")  # its test fails, but the older results lack it
    result = shop.segconn("run")
    assert result.exit_code == 0
    assert "(`dbt run`, " in result.output
    assert "was synced before, at " in result.output
    assert "With --all, models are taken as they are, and no failed dbt test holds one back" in result.output
    assert [call["userId"] for call in api.calls()] == ["c1"]
    shop.mappings({**MAPPING, "fields": {"user_id": "$customer_id"}})
    shop.table(ADA)
    shop.dbt("parse")
    assert "OK synced" in shop.segconn("run").output, "another mapping has not used them"


def test_results_of_other_project_rejected(shop, api):
    shop.rows(ADA)
    shop.dbt("run")
    shop.write("dbt_project.yml", {"name": "other", "profile": "shop", "flags": {"send_anonymous_usage_stats": False}})
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "manifest.json is of the dbt project shop, and" in result.output
