"""Snowflake's SQL, through its own driver, on a server of fakesnow, which runs it on DuckDB."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest


@dataclass(frozen=True)
class Snowflake:
    """One database of the server; `output` goes into profiles.yml."""

    connection: dict[str, Any]
    database: str
    name = "snowflake"
    schema = "PUBLIC"
    shared = True
    alone = False
    storage = ""
    state_schema = "segconn"

    @property
    def output(self) -> dict[str, Any]:
        given = ("account", "user", "password", "host", "port", "protocol")
        return {
            "type": "snowflake",
            **{name: self.connection[name] for name in given},
            "database": self.database,
            "schema": self.schema,
            "warehouse": "test",
            "role": "test",
            "threads": 4,
        }

    @staticmethod
    def quote(name: str) -> str:
        return f'"{name}"'

    @staticmethod
    def literal(value: str) -> str:
        """Return a text as SQL has it."""
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

    def execute(self, sql: str) -> None:
        self._run(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self._run(sql)

    def _run(self, sql: str) -> Any:
        import snowflake.connector

        given = {**self.connection, "database": self.database, "schema": self.schema}
        with closing(snowflake.connector.connect(**given)) as connection:
            return connection.cursor().execute(sql).fetchall()


# fakesnow knows no time zone but UTC, and none can be set
ALREADY_SO = [r"(?is).*alter session set timezone = 'UTC'"]


def _keep_nulls(times: Any, struct: Any) -> Any:
    """Correct fakesnow's text of a null timestamp, which is 1970."""
    import pyarrow as pa

    fields = [struct.field(at) for at in range(struct.type.num_fields)]
    return pa.StructArray.from_arrays(fields, fields=list(struct.type), mask=times.combine_chunks().is_null())


@pytest.fixture(scope="session")
def snowflake_server() -> Iterator[dict[str, Any]]:
    """Start a server on loopback."""
    from fakesnow import server as start  # a function, until the module of that name is imported

    serving, arrow = map(import_module, ("fakesnow.server", "fakesnow.arrow"))
    to_struct = arrow.timestamp_to_sf_struct
    connect = serving.shared_fs.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            serving.shared_fs,
            "connect",
            lambda *names, **given: connect(*names, **{**given, "nop_regexes": ALREADY_SO}),
        )
        patch.setattr(arrow, "timestamp_to_sf_struct", lambda times: _keep_nulls(times, to_struct(times)))
        with start() as connection:
            yield connection


@pytest.fixture
def snowflake_fake(snowflake_server) -> Snowflake:
    return Snowflake(snowflake_server, f"SHOP_{uuid.uuid4().hex[:12]}".upper())
