"""One process at a time syncs a mapping."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import datetime, timezone

import pytest
from standing import ADA, BOB, MAPPING

import dbt_segconn
from dbt_segconn.errors import LockedError, WarehouseError
from dbt_segconn.state.locks import EXPIRY_SECONDS, Locks, heartbeat
from dbt_segconn.state.tables import State


class Table:
    """The claims of all processes, in memory: what the state's `locks` table is to them."""

    def __init__(self) -> None:
        self.rows: dict[str, list] = {}
        self.beats: list[list[str]] = []

    def claim(self, tokens, holder):
        for mapping_id, token in tokens.items():
            self.rows[token] = [mapping_id, token, holder, datetime(2026, 1, 2, tzinfo=timezone.utc), 30, 0]

    def claims(self, mapping_ids):
        return [tuple(row) for row in self.rows.values() if row[0] in mapping_ids]

    def release(self, tokens):
        for token in tokens:
            self.rows.pop(token, None)

    def beat(self, tokens):
        self.beats.append(tokens)


def hold(table, **options):
    return Locks(sleep=lambda _: None, **options).hold(table, "m", "customers.x")


def test_a_second_one_is_told_who_holds_the_lock_and_how_to_break_it():
    table = Table()
    with hold(table):
        match = rf"being synced by .* process {os.getpid()} since .*--break-lock"
        with pytest.raises(LockedError, match=match), hold(table):
            pass
        with hold(table, break_locks=True):
            pass
    assert table.rows == {}


def test_two_that_claim_at_once_withdraw_and_try_again():
    table = Table()
    table.claim({"m": "rival"}, "elsewhere process 1")
    table.rows["rival"][4] = 1
    tries = []

    def sleep(_):
        tries.append(1)
        if len(tries) == 2:
            table.release(["rival"])

    with Locks(sleep=sleep).hold(table, "m", "customers.x"):
        assert len(tries) == 2


def test_a_silent_lock_and_that_of_a_dead_process_expire():
    table = Table()
    table.claim({"m": "silent"}, "elsewhere process 1")
    table.rows["silent"][5] = EXPIRY_SECONDS
    with hold(table):
        own = next(iter(table.rows.values()))[2]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    table.claim({"m": "dead"}, own.replace(f"process {os.getpid()}", f"process {dead.pid}"))
    with hold(table):
        assert list(table.rows) != ["dead"]


def test_held_locks_are_kept_alive_and_a_missed_beat_is_no_end():
    table = Table()
    beaten = threading.Event()
    locks = Locks()

    def beat():
        locks.beat(table)
        beaten.set()

    with locks.hold(table, "m", "customers.x"), heartbeat(beat, every=0.01):
        assert beaten.wait(5)
    assert len(table.beats[0]) == 1


def test_unreleased_lock_does_not_block_its_process(shop, api, monkeypatch):
    def release(*_):
        raise WarehouseError("the connection is lost")

    shop.manifest(MAPPING)
    shop.table(ADA)
    with monkeypatch.context() as patch:
        patch.setattr(State, "release", release)
        assert dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True).success
    shop.table(ADA, BOB)
    assert dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True).success
    assert len(api.calls()) == 2
    assert shop.query("select token from segconn.locks") == []


def test_a_mapping_that_another_process_holds_is_an_error_and_the_lock_can_be_broken(shop):
    shop.manifest(MAPPING)
    shop.resync(ADA)
    import duckdb

    with duckdb.connect(str(shop.dir / "shop.duckdb")) as connection:
        (mapping_id,) = connection.execute("select mapping_id from segconn.syncs").fetchone()
        now = "now() at time zone 'UTC'"
        connection.execute(
            f"insert into segconn.locks select ?, 'other', 'far-away process 7', {now} - interval 1 minute, {now}",
            [mapping_id],
        )
    result = shop.segconn("run", "--all")
    assert result.exit_code == 1
    assert "is being synced by far-away process 7 since" in result.output
    assert shop.segconn("reset", "identify_customers", "--yes").exit_code == 1
    assert shop.segconn("run", "--all", "--break-lock").exit_code == 0
    assert shop.segconn("run", "--all").exit_code == 0
