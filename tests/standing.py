"""What tests stand on: a real dbt project on DuckDB, and a Tracking API that fails on demand."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import open_files
import orjson
import yaml
from click.testing import CliRunner
from forked import run_dbt
from hostile import Hostile
from leaks import SHOWING_CALLS, Watch, locals_of, watching

LATE_SECONDS = 0.5
PROGRAM = str(Path(sys.executable).parent / "dbt-segconn")
WRITE_KEY = "wk-3kLq9ZsecretX7"


class Api:
    """Keeps accepted calls by messageId; `faults` are taken first, one for each request.

    A fault is a status, a pair (status, headers), "reset" before the batch is taken, "lost" after it, "late": taken,
    too, and answered when nobody waits any more; or a Hostile answer.
    """

    def __init__(self) -> None:
        self.accepted: dict[str, dict[str, Any]] = {}
        self.received: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.tried: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.faults: list[Any] = []
        self.refuses = lambda _call: False
        self.delay = 0.0  # seconds that each answer takes, or until `released`
        self.released = threading.Event()
        self.clock_ahead = 0.0
        self.watch: Watch | None = None
        self.guard = threading.Lock()

    def answer(self, _path: str) -> tuple[int, bytes]:
        """Answer requests; send nothing."""
        return 404, b"{}"

    def take(self, raw: bytes, headers: dict[str, str]) -> Any:
        body = json.loads(raw)
        with self.guard:
            fault = self.faults.pop(0) if self.faults else 200
            self.sizes.append(len(raw))
            self.tried.append(body)
            self.headers.append(headers)
            self._tell(body, headers)
            if any(map(self.refuses, body["batch"])):
                fault = 400
            if fault in (200, "lost", "late") or (isinstance(fault, Hostile) and fault.status == 200):
                self.bodies.append(body)
                write_key = body.get("writeKey") or _user(headers["Authorization"])
                for call in body["batch"]:
                    self.received.append(call)
                    self.accepted.setdefault(call["messageId"], call)
                    self.note(call, write_key)
        return fault

    def note(self, call: dict[str, Any], write_key: str) -> None:
        """Called with each accepted call and the write key of its request."""

    def _tell(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        if self.watch:
            self.watch.use_authorization(headers.get("Authorization", ""))
            for call in body["batch"]:
                self.watch.use_call(call)

    def calls(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [call for call in self.accepted.values() if kind in (None, call["type"])]

    def arrived(self, trait: str) -> dict[str, list[Any]]:
        """Return a trait of the accepted calls by user, in the order in which they arrived."""
        values: dict[str, list[Any]] = {}
        for call in self.calls():
            values.setdefault(call["userId"], []).append(call["traits"][trait])
        return values

    def forget(self) -> None:
        self.accepted.clear()
        self.received.clear()
        self.bodies.clear()
        self.tried.clear()


def _user(authorization: str) -> str:
    return b64decode(authorization.removeprefix("Basic ")).decode().rstrip(":")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        fault = self.server.api.take(raw, dict(self.headers))
        self.server.api.released.wait(LATE_SECONDS if fault == "late" else self.server.api.delay)
        if isinstance(fault, (str, Hostile)):
            self.close_connection = True
            if isinstance(fault, Hostile):
                fault.write(self.connection, self.server.api.released)
            self.connection.close()
            return
        answer = fault if isinstance(fault, tuple) else (fault, {})
        status, headers, body = (*answer, b"{}")[:3]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        status, body = self.server.api.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.server.api.clock_ahead)

    def log_message(self, *_: Any) -> None: ...

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True


@contextmanager
def serving(api: Api):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.api = api
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


MAPPING = {
    "name": "identify_customers",
    "action": "identify",
    "fields": {"user_id": "$customer_id", "traits": {"email": "$email", "plan": "$plan"}},
}


@dataclass
class Result:
    exit_code: int
    output: str
    exception: BaseException | None = None
    stdout: str = ""

    def artifact(self, project: Path) -> dict[str, Any]:
        return json.loads((project / "target/segconn/run_results.json").read_text())


@dataclass
class Shop:
    """A dbt project with one model, `customers`, whose rows and mappings a test sets."""

    dir: Path
    endpoint: str
    columns: tuple[str, ...] = ("customer_id", "email", "plan")
    types: dict[str, str] = field(default_factory=dict)  # of columns that hold no text
    state: dict[str, str] = field(default_factory=dict)
    more_settings: dict[str, Any] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch, repr=False)
    parsed: Callable[[], bytes] = bytes

    def settings(self, **app: Any) -> None:
        destination = {
            "write_key": "{{ env_var('WK') }}",
            "endpoint": self.endpoint,
            "events_per_second": "unlimited",
        }
        settings = {"destinations": {"app": {**destination, **app}}, "state": self.state, **self.more_settings}
        self.write("segconn.yml", settings)

    def write(self, name: str, content: Any) -> None:
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))

    def rows(self, *rows: tuple[Any, ...]) -> None:
        for row in rows:
            self.watch.use_row(self.columns, row)

        def literal(value: Any) -> str:
            return "null" if value is None else str(value) if isinstance(value, (int, float)) else f"'{value}'"

        values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
        names = ", ".join(self.columns)
        empty = ", ".join(f"cast(null as {{{{ dbt.type_string() }}}}) as {name}" for name in self.columns)
        sql = f"select * from (values {values}) as t({names})" if rows else f"select {empty} where false"
        self.write("models/customers.sql", sql)

    def mappings(self, *mappings: dict[str, Any], tests: bool = True, **meta: Any) -> None:
        self.watch.identify_by(meta.get("unique_identifier"))
        model: dict[str, Any] = {
            "name": "customers",
            "config": {"meta": {"segconn": {"unique_identifier": "customer_id", **meta, "mappings": list(mappings)}}},
        }
        if tests:
            model["columns"] = [{"name": "customer_id", "data_tests": ["unique", "not_null"]}]
        self.write("models/customers.yml", {"models": [model]})

    def manifest(self, *mappings: dict[str, Any], **meta: Any) -> None:
        """Put mappings into a manifest that dbt has written, as dbt would: saves some seconds of parsing."""
        self.mappings(*mappings, **meta)
        path = self.dir / "target/manifest.json"
        if not path.exists():
            path.parent.mkdir()
            path.write_bytes(self.parsed())
        manifest = orjson.loads(path.read_bytes())
        node = manifest["nodes"]["model.shop.customers"]
        node["config"]["meta"] = {"segconn": {"unique_identifier": "customer_id", **meta, "mappings": list(mappings)}}
        path.write_bytes(orjson.dumps(manifest))

    def document(self, types: dict[str, str]) -> None:
        """Put the data types of columns into the manifest, as the model's YAML would."""
        path = self.dir / "target/manifest.json"
        manifest = json.loads(path.read_bytes())
        manifest["nodes"]["model.shop.customers"]["columns"] = {
            name: {"name": name, "data_type": data_type, "description": "", "constraints": []}
            for name, data_type in types.items()
        }
        path.write_text(json.dumps(manifest))

    def table(self, *rows: tuple[Any, ...], name: str = "main.customers") -> None:
        """Make the model's table hold these rows, as dbt would."""
        with self.connect() as connection:
            self._fill(connection, rows, name)

    def _fill(self, connection: Any, rows: Sequence[tuple[Any, ...]], name: str = "main.customers") -> None:
        for row in rows:
            self.watch.use_row(self.columns, row)
        columns = ", ".join(f"{column} {self.types.get(column, 'varchar')}" for column in self.columns)
        connection.execute(f"create or replace table {name} ({columns})")
        if rows:
            connection.executemany(f"insert into {name} values ({', '.join('?' * len(self.columns))})", rows)

    def many(self, count: int) -> None:
        """Make the model's table hold `count` customers: c0, c1, …"""
        with self.connect() as connection:
            connection.execute(
                "create or replace table main.customers as "
                f"select 'c' || i as customer_id, 'x' || i as email, 'pro' as plan from range({count}) t(i)"
            )

    def connect(self) -> Any:
        """Open the warehouse beside dbt-segconn."""
        return open_files.connect(self.dir / "shop.duckdb")

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return what the warehouse answers, a row each."""
        with self.connect() as connection:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def resync(self, *rows: tuple[Any, ...], options: tuple[str, ...] = ()) -> Result:
        """Sync a table of these rows, with the mappings that `manifest` has set; saves dbt's own run."""
        self.table(*rows)
        return self.segconn("run", "--all", *options)

    def dbt(self, *arguments: str) -> None:
        """Run dbt in a process of its own; whether it succeeds is the test's affair."""
        run_dbt(self.dir, *arguments, "--quiet", "--profiles-dir", str(self.dir))

    def parse(self, kept: dict[str, bytes]) -> None:
        """Let dbt parse the project, once for all tests that share `kept` and write the same project."""
        path = self.dir / "target/manifest.json"
        if "manifest" not in kept:
            self.dbt("parse")
            kept["manifest"] = path.read_bytes()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(kept["manifest"])

    def segconn(self, *arguments: str) -> Result:
        from dbt_segconn.commands import main

        result = CliRunner().invoke(main, [*arguments, "--project-dir", str(self.dir)])
        shows_calls = not SHOWING_CALLS.isdisjoint(arguments)
        self.watch.saw(f"the output of {' '.join(arguments)}", result.output, may_hold_payload=shows_calls)
        for text in locals_of(result.exception):
            self.watch.saw(f"a traceback of {' '.join(arguments)}", text, may_hold_payload=True)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.output, stdout=result.stdout)

    def sync(self, *rows: tuple[Any, ...]) -> Result:
        """Give the model these rows, run dbt, run dbt-segconn."""
        self.rows(*rows)
        self.dbt("run")
        return self.segconn("run")


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


