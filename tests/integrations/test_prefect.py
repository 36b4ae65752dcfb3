"""Prefect: the task in a real flow, on Prefect's own server on loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from standing import ADA, BOB, MAPPING, wait_for

pytest.importorskip("prefect")

from prefect import flow
from prefect.artifacts import Artifact
from prefect.testing.utilities import prefect_test_harness

from dbt_segconn.errors import SegconnError
from dbt_segconn.integrations.prefect import ARTIFACT, segconn_sync


@pytest.fixture(scope="module", autouse=True)
def prefect(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
        with prefect_test_harness(server_startup_timeout=300):
            yield


@flow
def nightly(folder):
    return segconn_sync(project_dir=folder, profiles_dir=folder, all=True)


def test_flow_syncs_and_keeps_a_table(shop, api):
    shop.manifest(MAPPING, {**MAPPING, "name": "off", "enabled": False})
    shop.table(ADA, BOB)
    result = nightly(shop.dir)
    assert result["success"]
    assert [one["counts"]["confirmed"] for one in result["syncs"]] == [2, 0]
    assert len(api.accepted) == 2
    rows = json.loads(Artifact.get(ARTIFACT).data)
    assert [(row["status"], row["confirmed"]) for row in rows] == [("success", 2), ("skipped", 0)]


def test_failed_sync_fails_the_task_and_a_retry_delivers(shop, api):
    @flow
    def patient(folder):
        retried = segconn_sync.with_options(retries=1, retry_delay_seconds=0)
        return retried(project_dir=folder, profiles_dir=folder, all=True)

    shop.manifest(MAPPING)
    shop.table(ADA)
    api.faults = [401]
    assert patient(shop.dir)["success"]
    assert len(api.received) == 1
    shop.table(BOB)
    api.faults = [401, 401]
    with pytest.raises(SegconnError, match=r"customers\.identify_customers: failed"):
        patient(shop.dir)


def test_sigterm_saves_what_was_sent(shop, api):
    shop.manifest(MAPPING)
    shop.many(30_000)
    api.delay = 0.3

    code = (
        "import sys; from pathlib import Path; from prefect import flow\n"
        "from dbt_segconn.integrations.prefect import segconn_sync\n"
        "@flow\n"
        "def nightly(folder):\n"
        "    segconn_sync(project_dir=folder, profiles_dir=folder, all=True)\n"
        "nightly(Path(sys.argv[1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(shop.dir)])
    wait_for(lambda: len(api.sizes) > 2, seconds=900)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=300)
    assert process.returncode == -signal.SIGTERM
    results = json.loads((shop.dir / "target/segconn/run_results.json").read_bytes())["results"]
    assert results[0]["status"] == "canceled"
    api.delay = 0
    assert nightly(shop.dir)["success"]
    assert len(api.accepted) == len({one["userId"] for one in api.calls()}) == 30_000
