"""DuckDB, in a file beside the project."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_files
import pytest


@dataclass
class DuckDB:
    """A DuckDB file; `output` goes into profiles.yml."""

    path: Path
    name = "duckdb"
    database = "shop"
    schema = "main"
    # No other process can open the file while one is at work on it
    shared = False
    alone = False
    state_schema = "segconn"
    settings: dict[str, str] = field(default_factory=lambda: {"TimeZone": "UTC"})

    @property
    def output(self) -> dict[str, Any]:
        return {"type": "duckdb", "path": str(self.path), "settings": self.settings, "threads": 4}

    @staticmethod
    def quote(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    @staticmethod
    def literal(value: str) -> str:
        """Return a text as SQL has it."""
        return "'" + value.replace("'", "''") + "'"

    def execute(self, sql: str) -> None:
        with open_files.connect(self.path) as connection:
            connection.execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with open_files.connect(self.path) as connection:
            return connection.execute(sql).fetchall()

    def set_time_zone(self, zone: str) -> None:
        """Set the time zone that every later session starts with: `output` has changed."""
        self.settings["TimeZone"] = zone


@pytest.fixture
def duckdb_file(tmp_path) -> DuckDB:
    return DuckDB(tmp_path / "shop.duckdb")
