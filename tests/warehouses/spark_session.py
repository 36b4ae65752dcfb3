"""Spark, in the process of the tests: its metastore can be opened by one process alone."""

from __future__ import annotations

import logging
import shutil
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


@pytest.fixture(scope="session")
def spark_folder(tmp_path_factory) -> Iterator[Path]:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 on the PATH: apt-get install openjdk-17-jre-headless")
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
