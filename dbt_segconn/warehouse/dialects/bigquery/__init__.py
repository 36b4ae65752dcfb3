"""BigQuery, whose connections have no cursors."""

from __future__ import annotations

from typing import Any

from dbt_segconn.warehouse.dialect import Dialect


def _fetch(connections: Any, sql: str) -> list[tuple[Any, ...]]:
    _, rows = connections.raw_execute_with_comment(sql)
    return [tuple(row.values()) for row in rows]


def _data_type(column: Any) -> str:
    """Name a type with what arrays and structs hold."""
    data_type: str = column.data_type
    return data_type


DIALECT = Dialect(value_types={"timestamp": "timestamptz"}, data_type=_data_type, fetch=_fetch)
