"""BigQuery. Its connections have no cursors."""

from __future__ import annotations

from typing import Any

from dbt_segconn.warehouse.dialect import Dialect


def _fetch(connections: Any, sql: str) -> list[tuple[Any, ...]]:
    _, rows = connections.raw_execute_with_comment(sql)
    return [tuple(row.values()) for row in rows]


def _data_type(column: Any) -> str:
    """Return a data type with the element types of arrays and structs."""
    data_type: str = column.data_type
    return data_type


DIALECT = Dialect(value_types={"timestamp": "timestamptz"}, data_type=_data_type, fetch=_fetch)
