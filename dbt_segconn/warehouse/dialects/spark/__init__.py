"""Spark's own tables: files that support only inserts."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from dbt_segconn.warehouse.dialect import Dialect

_INSERT = re.compile(r"\s*insert into (\S+)", re.IGNORECASE)
_INSERT_LOCKS: dict[str, threading.Lock] = {}
_NAME = r"(?:`(?:[^`]|``)+`|\w+)"
_TEXT = re.compile(r"""(`[^`]*`)|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
# [DIVIDE_BY_ZERO] org.apache.spark.SparkArithmeticException: [DIVIDE_BY_ZERO] Division by zero. … SQLSTATE: 22012
_NAMED = re.compile(
    r"(?P<name>\[[A-Z0-9_.]+\]) (?:[\w.$]+: (?P=name) )?(?P<text>.*?)\s*SQLSTATE: (?P<state>\w{5})", re.DOTALL
)
# The class of the SQLSTATE of `raise_error`
_RAISED = "P0"
_TRACE = re.compile(r"\n\s*at \S+\(")
_READ = re.compile(rf"\b(?:from|join)\s+({_NAME}(?:\.{_NAME})+)", re.IGNORECASE)
_MISSING = re.compile("table.or.view.not.found", re.IGNORECASE)


def _only_one_process(credentials: Any) -> str | None:
    return "a Spark session belongs to the process that has opened it" if credentials.method == "session" else None


def _prepare(credentials: Any) -> None:
    """Let dbt-spark send no statement again after a lost connection: it may have ended. Keep SQL out of logs."""
    credentials.query_retries = 0
    logging.getLogger("pyhive").setLevel(logging.WARNING)  # statements contain ids of records


class SparkError(Exception):
    """An error of Spark without the stack trace of its server, which quotes it again."""

    def __init__(self, text: str) -> None:
        text = _TRACE.split(text, maxsplit=1)[0]
        found = _NAMED.search(text)
        if found:
            # the text of `raise_error` may be a value of a row: masks cover what is in quotation marks
            reason = f"'{found['text']}'" if found["state"].startswith(_RAISED) else found["text"]
            text = f"{found['name']} {reason} SQLSTATE: {found['state']}"
        super().__init__(text)


@contextmanager
def _short_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise SparkError(str(error)) from error


def _refresh(connections: Any, sql: str) -> None:
    """Refresh the tables that a statement reads: a session keeps the list of a table's files from its first read."""
    without_texts = _TEXT.sub(lambda found: found[1] or "''", sql)
    for table in dict.fromkeys(_READ.findall(without_texts)):
        try:
            connections.add_query(f"refresh table {table}", auto_begin=False)
        except Exception as error:
            if not _MISSING.search(str(error)):  # `extract(year from a.b)` reads no table
                raise


def _fetch(connections: Any, sql: str) -> list[tuple[Any, ...]]:
    with _short_errors():
        _refresh(connections, sql)
        return _DEFAULT.fetch(connections, sql)


@contextmanager
def _execution(connections: Any, sql: str) -> Iterator[None]:
    with _insert_lock(sql), _short_errors():
        _refresh(connections, sql)
        yield


def _insert_lock(sql: str) -> AbstractContextManager[Any]:
    """Return the lock of the table that a statement inserts into: inserts of one process share a folder."""
    insert = _INSERT.match(sql)
    return _INSERT_LOCKS.setdefault(insert[1], threading.Lock()) if insert else nullcontext()


_DEFAULT = Dialect()

DIALECT = Dialect(
    value_types={"timestamp": "timestamptz", "float": "single"},
    only_one_process=_only_one_process,
    prepare=_prepare,
    fetch=_fetch,
    execution=_execution,
    row_states=(*_DEFAULT.row_states, _RAISED),
    commits_together=False,
)
