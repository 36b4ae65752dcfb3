"""Spark's own tables: files that support only inserts, one at a time."""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dbt_segconn.warehouse.dialect import Dialect

_INSERT = re.compile(r"\s*insert into (\S+)", re.IGNORECASE)
_INSERT_LOCKS: dict[str, threading.Lock] = {}


def _only_one_process(credentials: Any) -> str | None:
    return "a Spark session belongs to the process that has opened it" if credentials.method == "session" else None


def _insert_lock(sql: str) -> AbstractContextManager[Any]:
    """Return the lock of the table that a statement inserts into: parallel inserts delete each other's files."""
    insert = _INSERT.match(sql)
    return _INSERT_LOCKS.setdefault(insert[1], threading.Lock()) if insert else nullcontext()


DIALECT = Dialect(
    value_types={"timestamp": "timestamptz", "float": "single"},
    only_one_process=_only_one_process,
    execution=_insert_lock,
    commits_together=False,
)
