"""Killed, interrupted, out of time: what is in flight counts, and the next run goes on from there.

KILLS=20 kills more first syncs than the 4 of the test suite.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import mortal
import open_files
import orjson
import pytest
from standing import ADA, BOB, EVE, MAPPING, PROGRAM, WRITE_KEY, Api, serving

import dbt_segconn
from dbt_segconn.engine import run

RECORDS = 60_000
KILLS = int(os.environ.get("KILLS", "4"))
ARTIFACT = "target/segconn/run_results.json"
SHARDS = 2  # one test each, so that they can run side by side


class Counting(Api):
    """Keeps only the user of each messageId. Each batch takes a moment."""

    def __init__(self):
        super().__init__()
        self.users = {}
        self.numbers = []
        self.began = 0.0

    def take(self, raw, headers):
        batch = orjson.loads(raw)["batch"]
        time.sleep(0.06)
        with self.guard:
            self.began = self.began if self.numbers else time.monotonic()
            for call in batch:
                self.users.setdefault(call["messageId"], call["userId"])
                self.numbers.append(int(call["messageId"].rpartition("-")[2]))
        return 200


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_at_any_moment_of_a_first_sync_every_record_arrives_exactly_once(shop, shard):
    api = Counting()
    chance = random.Random(shard)
    with serving(api) as url:
        shop.manifest(MAPPING)
        shop.endpoint = url
        shop.settings(concurrency=2)
        shop.many(RECORDS)
        fresh = open_files.contents(shop.dir / "shop.duckdb")
        started = time.monotonic()
        assert mortal.run(shop.dir, {"WK": WRITE_KEY}).success
        longest = time.monotonic() - started
        killed = 0
        while killed < KILLS / SHARDS:
            (shop.dir / "shop.duckdb").write_bytes(fresh)
            (shop.dir / "shop.duckdb.wal").unlink(missing_ok=True)
            api.users.clear()
            api.numbers.clear()
            moment = chance.uniform(0, longest)
            killed += mortal.run(shop.dir, {"WK": WRITE_KEY}, kill_after=moment).killed
            delivered = time.monotonic() - api.began if api.numbers else 0
            api.numbers = []
            saved = watermark(shop)
            assert mortal.run(shop.dir, {"WK": WRITE_KEY}).success
            assert min(api.numbers, default=RECORDS + 1) > saved, "it goes on behind the watermark"
            assert saved > 0 or delivered < 3, "the watermark is saved while it goes on"
            assert len(api.users) == len(set(api.users.values())) == RECORDS


def watermark(shop):
    """Return how far the killed run had come by its own word; 0 where it had hardly begun."""
    if not shop.query("select 1 from information_schema.tables where table_name = 'syncs'"):
        return 0
    (row,) = shop.query("select coalesce(max(watermark), 0) as watermark from segconn.syncs")
    return row["watermark"]


def start(shop, *options, stdout=subprocess.PIPE):
    return subprocess.Popen(
        [PROGRAM, "run", "--all", *options, "--project-dir", str(shop.dir)],
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    )


def wait_for(api, requests):
    deadline = time.monotonic() + 60
    while len(api.sizes) < requests and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_exits_130_and_loses_nothing(shop, api, number):
    shop.manifest(MAPPING)
    shop.many(60_000)
    api.delay = 0.2
    process = start(shop)
    wait_for(api, 3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "waiting for calls in flight" in output
    assert "CANCELED customers.identify_customers" in output
    (row,) = shop.query("select status, watermark, confirmed, to_send from segconn.syncs")
    assert row["status"] == "canceled"
    # what has no answer a second after the signal counts as not sent
    assert row["watermark"] == row["confirmed"] <= len(api.accepted) < row["to_send"] == 60_000
    api.delay = 0
    again = shop.segconn("run", "--all")
    assert again.exit_code == 0
    assert f"RESUMED {60_000 - row['confirmed']}" in again.output
    assert len(api.accepted) == len({one["userId"] for one in api.calls()}) == 60_000


def test_a_second_signal_of_either_kind_ends_it_at_once(shop, api):
    shop.manifest(MAPPING)
    shop.many(60_000)
    api.delay = 20
    process = start(shop)
    wait_for(api, 1)
    process.send_signal(signal.SIGINT)
    assert any("Interrupt again to stop immediately" in line for line in process.stdout)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=5)
    assert process.returncode == -signal.SIGTERM
    api.delay = 0
    assert shop.segconn("run", "--all").exit_code == 0
    assert len(api.accepted) == 60_000


def test_a_log_that_cannot_be_written_ends_no_delivery(shop, api):
    shop.manifest(MAPPING)
    shop.many(100)
    with Path("/dev/full").open("w") as full:
        assert start(shop, stdout=full).wait(timeout=60) == 0
    assert len(api.received) == 100
    process = start(shop, "--full-refresh")
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert len(api.received) == 200


def test_max_runtime_ends_run_like_signal(shop, api):
    shop.manifest(MAPPING)
    shop.settings(events_per_second=5_000)
    shop.many(60_000)
    result = shop.segconn("run", "--all", "--max-runtime", "3s")
    assert result.exit_code == 130, result.output
    assert "CANCELED customers.identify_customers" in result.output
    assert "CONFIRMED" in result.output
    assert 0 < len(api.accepted) < 60_000
    shop.settings()
    assert shop.segconn("run", "--all").exit_code == 0
    assert len(api.received) == 60_000


class TerminationSignal(BaseException):
    """As Prefect and Dagster raise it in the main thread on SIGTERM."""


def test_raising_signal_handler_ends_run(shop, api):
    def terminate(*_):
        raise TerminationSignal

    shop.manifest(MAPPING, {**MAPPING, "name": "off", "enabled": False})
    shop.many(60_000)
    api.delay = 0.2
    before = signal.signal(signal.SIGUSR1, terminate)
    raised_at = []

    def interrupt():
        wait_for(api, 3)
        raised_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(TerminationSignal):
            dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
        thread.join()
    assert time.monotonic() - raised_at[0] < 10  # a second on an idle machine
    skipped, sync = sorted(orjson.loads((shop.dir / ARTIFACT).read_bytes())["results"], key=lambda one: one["name"])[
        ::-1
    ]
    assert (skipped["status"], skipped["counts"]["confirmed"], sync["status"]) == ("skipped", 0, "canceled")
    assert 0 < sync["counts"]["confirmed"] <= len(api.accepted) < 60_000
    api.delay = 0
    again = dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True)
    assert again.results[0].counts["resumed_by_this_run"] == 60_000 - sync["counts"]["confirmed"]
    assert len(api.accepted) == len({one["userId"] for one in api.calls()}) == 60_000


def test_runs_of_two_threads_take_turns(shop, api):
    shop.manifest(MAPPING)
    shop.table(ADA, BOB)
    results = []

    def run_all():
        results.append(dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True))

    threads = [threading.Thread(target=run_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.success for result in results] == [True, True]
    assert len(api.received) == len(api.accepted) == 2


def test_max_runtime_does_not_count_the_start_of_dbt(shop, monkeypatch):
    def open_without_timer(*given):
        assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())
        return opened(*given)

    opened = run.opened
    monkeypatch.setattr(run, "opened", open_without_timer)
    shop.manifest(MAPPING)
    shop.table(ADA)
    assert shop.segconn("run", "--all", "--max-runtime", "1m").exit_code == 0


def test_a_duration_that_is_none_is_said(shop):
    result = shop.segconn("run", "--max-runtime", "soon")
    assert result.exit_code == 2
    assert "must be a duration such as 90s, 15m or 2h, not 'soon'" in result.output


def test_unstarted_syncs_are_listed(shop, api):
    other = {**MAPPING, "name": "others"}
    shop.manifest(MAPPING, other)
    shop.table(ADA, BOB, EVE)
    late = shop.segconn("run", "--all", "--threads", "1", "--max-runtime", "0s")
    assert late.exit_code == 130
    assert "interrupted before it began" in late.output
    api.faults = [401]
    result = shop.segconn("run", "--all", "--threads", "1", "--fail-fast")
    assert result.exit_code == 1
    assert "customers.others: is not started: another sync has failed (--fail-fast)" in result.output
    assert "ERROR=1 SKIP=1 TOTAL=2" in result.output
