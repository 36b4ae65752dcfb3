"""DuckDB: a file that one process opens; and MotherDuck, a server that dbt-duckdb opens by a path such as `md:shop`."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.warehouse.dialect import Dialect

_IN_MEMORY = ":memory:"
# `md:`, `s3://` and their like are no files here; `C:` is a drive
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
# Conflicting lock is held in /usr/bin/python3 (PID 123)
_LOCK = re.compile(r"lock is held in (?:\S*/)?(\S+) \(PID (\d+)\)")
# Ids must not be compared in another collation; JSON errors hide the values of rows from the masking
_OWN_SETTINGS = frozenset({"default_collation", "errors_as_json"})


def _place(credentials: Any) -> str:
    path = str(credentials.path)
    return "DuckDB in memory" if path == _IN_MEMORY else f"DuckDB file {os.path.abspath(path)}"  # noqa: PTH100  `md:` is no path


def _only_one_process(credentials: Any) -> str | None:
    is_server = getattr(credentials, "is_motherduck", False)
    return None if is_server else "DuckDB lets one process at a time open its file"


def _prepare(credentials: Any) -> None:
    """Drop settings of the profile that sessions set back: they hold for all connections at once."""
    if settings := getattr(credentials, "settings", None):
        credentials.settings = {key: value for key, value in settings.items() if key.lower() not in _OWN_SETTINGS}


def _check_place(credentials: Any, target: str, state_database: str | None) -> None:
    """Raise where the state would end with the process, or where the file is missing.

    DuckDB makes a file that is missing: an empty one, perhaps beside the one that dbt has filled.
    """
    path = str(credentials.path)
    if path == _IN_MEMORY and state_database in {None, "memory"}:
        raise ConfigurationError(
            f"target {target} is DuckDB in memory: what dbt builds there, and what was sent, is gone when the process "
            "ends. Give the target a file (`path:` in profiles.yml), or name an attached database with state.database "
            "in segconn.yml."
        )
    is_file = path != _IN_MEMORY and not _SCHEME.match(path)
    if is_file and not os.path.exists(path):  # noqa: PTH110  as DuckDB takes it
        raise ConfigurationError(
            f"target {target}: its DuckDB file {os.path.abspath(path)} does not exist. Run dbt on this target first; "  # noqa: PTH100
            "a relative `path:` in profiles.yml starts where the command is typed, for dbt and for dbt-segconn."
        )


def _unopened(reason: str) -> str | None:
    """Name the process that has the file open."""
    if not (found := _LOCK.search(reason)):
        return None
    program, number = found.groups()
    return (
        f"process {number} ({program}) has the file open, and DuckDB lets one process at a time open it. "
        "Close that process, or wait until it ends."
    )


def _close(connections: Any) -> None:
    """Close the file, which dbt-duckdb keeps open beyond its connections."""
    with suppress(Exception):  # where nothing was ever opened
        connections.env().close()
    connections.close_all_connections()


_USUAL = Dialect()

DIALECT = replace(
    _USUAL,
    value_types={"float": "single"},
    place=_place,
    place_keys=("path", *_USUAL.place_keys),
    only_one_process=_only_one_process,
    prepare=_prepare,
    check_place=_check_place,
    close=_close,
    unopened=_unopened,
    # Of texts that are no JSON or no time
    row_errors=_USUAL.row_errors | {"InvalidInputException"},
)
