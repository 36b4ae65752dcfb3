"""Spark behind its Thrift server, which the package pyspark contains: several processes can connect."""

from __future__ import annotations

import logging
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from standing import wait_for
from warehouses.spark_session import Spark

SERVER = "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"
START_SECONDS = 900  # of a machine that is busy


@dataclass(frozen=True)
class SparkServer(Spark):
    """One schema of the server; `output` goes into profiles.yml."""

    port: int = 0
    # Others can look into the warehouse while a process is at work on it
    shared = True
    alone = False

    @property
    def output(self) -> dict[str, Any]:
        return {
            "type": "spark",
            "method": "thrift",
            "host": "127.0.0.1",
            "port": self.port,
            "user": "test",
            "schema": self.schema,
            "threads": 2,
            "poll_interval": 0,  # the server itself waits for the end of a statement
        }

    def execute(self, sql: str) -> None:
        with self.connect() as connection:
            connection.cursor().execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            return cursor.fetchall()

    def connect(self) -> Any:
        """Open a connection of its own, and with it a session."""
        from pyhive import hive

        return closing(hive.connect("127.0.0.1", self.port, username="test"))


@contextmanager
def started(folder: Path) -> Iterator[int]:
    """Start a server that listens on this machine alone; yield its port, and stop it at the end."""
    import pyspark

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    parameters = Spark(folder, "default").parameters
    hive = {"hive.server2.thrift.bind.host": "127.0.0.1", "hive.server2.thrift.port": port}
    command = [
        *(Path(pyspark.__file__).parent / "bin/spark-submit", "--class", SERVER),
        *(word for name, value in parameters.items() for word in ("--conf", f"{name}={value}")),
        "spark-internal",
        *(word for name, value in hive.items() for word in ("--hiveconf", f"{name}={value}")),
    ]
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: process.poll() is not None or listens(port), START_SECONDS)
        assert process.poll() is None, log.read_text()
        yield port
    finally:
        process.terminate()
        process.wait(60)


def listens(port: int) -> bool:
    """Return whether a server accepts connections at a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="session")
def spark_server(tmp_path_factory, spark_java) -> Iterator[SparkServer]:
    # its log repeats the SQL with which the tests fill tables
    logging.getLogger("pyhive").setLevel(logging.WARNING)
    folder = tmp_path_factory.mktemp("spark_server")
    with started(folder) as port:
        yield SparkServer(folder, "default", port)


@pytest.fixture
def spark_thrift(spark_server) -> SparkServer:
    """Return a schema of one's own."""
    server = SparkServer(spark_server.folder, f"shop_{uuid.uuid4().hex[:12]}", spark_server.port)
    server.execute(f"create schema {server.schema}")
    return server
