"""BigQuery's SQL, through its own client, on a server of local-bigquery, which runs it on DuckDB."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PROJECT = "shop"


@dataclass(frozen=True)
class BigQuery:
    """One dataset of the server; `output` goes into profiles.yml."""

    endpoint: str
    schema: str
    options: dict[str, Any] = field(default_factory=lambda: {"location": "US"})
    name = "bigquery"
    database = PROJECT
    shared = True
    alone = False
    storage = ""

    @property
    def output(self) -> dict[str, Any]:
        return {
            "type": "bigquery",
            "method": "oauth-secrets",
            "token": "none",
            "api_endpoint": self.endpoint,
            "project": PROJECT,
            "schema": self.schema,
            "threads": 4,
            "job_retries": 0,
            **self.options,
        }

    @property
    def state_schema(self) -> str:
        return f"{self.schema}_state"

    @staticmethod
    def quote(name: str) -> str:
        return f"`{name}`"

    @staticmethod
    def literal(value: str) -> str:
        """Return a text as SQL has it."""
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    @property
    def client(self) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        return bigquery.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": self.endpoint})

    def execute(self, sql: str) -> None:
        """Run a statement with types in the words of PostgreSQL."""
        self.query(re.sub(r"\b(varchar\(\d+\)|text\b|uuid\b)", "string", sql.replace("double precision", "float64")))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.client) as client:
            return [tuple(row.values()) for row in client.query(sql).result()]


# Instead of the macros that need the extension "spatial", which PyPI does not have
GEOGRAPHY = "create macro bq.main.st_astext(place) as cast(place as varchar)"


def _opened(folder: Path) -> Callable[[], Any]:
    """Return how the server opens its database: a file of DuckDB, because PyPI has no extension "ducklake"."""
    import duckdb

    database = import_module("local_bigquery.engine.database")
    connection = duckdb.connect()
    connection.execute("set global TimeZone = 'UTC'")
    connection.execute(f"attach '{folder / 'emulator.duckdb'}' as emulator")
    connection.execute(database.EMULATOR_SCHEMA)
    connection.execute("attach ':memory:' as bq")
    database.native.register(connection)
    for path in database.FUNCTIONS:
        macros = GEOGRAPHY if path.stem == "geography" else path.read_text()
        connection.execute(macros if macros is GEOGRAPHY else database.MACRO.sub(r"create macro bq.main.\1", macros))
    connection.execute(f"attach '{folder / 'shop.duckdb'}' as {PROJECT}")
    return lambda: connection


def _with_destination(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Name the table that `create table as` has made, as BigQuery does: dbt asks for its size."""

    def executed(*arguments: Any, **named: Any) -> Any:
        statistics, children, destination = execute(*arguments, **named)
        has_made = statistics.statementType == "CREATE_TABLE_AS_SELECT"
        return statistics, children, destination or (statistics.ddlTargetTable if has_made else None)

    return executed


@contextmanager
def serving_bigquery(folder: Path) -> Iterator[str]:
    """Start a server on loopback, which keeps its database in a folder. Yield its address."""
    import uvicorn

    app, database, query = map(
        import_module, ("local_bigquery.app", "local_bigquery.engine.database", "local_bigquery.jobs.query")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "connection", _opened(folder))
        patch.setattr(database, "attach", lambda _project: None)
        patch.setattr(query, "execute", _with_destination(query.execute))
        server = uvicorn.Server(uvicorn.Config(app.app, host="127.0.0.1", port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory) -> Iterator[str]:
    with serving_bigquery(tmp_path_factory.mktemp("bigquery")) as endpoint:
        yield endpoint


@pytest.fixture
def bigquery_fake(bigquery_server) -> BigQuery:
    one = BigQuery(bigquery_server, f"shop_{uuid.uuid4().hex[:12]}")
    one.execute(f"create schema {one.schema}")
    return one
