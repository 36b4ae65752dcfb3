"""Airflow: the operator and the callback for Cosmos, in real DAG runs on SQLite."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from standing import ADA, BOB, MAPPING, wait_for

pytest.importorskip("airflow")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """Make Airflow's own database. It is configured when it is first imported."""
    folder = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(folder))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "false")
        patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(folder / "dags"))
        (folder / "dags").mkdir()
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
        yield folder


DAG = """
from datetime import datetime, timezone
from airflow.sdk import DAG
from dbt_segconn.integrations.airflow import SegconnRunOperator

with DAG("nightly", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
    SegconnRunOperator(
        task_id="segconn",
        project_dir="{{{{ '{folder}' }}}}",
        profiles_dir="{folder}",
        options={options!r},
    )
if __name__ == "__main__":
    dag.test()
"""


def run_dag(home, shop, **options):
    """Run a DAG with the operator in a process of its own. Return its XComs and its log."""
    file = home / "dags/nightly.py"
    file.write_text(DAG.format(folder=shop.dir, options={"all": True, **options}))
    code = (
        f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')\n"
        "from airflow.models.xcom import XComModel\n"
        "from airflow.utils.session import create_session\n"
        "with create_session() as session:\n"
        "    rows = session.query(XComModel).all()\n"
        "    print('XCOM', __import__('json').dumps({row.key: XComModel.deserialize_value(row) for row in rows}))\n"
        "    [session.delete(row) for row in rows]\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=1000)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("XCOM ")]
    assert lines, ended.stdout + ended.stderr
    return json.loads(lines[0].removeprefix("XCOM ")), ended.stdout + ended.stderr


def test_task_syncs_and_returns_counts(shop, api, home):
    shop.manifest(MAPPING)
    shop.table(ADA, BOB)
    xcoms, log = run_dag(home, shop)
    assert xcoms["return_value"]["success"], log
    assert xcoms["return_value"]["syncs"][0]["counts"]["confirmed"] == 2
    assert "START sync customers.identify_customers" in log
    assert len(api.received) == 2


def test_failed_sync_fails_the_task(shop, api, home):
    shop.manifest(MAPPING)
    shop.table(ADA)
    api.faults = [401]
    xcoms, log = run_dag(home, shop)
    assert "return_value" not in xcoms
    assert xcoms["segconn"]["syncs"][0]["status"] == "failed", log


def context_of(tmp_path, task="customers.run"):
    return {
        "dag": SimpleNamespace(dag_id="shop"),
        "run_id": "scheduled__2026-11-27T00:00:00+00:00",
        "ti": SimpleNamespace(task_id=task, map_index=-1, xcom_push=lambda **_: None),
    }


def operator(shop, **options):
    from dbt_segconn.integrations.airflow import SegconnRunOperator

    return SegconnRunOperator(
        task_id="segconn",
        project_dir=str(shop.dir),
        profiles_dir=str(shop.dir),
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        **options,
    )


def test_results_of_several_dbt_tasks_are_merged(shop, api, tmp_path):
    from dbt_segconn.integrations.airflow import keep_artifacts

    shop.mappings(MAPPING)
    shop.rows(ADA, BOB)
    keep = keep_artifacts(str(tmp_path / "kept"))
    keep(str(shop.dir), context=context_of(tmp_path))  # dbt has not started
    shop.dbt("build")
    keep(str(shop.dir), context=context_of(tmp_path))
    (shop.dir / "target/run_results.json").unlink()
    result = operator(shop, artifacts=str(tmp_path / "kept")).execute(context_of(tmp_path, "segconn"))
    assert result["syncs"][0]["counts"]["confirmed"] == 2
    assert len(api.received) == 2


def test_kill_saves_what_was_sent(shop, api, tmp_path):
    from airflow.providers.common.compat.sdk import AirflowException

    shop.manifest(MAPPING)
    shop.many(30_000)
    api.delay = 0.3
    task = operator(shop, options={"all": True})

    def kill():
        wait_for(lambda: len(api.sizes) > 2, seconds=900)
        task.on_kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(AirflowException, match="canceled"):
        task.execute(context_of(tmp_path))
    thread.join()
    api.delay = 0
    operator(shop, options={"all": True}).execute(context_of(tmp_path))
    assert len(api.accepted) == len({one["userId"] for one in api.calls()}) == 30_000


def test_error_in_the_project_is_not_retried(shop, tmp_path):
    from airflow.providers.common.compat.sdk import AirflowFailException

    shop.manifest({**MAPPING, "action": "identfy"})
    with pytest.raises(AirflowFailException, match="identify"):
        operator(shop, options={"all": True}).execute(context_of(tmp_path))
