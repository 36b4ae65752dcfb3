"""The differences between warehouses, and the list of supported ones.

Each warehouse is a folder of `dialects/` with the name of its dbt adapter. No other code depends on the warehouse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError

FOLDERS = Path(__file__).with_name("dialects")


def _nothing(*_: Any) -> None:
    """Return None: the default of functions that return an optional reason."""


def _no_context(*_: Any) -> AbstractContextManager[Any]:
    return nullcontext()


def _database_and_host(credentials: Any) -> str:
    where = getattr(credentials, "host", None) or getattr(credentials, "account", None)
    return f"{credentials.type} database {credentials.database}{f' on {where}' if where else ''}"


def _host_and_port(credentials: Any) -> str:
    return f"{credentials.type}://{credentials.host}:{credentials.port}"


def _by_cursor(connections: Any, sql: str) -> list[tuple[Any, ...]]:
    _, cursor = connections.add_query(sql, auto_begin=False)
    return list(cursor.fetchall())


def _create_schema(adapter: Any, relation: Any, _beside: Any) -> None:
    adapter.create_schema(relation)


def _type_with_precision(column: Any) -> str:
    data_type: str = column.data_type if column.is_numeric() else column.dtype
    return data_type


@dataclass(frozen=True, slots=True)
class Dialect:
    """The properties of one warehouse for Python code; its SQL macros are in the same folder. Defaults fit most.

    Functions take objects of dbt: the `credentials` of a target, or the `connections` (connection manager) of an
    adapter.
    """

    # Why the warehouse is not supported, and what to use instead
    unsupported: str | None = None

    # Data type in lower case → value type, for names with another meaning than in `source.py`
    value_types: Mapping[str, str] = field(default_factory=dict)
    # Data type in lower case that has no JSON value → what to select instead
    refused: Mapping[str, str] = field(default_factory=dict)
    # Column of dbt → data type, with the precision of numbers
    data_type: Callable[[Any], str] = _type_with_precision

    # Credentials → the place of the database for messages, without secrets
    place: Callable[[Any], str] = _database_and_host
    # Keys of credentials that identify a place, besides dbt's `unique_field`
    place_keys: tuple[str, ...] = ("host", "port", "account", "project", "catalog", "http_path", "database")
    # Credentials → the namespace of its tables in OpenLineage, as `dbt-ol` names it
    lineage_namespace: Callable[[Any], str] = _host_and_port
    # Credentials → why only one process can open the warehouse; None if several can
    only_one_process: Callable[[Any], str | None] = _nothing
    # Adjusts credentials before use
    prepare: Callable[[Any], None] = _nothing
    # Adjusts the adapter before use
    adjust: Callable[[Any], None] = _nothing
    # Credentials, target name, database of the state → raises ConfigurationError if state would be lost
    check_place: Callable[[Any, str, str | None], None] = _nothing

    # Adapter, relation → creates its schema, in the same region as another relation if that is not None
    create_schema: Callable[[Any, Any, Any], None] = _create_schema
    # Whether records have fingerprints: hashes of their values that are faster than checksums
    fingerprints: bool = False

    # Connections, a query → its rows
    fetch: Callable[[Any, str], list[tuple[Any, ...]]] = _by_cursor
    # Connections, a statement → a context manager for its execution, such as a lock
    execution: Callable[[Any, str], AbstractContextManager[Any]] = _no_context
    # Closes resources that dbt leaves open
    close: Callable[[Any], None] = _nothing

    # Connection error of the driver → a clearer explanation; None to keep the driver's text
    explain_open_error: Callable[[str], str | None] = _nothing
    # Texts of errors for a missing right; warehouses have no common error code
    denied: re.Pattern[str] = re.compile(
        r"permission[ _]denied|insufficient[ _](privilege|permission)|not authorized|access denied|accessdenied"
        r"|must be owner|does not have .*(permission|privilege)",
        re.IGNORECASE,
    )
    # Error classes of the driver that may quote values of rows. The default is from DB-API 2.0 (PEP 249)
    row_errors: frozenset[str] = frozenset({"DataError", "IntegrityError"})
    # Classes of SQLSTATEs whose messages may quote values of rows: data exceptions and violated constraints
    # https://www.postgresql.org/docs/current/errcodes-appendix.html
    row_states: tuple[str, ...] = ("22", "23")
    # Texts of errors after which the warehouse has rolled the transaction back, and a repetition may succeed
    conflict: re.Pattern[str] | None = None
    # Whether statements are committed together; otherwise each is a transaction of its own
    commits_together: bool = True
    # Whether a query needs no transaction around it
    reads_alone: bool = False
    # Attributes with the SQLSTATE of the driver's errors
    sqlstates: tuple[str, ...] = ("sqlstate", "pgcode", "getSqlState")


_TSQL = "T-SQL has no `limit`, no boolean values, and no md5 that returns text"
# Adapter without a folder → what is missing
_MISSING = {
    "sqlserver": _TSQL,
    "fabric": _TSQL,
    "synapse": _TSQL,
    "clickhouse": "its deletes are applied later, and a left join fills missing columns with zeros instead of nulls",
    "trino": "md5 takes bytes only, and most of its connectors cannot delete rows",
    "athena": "md5 takes bytes only, and only its Iceberg tables can delete rows",
}


@cache
def known_dialect(adapter_type: str) -> Dialect | None:
    """Return the dialect of a dbt adapter by its name; None if it has no folder."""
    if adapter_type not in _folders():
        return None
    dialect: Dialect = import_module(f"dbt_segconn.warehouse.dialects.{adapter_type}").DIALECT
    return dialect


def find_dialect(adapter_type: str) -> Dialect:
    """Return the dialect of a dbt adapter. Raises ConfigurationError if the warehouse is not supported."""
    dialect = known_dialect(adapter_type)
    if dialect is None:
        supported = [name for name in _folders() if (one := known_dialect(name)) and not one.unsupported]
        raise ConfigurationError(
            f"the adapter {adapter_type} is not supported: "
            f"{_MISSING.get(adapter_type, 'values and checksums need SQL in its dialect')}. "
            f"Supported are {', '.join(supported[:-1])} and {supported[-1]}. To add one, see "
            f"{FOLDERS.parent.name}/{FOLDERS.name}/__init__.py."
        )
    if dialect.unsupported:
        raise ConfigurationError(dialect.unsupported)
    return dialect


@cache
def _folders() -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in FOLDERS.glob("*/__init__.py")))


def place_of(credentials: Any) -> str:
    """Return the place of a target for messages, without secrets."""
    return _dialect_of(credentials).place(credentials)


def same_place(one: Any, other: Any) -> bool:
    """Return whether two credentials have the same place and schema. Other keys, such as roles, may differ."""
    if (one.type, one.unique_field, one.schema) != (other.type, other.unique_field, other.schema):
        return False
    return all(getattr(one, key, None) == getattr(other, key, None) for key in _dialect_of(one).place_keys)


def _dialect_of(credentials: Any) -> Dialect:
    """Return the dialect of credentials, also of an unsupported warehouse."""
    return known_dialect(credentials.type) or Dialect()
