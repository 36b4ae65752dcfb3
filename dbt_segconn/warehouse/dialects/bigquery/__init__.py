"""BigQuery. Its connections have no cursors."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from dbt_segconn.warehouse.dialect import Dialect


def _fetch(connections: Any, sql: str) -> list[tuple[Any, ...]]:
    _, rows = connections.raw_execute_with_comment(sql)
    return [tuple(row.values()) for row in rows]


def _data_type(column: Any) -> str:
    """Return a data type with its element types. Names of fields are quoted: they may have blanks and commas."""
    if not column.fields:
        data_type: str = column.data_type
        return data_type
    fields = ", ".join(f"`{one.name}` {_data_type(one)}" for one in column.fields)
    return f"ARRAY<STRUCT<{fields}>>" if column.mode == "REPEATED" else f"STRUCT<{fields}>"


def _create_schema(adapter: Any, relation: Any, beside: Any) -> None:
    """Create a dataset in the location of a model. Without a location, BigQuery would create it in the US."""
    connection = adapter.connections.get_thread_connection()
    if beside is None or connection.credentials.location:
        adapter.create_schema(relation)
        return
    with adapter.connections.exception_handler("create dataset"):
        bigquery = import_module("google.cloud.bigquery")
        dataset = bigquery.Dataset(f"{relation.database}.{relation.schema}")
        dataset.location = connection.handle.get_dataset(f"{beside.database}.{beside.schema}").location
        connection.handle.create_dataset(dataset, exists_ok=True)


DIALECT = Dialect(
    value_types={"timestamp": "timestamptz"},
    lineage_namespace=lambda _: "bigquery",
    data_type=_data_type,
    create_schema=_create_schema,
    fetch=_fetch,
    # Errors of statements have no other class; some quote values of rows
    row_errors=frozenset({"BadRequest"}),
    commits_together=False,
    # https://cloud.google.com/bigquery/docs/data-manipulation-language#dml_statement_conflicts
    # https://cloud.google.com/bigquery/docs/troubleshoot-quotas: statements that a full queue or a rate has refused
    conflict=re.compile(
        r"could not serialize access to table|too many dml statements outstanding"
        r"|number of dml jobs writing to a table|exceeded rate limits",
        re.IGNORECASE,
    ),
)
