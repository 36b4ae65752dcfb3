"""How a warehouse differs from the others, and which warehouses are served.

A warehouse is a folder of `dialects/` with the name that dbt gives to its adapter. Nothing else in the package knows
one warehouse from another.
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
    """Do nothing; return no reason."""


def _database_and_host(credentials: Any) -> str:
    where = getattr(credentials, "host", None) or getattr(credentials, "account", None)
    return f"{credentials.type} database {credentials.database}{f' on {where}' if where else ''}"


def _by_cursor(connections: Any, sql: str) -> list[tuple[Any, ...]]:
    _, cursor = connections.add_query(sql, auto_begin=False)
    return list(cursor.fetchall())


def _type_with_precision(column: Any) -> str:
    data_type: str = column.data_type if column.is_numeric() else column.dtype
    return data_type


@dataclass(frozen=True, slots=True)
class Dialect:
    """What Python must know of one warehouse; its SQL stands beside it, as macros. The defaults fit most warehouses.

    Functions get objects of dbt and of the adapter: the `credentials` of a target, the `connections` of an adapter
    (its connection manager).
    """

    # Why the warehouse is not served, and the way out
    not_served: str | None = None

    # Data types whose name has another meaning than in `values.py`: data type in lower case → kind
    value_types: Mapping[str, str] = field(default_factory=dict)
    # A column of dbt → its data type, with the precision of numbers, which value_types depend on
    data_type: Callable[[Any], str] = _type_with_precision

    # Names the place that credentials lead to, without secrets
    place: Callable[[Any], str] = _database_and_host
    # The keys of credentials that tell one place from another, besides dbt's `unique_field`
    place_keys: tuple[str, ...] = ("host", "port", "account", "project", "catalog", "http_path", "database")
    # Credentials → why only one process can open the warehouse; None where others can
    only_one_process: Callable[[Any], str | None] = _nothing
    # Changes credentials before they are used
    prepare: Callable[[Any], None] = _nothing
    # Credentials, name of the target, database of the state → raises ConfigurationError where state would be lost
    check_place: Callable[[Any, str, str | None], None] = _nothing

    # Connections, a query → its rows
    fetch: Callable[[Any, str], list[tuple[Any, ...]]] = _by_cursor
    # A statement → a context in which it is executed, such as a lock
    turn: Callable[[str], AbstractContextManager[Any]] = nullcontext
    # Closes what dbt leaves open
    close: Callable[[Any], None] = _nothing

    # The driver's reason for not connecting → the same in better words; None where it is good as it is
    unopened: Callable[[str], str | None] = _nothing
    # What errors say where the role lacks a right; warehouses have no common code for it
    denied: re.Pattern[str] = re.compile(
        r"permission denied|insufficient privilege|not authorized|access denied|accessdenied|must be owner"
        r"|does not have .*(permission|privilege)",
        re.IGNORECASE,
    )
    # The driver's classes of errors that may quote values of rows. These are of the DB-API (PEP 249)
    row_errors: frozenset[str] = frozenset({"DataError", "IntegrityError"})
    # Under which names the driver's errors have their SQLSTATE, if they have any
    sqlstates: tuple[str, ...] = ("sqlstate", "pgcode", "getSqlState")


@cache
def known_dialect(adapter_type: str) -> Dialect | None:
    """Return the dialect of an adapter, by the name that dbt gives to it; None where it has no folder."""
    if adapter_type not in _folders():
        return None
    dialect: Dialect = import_module(f"dbt_segconn.warehouse.dialects.{adapter_type}").DIALECT
    return dialect


def find_dialect(adapter_type: str) -> Dialect:
    """Return the dialect of an adapter. Raises ConfigurationError where the warehouse is not served."""
    dialect = known_dialect(adapter_type)
    if dialect is None:
        served = [name for name in _folders() if (one := known_dialect(name)) and not one.not_served]
        raise ConfigurationError(
            f"the adapter {adapter_type} is not served, since values and checksums need SQL of its own dialect. "
            f"Served are {', '.join(served[:-1])} and {served[-1]}. To add one, add its folder to "
            f"{FOLDERS.parent.name}/{FOLDERS.name}, whose __init__.py says how."
        )
    if dialect.not_served:
        raise ConfigurationError(dialect.not_served)
    return dialect


@cache
def _folders() -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in FOLDERS.glob("*/__init__.py")))
