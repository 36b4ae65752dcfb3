"""Fixtures: a Tracking API, and a dbt project that delivers to it."""

from __future__ import annotations

import gc
import time

import open_files
import pytest
from browser import browser  # noqa: F401
from dbt2 import dbt2  # noqa: F401
from standing import ADA, WRITE_KEY, Api, new_shop, serving, watched
from warehouses.postgres import own_database, postgres, postgres_server  # noqa: F401
from warehouses.redshift_fake import redshift_proxy  # noqa: F401

# Modules whose branches other tests on DuckDB run, too, but for 2% of all: these count as missing
COVERED_BY_OTHERS = {
    "test_actions.py",
    "test_changed_columns.py",
    "test_checkpoint.py",
    "test_consent.py",
    "test_context.py",
    "test_contract.py",
    "test_dbt2.py",
    "test_debugger_page.py",
    "test_discards.py",
    "test_guarantee.py",
    "test_identifiers.py",
    "test_ids.py",
    "test_integrations.py",
    "test_interrupts.py",
    "test_main_job.py",
    "test_masking.py",
    "test_output.py",
    "test_rendered_sql.py",
    "test_retyped.py",
    "test_sample.py",
    "test_schema.py",
    "test_snapshots.py",
    "test_wide.py",
    "test_written_calls.py",
}


def pytest_collection_modifyitems(items):
    """Begin with the longest tests, so that no core is idle while the last of them ends.

    Coverage takes a third of the time. It is not measured again for what other tests on DuckDB have run already: see
    `pytest --cov --cov-context=test`.
    """
    items.sort(key=lambda item: -max((mark.args[0] for mark in item.iter_markers("timeout")), default=0))
    for item in items:
        is_repeated = "[postgres" in item.nodeid and item.path.name != "test_postgres.py"
        if is_repeated or item.path.name in COVERED_BY_OTHERS:
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session")
def collected_at():
    """The time of the last collection, in a list."""
    return [time.monotonic()]


@pytest.fixture(scope="module", autouse=True)
def _collected(collected_at):
    """Collect what runs in this process have left, once a minute: the command leaves that to the end of its own."""
    yield
    if time.monotonic() > collected_at[0] + 60:
        gc.collect()
        collected_at[0] = time.monotonic()


@pytest.fixture(scope="session", autouse=True)
def collect_after_run():
    """Leave garbage of runs in this process to `_collected`: a full collection takes longer here than a small run.

    Returns what collects it elsewhere.
    """
    from dbt_segconn import process_tuning

    collect = process_tuning.collect_after_run
    process_tuning.collect_after_run = gc.unfreeze
    return collect


@pytest.fixture(scope="session", autouse=True)
def _files_of_processes():
    with open_files.closed_for_processes():
        yield


@pytest.fixture(scope="session", autouse=True)
def _flags_without_source():
    """Name no source of dbt's behavior flags: dbt reads the whole stack for it, whenever an adapter is made."""
    from dbt_common.behavior_flags import BehaviorFlagRendered

    BehaviorFlagRendered._default_source = staticmethod(lambda: "tests")


@pytest.fixture
def api():
    api = Api()
    with serving(api) as url:
        api.url = url
        yield api


@pytest.fixture(scope="session")
def parsed(tmp_path_factory):
    """The manifest that dbt writes for the shop, made when it is first asked for."""
    kept = []

    def manifest():
        if not kept:
            shop = new_shop(tmp_path_factory.mktemp("parsed"), "http://127.0.0.1:9")
            shop.rows(ADA)
            shop.dbt("parse")
            kept.append((shop.dir / "target/manifest.json").read_bytes())
        return kept[0]

    return manifest


@pytest.fixture
def shop(tmp_path, api, monkeypatch, parsed):
    monkeypatch.setenv("WK", WRITE_KEY)
    for name in ("DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    shop = new_shop(tmp_path, api.url)
    monkeypatch.chdir(shop.dir)  # where a user types the commands
    shop.parsed = parsed
    with watched(shop, api):
        yield shop
