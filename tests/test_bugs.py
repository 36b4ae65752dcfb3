"""What nothing foresees ends one sync at most; what fails once the calls are delivered ends nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from standing import ADA, BOB, MAPPING, wait_for

import dbt_segconn
from dbt_segconn.delivery import Delivery
from dbt_segconn.delivery.tracking_api import TrackingApiClient
from dbt_segconn.engine import alerts
from dbt_segconn.engine.calls import CallMaker
from dbt_segconn.engine.run import Listener
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.warehouse.adapter import Warehouse

OTHER = {**MAPPING, "name": "others"}


@pytest.fixture
def two(shop):
    """The shop with two mappings, of which the first one meets what a test breaks."""
    shop.manifest(MAPPING, OTHER)
    return shop


def breaking(real, on=1):
    """Break the call of this number, with a row in its error."""
    calls = []

    def broken(*given, **named):
        calls.append(given)
        if len(calls) == on:
            raise KeyError(ADA)
        return real(*given, **named)

    return broken


@pytest.mark.parametrize(
    ("owner", "name", "place"),
    [
        (MappingTables, "read_calls", "dbt_segconn.engine.ranges"),
        (MappingTables, "settle", "dbt_segconn.engine.delivering"),
        (CallMaker, "written", "dbt_segconn.engine.ranges"),
        (TrackingApiClient, "post", "dbt_segconn.delivery.tracking_api"),
        (MappingTables, "stage", "dbt_segconn.engine.steps"),
    ],
    ids=["reader", "settling", "calls", "sender", "staging"],
)
def test_exception_fails_its_own_sync_only(two, api, monkeypatch, owner, name, place):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, breaking(getattr(owner, name)))
        result = two.resync(ADA, BOB, options=("--threads", "1"))
    assert result.exit_code == 1
    assert f"KeyError in {place}, line " in result.output
    assert "This is a bug of dbt-segconn" in result.output
    assert "Done. OK=1 PARTIAL=0 ERROR=1 SKIP=0 TOTAL=2" in result.output
    artifact = result.artifact(two.dir)
    assert [one["status"] for one in artifact["results"]] == ["failed", "success"]
    assert f"KeyError in {place}" in artifact["results"][0]["message"]
    assert two.segconn("run", "--all").exit_code == 0
    assert len(api.accepted) == 4
    assert len(api.received) == 4


def test_a_bug_in_the_middle_keeps_what_was_confirmed(shop, api, monkeypatch):
    shop.manifest(MAPPING)
    shop.many(10_000)
    send_written = Delivery.send_written

    def broken(delivery, last, *group):
        if last > 9_000:
            wait_for(lambda: api.received)
            raise KeyError(ADA)
        send_written(delivery, last, *group)

    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "send_written", broken)
        assert shop.segconn("run", "--all").exit_code == 1
    arrived = len(api.received)
    (row,) = shop.query("select status, confirmed, error from segconn.syncs")
    assert (row["status"], row["confirmed"]) == ("failed", arrived)
    assert 0 < arrived < 10_000
    assert row["error"].startswith("KeyError in dbt_segconn.engine.ranges, line ")
    assert shop.segconn("run", "--all").exit_code == 0
    assert len(api.received) == 10_000


def test_exception_of_a_sync_is_alerted(two, api, monkeypatch):
    posted = []
    monkeypatch.setattr(
        alerts, "_post_in_order", lambda _, many, __: posted.extend(json.loads(one.content) for one in many)
    )
    monkeypatch.setattr(MappingTables, "read_calls", breaking(MappingTables.read_calls))
    two.more_settings = {"alerts": [{"url": "http://127.0.0.1:9/hook", "format": "json"}]}
    two.settings()
    two.resync(ADA, options=("--threads", "1"))
    assert [one["status"] for one in posted[0]["results"]] == ["failed"]


# --- After delivery -------------------------------------------------------------------------------


def spoil_folder(shop):
    (shop.dir / "target/segconn").write_text("a file where the folder should be")


def spoil_file(shop):
    (shop.dir / "target/segconn/run_results.json/inside").mkdir(parents=True)


@pytest.mark.parametrize("spoil", [spoil_folder, spoil_file])
def test_an_artifact_that_cannot_be_written_is_a_warning(shop, api, spoil):
    shop.manifest(MAPPING)
    spoil(shop)
    result = shop.resync(ADA, BOB)
    assert result.exit_code == 0, result.output
    assert "the syncs have ended, but the artifact was not written: " in result.output
    assert "run_results.json: cannot be written: " in result.output
    assert "Done. OK=1" in result.output
    assert len(api.received) == 2
    told = dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True)
    assert told.success
    assert len(told.warnings) == 1


def test_alerts_and_a_closing_that_break_are_warnings(shop, api, monkeypatch):
    shop.manifest(MAPPING)
    shop.more_settings = {"alerts": [{"url": "http://127.0.0.1:9/hook"}]}
    shop.settings()
    close = Warehouse.close

    def broken(warehouse):
        close(warehouse)
        raise KeyError(ADA)

    monkeypatch.setattr(Warehouse, "close", broken)
    monkeypatch.setattr(alerts, "outcomes", breaking(alerts.outcomes))
    result = shop.resync(ADA, BOB)
    assert result.exit_code == 0, result.output
    assert "but the warehouse was not closed well: KeyError in dbt_segconn.engine.opening, line " in result.output
    assert "but the alerts were not sent: KeyError in dbt_segconn.engine.alerts, line " in result.output


def test_raising_listener_changes_nothing(shop, api):
    class Broken(Listener):
        def end(self, *_):
            raise RuntimeError(ADA)

        start = begin = note = end
        warn = progress = end

    shop.manifest(MAPPING)
    shop.table(ADA, BOB)
    told = dbt_segconn.run(listener=Broken(), project_dir=shop.dir, profiles_dir=shop.dir, all=True)
    assert told.success
    names = ("begin", "start", "end")
    assert {f"the listener's method {name} raised RuntimeError" for name in names} <= {*told.warnings}
    assert "ada@" not in str(told.warnings)
    assert len(api.received) == 2
    assert json.loads((Path(shop.dir) / "target/segconn/run_results.json").read_text())["success"]
