"""A warehouse that cannot be opened ends a command with exit code 2, and says how to open it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from standing import ADA, MAPPING


@pytest.fixture
def locked(shop):
    """Hold the file of the warehouse open in another process; return its number."""
    shop.manifest(MAPPING)
    shop.table(ADA)
    hold = f"import duckdb, time; held = duckdb.connect(r'{shop.dir}/shop.duckdb'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.kill()
    shop.connect().close()  # is free again


def test_locked_duckdb_file_names_the_process_to_close(shop, locked):
    for command in (
        ("run", "--all"),
        ("preview",),
        ("status",),
        ("estimate",),
        ("reset", "--yes", "customers"),
    ):
        result = shop.segconn(*command)
        assert result.exit_code == 2, (command, result.output)
    result = shop.segconn("run", "--all")
    assert f"shop.duckdb) cannot be opened: process {locked} (python" in result.output
    assert "Close that process" in result.output
    assert f"process {locked}" in shop.segconn("debug").output


def test_file_that_is_no_database_is_named(shop):
    shop.manifest(MAPPING)
    shop.write("shop.duckdb", "no database\n" * 1000)
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert "cannot be opened: the warehouse says: " in result.output
    (shop.dir / "shop.duckdb").unlink()