ADA, BOB, EVE = (
    ("c1", "ada@example.com", "pro"),
    ("c2", "bob@example.com", "free"),
    ("c3", "eve@example.com", "team"),
)


DUCKDB = {"type": "duckdb", "path": "shop.duckdb"}


def new_shop(folder: Path, endpoint: str, output: dict[str, Any] = DUCKDB) -> Shop:
    """Write a dbt project with its profile, settings and one mapping; `output` says in which warehouse."""
    shop = Shop(folder / "shop", endpoint)
    shop.write(
        "dbt_project.yml",
        {
            "name": "shop",
            "profile": "shop",
            "flags": {"send_anonymous_usage_stats": False},
            "models": {"+materialized": "table"},
        },
    )
    shop.write(
        "profiles.yml",
        {"shop": {"target": "dev", "outputs": {"dev": output}}},
    )
    shop.settings()
    shop.mappings(MAPPING)
    return shop


@contextmanager
def watched(shop: Shop, api: Api):
    """Look for leaks in all that a test leaves behind, then remove its project."""
    api.watch = shop.watch
    shop.watch.use_key(WRITE_KEY)
    with watching(shop.watch):
        yield
    leaks = shop.watch.leaks(shop.dir)
    open_files.close()
    assert leaks == [], leaks
    shutil.rmtree(shop.dir, ignore_errors=True)
