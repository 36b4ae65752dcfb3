"""OpenLineage: events from the real client to a receiver on loopback, beside those of dbt-ol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from standing import ADA, BOB, MAPPING, Api, serving

pytest.importorskip("openlineage.client")

from openlineage.common.provider.dbt.processor import Adapter, DbtArtifactProcessor

import dbt_segconn
from dbt_segconn.warehouse.dialect import find_dialect

PARENT = "airflow/nightly.segconn/0191bf41-e5a4-7d4e-a3a1-1d3a0d9e0001"
ROOT = "airflow/nightly/0191bf41-e5a4-7d4e-a3a1-1d3a0d9e0000"


class Receiver(Api):
    """Keeps the events."""

    def take(self, raw, headers):
        with self.guard:
            self.received.append(json.loads(raw))
        return self.faults[0] if self.faults else 200

    def states(self):
        return [(event["job"]["name"].partition(".")[2], event["eventType"]) for event in self.received]

    def last(self, name):
        return next(event for event in reversed(self.received) if event["job"]["name"].endswith(name))


@pytest.fixture
def lineage(monkeypatch):
    receiver = Receiver()
    with serving(receiver) as url:
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        yield receiver
        receiver.released.set()
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE__")]:  # the client sets them
        os.environ.pop(name)


SYNC = "segconn.customers.identify_customers"


def test_run_and_sync_report_their_states(shop, lineage, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", PARENT)
    monkeypatch.setenv("OPENLINEAGE_ROOT_PARENT_ID", ROOT)
    shop.manifest(MAPPING)
    shop.table(ADA, BOB, (None, "x", "y"))
    assert shop.segconn("run", "--all").exit_code == 1
    assert lineage.states() == [
        ("", "START"),
        ("", "RUNNING"),
        (SYNC, "START"),
        (SYNC, "RUNNING"),
        (SYNC, "COMPLETE"),
        ("", "COMPLETE"),
    ]
    run, sync = lineage.last("dbt-segconn-run-shop"), lineage.last(SYNC)
    artifact = json.loads((shop.dir / "target/segconn/run_results.json").read_bytes())
    assert run["run"]["runId"] == artifact["metadata"]["run_id"]
    assert run["run"]["facets"]["parent"]["run"]["runId"] == PARENT.split("/")[2]
    parent = sync["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == run["run"]["runId"]
    assert parent["root"]["job"] == {"namespace": "airflow", "name": "nightly", "facets": {}}
    counts = sync["run"]["facets"]["segconn_sync"]
    assert (counts["status"], counts["added"], counts["discarded"]) == ("partial", 2, 1)


def test_columns_lead_to_fields_of_calls(shop, lineage):
    fields = {
        "user_id": "$customer_id",
        "traits": {"email": {"@case": {"operator": "lower", "value": {"@path": "$.properties.email"}}}, "fixed": "x"},
    }
    whole = {
        "name": "whole",
        "action": "track",
        "fields": {"event_name": "Seen", "user_id": "$customer_id", "properties": {"@path": "$.properties"}},
    }
    shop.manifest({**MAPPING, "fields": fields}, {**whole, "enabled": False}, consent={"Ads": "plan"})
    shop.table(ADA)
    assert shop.segconn("run", "--all").exit_code == 0
    (event,) = [one for one in lineage.received if one["job"]["name"].endswith(SYNC) and one["eventType"] == "COMPLETE"]
    (table,), (destination,) = event["inputs"], event["outputs"]
    assert (table["namespace"], table["name"]) == ("duckdb://shop.duckdb", "shop.main.customers")
    assert destination["namespace"] == shop.endpoint.replace("http", "segment")
    assert destination["name"] == "app"
    assert destination["outputFacets"]["outputStatistics"]["rowCount"] == 1
    found = destination["facets"]["columnLineage"]["fields"]
    columns = {name: [one["field"] for one in field["inputFields"]] for name, field in found.items()}
    assert columns == {
        "identify.user_id": ["customer_id"],
        "identify.traits.email": ["email"],
        "identify.consent.Ads": ["plan"],
    }
    subtypes = {name: field["inputFields"][0]["transformations"][0]["subtype"] for name, field in found.items()}
    assert (subtypes["identify.user_id"], subtypes["identify.traits.email"]) == ("IDENTITY", "TRANSFORMATION")
    names = {field["name"] for field in destination["facets"]["schema"]["fields"]}
    assert names >= {*columns, "track.properties"}  # of all mappings to this destination


def test_table_is_the_one_of_dbt_ol(shop, lineage):
    shop.rows(ADA)
    command = [str(Path(sys.executable).parent / "dbt-ol"), "run", "--profiles-dir", "."]
    subprocess.run(command, cwd=shop.dir, check=True, capture_output=True)
    built = [event["outputs"][0] for event in lineage.received if event["outputs"]][-1]
    assert shop.segconn("run").exit_code == 0
    read = lineage.last(SYNC)["inputs"][0]
    assert (read["namespace"], read["name"]) == (built["namespace"], built["name"])
    assert lineage.last(SYNC)["job"]["namespace"] == lineage.received[0]["job"]["namespace"]


@pytest.mark.parametrize(
    ("adapter", "profile"),
    [
        ("duckdb", {"path": "md:shop"}),
        ("postgres", {"host": "db.example.com", "port": 5432}),
        ("redshift", {"host": "c.abc.eu-west-1.redshift.amazonaws.com", "port": 5439}),
        ("snowflake", {"account": "org-shop"}),
        ("snowflake", {"account": "xy12345"}),
        ("snowflake", {"account": "xy12345.us-east-1"}),
        ("snowflake", {"account": "xy12345.east-us-2.azure"}),
        ("bigquery", {"project": "shop"}),
        ("databricks", {"host": "adb-1.azuredatabricks.net"}),
        ("spark", {"host": "spark.example.com", "port": 10001, "method": "thrift"}),
    ],
)
def test_namespace_is_the_one_of_dbt_ol(adapter, profile):
    theirs = DbtArtifactProcessor.extract_namespace(SimpleNamespace(adapter_type=Adapter[adapter.upper()]), profile)
    assert find_dialect(adapter).lineage_namespace(SimpleNamespace(type=adapter, **profile)) == theirs


def test_failed_sync_fails_the_run(shop, api, lineage):
    shop.manifest(MAPPING)
    shop.table(ADA)
    api.faults = [401]
    assert shop.segconn("run", "--all").exit_code == 1
    assert lineage.states()[-2:] == [(SYNC, "FAIL"), ("", "FAIL")]
    assert "write key was rejected" in lineage.last(SYNC)["run"]["facets"]["errorMessage"]["message"]


def test_stopped_and_unopened_runs_end(shop, lineage):
    shop.manifest(MAPPING)
    shop.table(ADA)
    stop = threading.Event()
    stop.set()
    dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True, stop=stop)
    assert lineage.states() == [("", "START"), ("", "RUNNING"), ("", "ABORT")]
    (shop.dir / "shop.duckdb").unlink()
    assert shop.segconn("run", "--all").exit_code == 2
    assert lineage.states()[3:] == [("", "START"), ("", "FAIL")]
    assert "does not exist" in lineage.received[-1]["run"]["facets"]["errorMessage"]["message"]


@pytest.mark.parametrize("fault", ["refused", "silent", "error"])
def test_broken_server_is_a_warning(shop, api, lineage, monkeypatch, fault):
    shop.manifest(MAPPING)
    shop.table(ADA)
    lineage.delay = 60 if fault == "silent" else 0
    lineage.faults = [403]
    if fault == "refused":
        monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    result = shop.segconn("run", "--all")
    delay = time.time() - (shop.dir / "target/segconn/run_results.json").stat().st_mtime
    assert result.exit_code == 0
    assert delay < 8
    assert "OpenLineage: events were not delivered" in result.output
    assert len(api.received) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OPENLINEAGE_PARENT_ID", "airflow/nightly", "must be namespace/job/run id"),
        ("OPENLINEAGE__TRANSPORT", "{", "configuration is not valid"),
        ("OPENLINEAGE_DISABLED", "true", None),
    ],
)
def test_wrong_configuration_is_a_warning(shop, api, lineage, monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    shop.manifest(MAPPING)
    shop.table(ADA)
    result = shop.segconn("run", "--all")
    assert result.exit_code == 0
    assert ("OpenLineage" in result.output) is bool(words)
    assert not words or words in result.output
    assert lineage.received == []
    assert len(api.received) == 1


def test_file_configures_as_well(shop, lineage, monkeypatch):
    monkeypatch.delenv("OPENLINEAGE_URL")
    shop.write("openlineage.yml", {"transport": {"type": "file", "log_file_path": "events.json", "append": True}})
    shop.manifest(MAPPING)
    shop.table(ADA)
    assert shop.segconn("run", "--all").exit_code == 0
    events = [json.loads(line) for line in (shop.dir / "events.json").read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "RUNNING", "START", "RUNNING", "COMPLETE", "COMPLETE"]
