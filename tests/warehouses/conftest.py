"""Fixtures: one shop, in each of the warehouses in turn."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from standing import ADA, MAPPING, PROGRAM, WRITE_KEY, Result, Shop, new_shop, watched
from warehouses.bigquery_fake import bigquery_fake, bigquery_server  # noqa: F401
from warehouses.duckdb_file import duckdb_file  # noqa: F401
from warehouses.redshift_fake import redshift_fake  # noqa: F401
from warehouses.snowflake_fake import snowflake_fake, snowflake_server  # noqa: F401
from warehouses.spark_session import spark_folder, spark_java, spark_session  # noqa: F401
from warehouses.spark_thrift import spark_server, spark_thrift  # noqa: F401

# A database of its own for each test: the manifest names this one until it is used
PARSED_DATABASE, PARSED_SCHEMA = "database_of_the_test", "schema_of_the_test"


@dataclass
class House(Shop):
    """A shop whose table can be set without dbt, which saves seconds."""

    warehouse: Any = None

    def fill(self, *rows: tuple[Any, ...]) -> None:
        """Give the model these rows, as dbt would; a value is text or None."""
        self.make(
            ", ".join(f"{name} varchar(200)" for name in self.columns),
            *(", ".join("null" if value is None else self.warehouse.literal(value) for value in row) for row in rows),
        )

    def make(self, columns: str, *rows: str) -> None:
        """Make the model a table of these columns with these rows, both in SQL."""
        name = f"{self.warehouse.schema}.customers"
        statements = [f"drop table if exists {name}", f"create table {name} ({columns})"]
        for at in range(0, len(rows), 2000):
            values = ", ".join(f"({row})" for row in rows[at : at + 2000])
            statements.append(f"insert into {name} values {values}")
        if self.warehouse.name in {"duckdb", "postgres"}:
            statements = ["; ".join(statements)]
        for statement in statements:
            self.warehouse.execute(statement)

    def dbt(self, *arguments: str) -> None:
        if not self.warehouse.alone:
            super().dbt(*arguments)
            return
        from dbt.cli.main import dbtRunner

        dbtRunner().invoke([*arguments, "--quiet", "--profiles-dir", str(self.dir), "--project-dir", str(self.dir)])

    def run(self, *arguments: str) -> Result:
        return self.segconn("run", "--all", *arguments)

    def synced(self, *rows: tuple[Any, ...]) -> Result:
        """Give the model these rows, run dbt-segconn."""
        self.fill(*rows)
        return self.run()

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run dbt-segconn in a process of its own, which is killed in the end."""
        process = subprocess.Popen([PROGRAM, "run", "--all", "--project-dir", str(self.dir)], stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def counts(self) -> dict[str, int]:
        """Return the result of the one mapping in the artifact of the last run."""
        artifact = json.loads((self.dir / "target/segconn/run_results.json").read_text())
        return artifact["results"][0]["counts"]


@pytest.fixture(params=os.environ.get("SEGCONN_WAREHOUSES", "duckdb_file postgres").split())
def warehouse(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def manifests(tmp_path_factory):
    """The manifests that dbt has written for the shop, by adapter."""
    kept: dict[str, str] = {}

    def manifest(warehouse) -> str:
        if warehouse.name not in kept:
            plain = new_shop(
                tmp_path_factory.mktemp(f"parsed_{warehouse.name}"), "http://127.0.0.1:9", warehouse.output
            )
            shop = House(plain.dir, plain.endpoint, warehouse=warehouse)
            shop.rows(ADA)
            shop.dbt("parse")
            manifest = json.loads((shop.dir / "target/manifest.json").read_text())
            node = manifest["nodes"]["model.shop.customers"]
            text = json.dumps(manifest)
            for own, name in ((node["database"], PARSED_DATABASE), (node["schema"], PARSED_SCHEMA)):
                # quotes of JSON, and of the names of relations in it; Spark's relations have none
                for mark in ('"{}"', '\\"{}\\"', "`{}`", '"{}.customers'):
                    text = text.replace(mark.format(own), mark.format(name)) if own else text
            kept[warehouse.name] = text
        return kept[warehouse.name]

    return manifest


@pytest.fixture
def shop(tmp_path, api, monkeypatch, manifests, warehouse):
    monkeypatch.setenv("WK", WRITE_KEY)
    plain = new_shop(tmp_path, api.url, warehouse.output)
    shop = House(plain.dir, plain.endpoint, warehouse=warehouse)
    monkeypatch.chdir(shop.dir)
    shop.parsed = lambda: (
        manifests(warehouse)
        .replace(PARSED_DATABASE, warehouse.database)
        .replace(PARSED_SCHEMA, warehouse.schema)
        .encode()
    )
    shop.state = {"schema": warehouse.state_schema}
    shop.settings()
    shop.manifest(MAPPING)
    with watched(shop, api):
        yield shop
