"""What a mapping costs that has nothing to send: CPU and statements of a run over many small, unchanged models.

usage: tests/run.sh --version                                  (makes .venv)
       .venv/bin/python tests/bench/idle.py [--mappings N] [--rows N] [--rounds N] [--on duckdb postgres]
Medians of all rounds. CPU is that of the process, without the server of PostgreSQL: it hardly depends on what else the
machine does. A run of one mapping is measured beside it, so that the difference is what a further mapping costs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compare import DBT, FOLDER, PROGRAM, Table, measure, postgres_server

# Counts what dbt's adapter sends during a run: statements, and transactions that were committed
COUNTED = """
import collections, dbt_segconn
from dbt.adapters.sql.connections import SQLConnectionManager as Connections
counts = collections.Counter()
def counted(name):
    original = getattr(Connections, name)
    def call(self, *arguments, **named):
        counts[name] += 1
        return original(self, *arguments, **named)
    setattr(Connections, name, call)
counted("add_query")
counted("commit")
result = dbt_segconn.run(all=True)
assert result.success and not any(one.counts["to_send"] for one in result.results), result
print(counts["add_query"], counts["commit"])
"""


def build(name: str, output: dict[str, Any], mappings: int, rows: int) -> Any:
    """Make a project with this number of models, each with `rows` rows and one mapping, and remember all records."""
    folder = FOLDER / f"idle_{name}_{mappings}"
    shutil.rmtree(folder, ignore_errors=True)
    target = {**output, "schema": f"idle_{mappings}"}
    if name == "duckdb":
        target["path"] = str(folder / "shop.duckdb")
    traits = {"email": "$email", "plan": "$plan"}
    models = [
        {
            "name": f"m{number}",
            "config": {
                "meta": {
                    "segconn": {
                        "unique_identifier": "id",
                        "mappings": [
                            {"name": "users", "action": "identify", "fields": {"user_id": "$id", "traits": traits}}
                        ],
                    }
                }
            },
        }
        for number in range(mappings)
    ]
    files = {
        "dbt_project.yml": {"name": "shop", "profile": "shop", "version": "1.0.0"},
        "profiles.yml": {"shop": {"target": "bench", "outputs": {"bench": target}}},
        "segconn.yml": {
            "destinations": {"app": {"write_key": "wk", "endpoint": "http://127.0.0.1:9"}},
            "state": {"schema": f"segconn_{mappings}"},
        },
        "models/models.yml": {"models": models},
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))  # JSON is YAML
    series = f"range({rows}) as numbers(id)" if name == "duckdb" else f"generate_series(1, {rows}) as numbers(id)"
    select = f"select id, 'user' || id || '@example.com' as email, 'plan' || (id % 3) as plan from {series}"
    for number in range(mappings):
        (folder / f"models/m{number}.sql").write_text(f"{{{{ config(materialized='table') }}}} {select}")
    measure(DBT, "build", "--quiet", folder=folder)
    measure(sys.executable, "-c", "import dbt_segconn; dbt_segconn.run(all=True, baseline=True)", folder=folder)
    return folder


@contextmanager
def duckdb() -> Iterator[dict[str, Any]]:
    """Yield a dbt output for a file; `build` adds its path."""
    yield {"type": "duckdb", "threads": 2}


def main() -> None:
    """Measure a run of one mapping and one of many, in each warehouse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mappings", type=int, default=300)
    parser.add_argument("--rows", type=int, default=100, help="of each model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--on", nargs="+", choices=("duckdb", "postgres"), default=["duckdb", "postgres"])
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    os.environ["DO_NOT_TRACK"] = "1"
    for name in given.on:
        with {"duckdb": duckdb, "postgres": postgres_server}[name]() as output:
            _measured(name, output, given)


def _measured(name: str, output: dict[str, Any], given: argparse.Namespace) -> None:
    table = Table(f"{given.mappings} mappings on {name} with nothing to send, each over {given.rows:,} records")
    one, many = (build(name, output, count, given.rows) for count in (1, given.mappings))
    for _ in range(given.rounds):
        single, process = (measure(PROGRAM, "run", "--all", folder=folder) for folder in (one, many))
        each = 1000 * (process.cpu - single.cpu) / (given.mappings - 1)
        table.add("dbt-segconn run", seconds=process.seconds, cpu_s=process.cpu, of_one_cpu_s=single.cpu, each_ms=each)
    sent = [_sent(folder) for folder in (one, many)]
    of_each = [(more - few) / (given.mappings - 1) for few, more in zip(*sent, strict=True)]
    table.show(f"A further mapping takes {of_each[0]:.2f} statements and {of_each[1]:.2f} transactions.")


def _sent(folder: Any) -> list[int]:
    """Return how many statements and transactions a run takes."""
    process = measure(sys.executable, "-c", COUNTED, folder=folder)
    return [int(word) for word in process.output.splitlines()[-1].split()]


if __name__ == "__main__":
    main()
