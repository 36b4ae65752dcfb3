"""DuckDB: a file for one process; and MotherDuck, a server with a path such as `md:shop`."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.warehouse.dialect import Dialect

_IN_MEMORY = ":memory:"
# `md:` and `s3://` are not local files; `C:` is a drive
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
# Conflicting lock is held in /usr/bin/python3 (PID 123)
_LOCK = re.compile(r"lock is held in (?:\S*/)?(\S+) \(PID (\d+)\)")
# A collation would change comparisons of ids. JSON errors cannot be masked
_OWN_SETTINGS = frozenset({"default_collation", "errors_as_json"})


def _place(credentials: Any) -> str:
    path = str(credentials.path)
    return "DuckDB in memory" if path == _IN_MEMORY else f"DuckDB file {os.path.abspath(path)}"  # noqa: PTH100  `md:` is no path


def _only_one_process(credentials: Any) -> str | None:
    is_server = getattr(credentials, "is_motherduck", False)
    return None if is_server else "DuckDB lets one process at a time open its file"


def _prepare(credentials: Any) -> None:
    """Remove settings of the profile that sessions set themselves: settings apply to all connections."""
    if settings := getattr(credentials, "settings", None):
        credentials.settings = {key: value for key, value in settings.items() if key.lower() not in _OWN_SETTINGS}


def _check_place(credentials: Any, target: str, state_database: str | None) -> None:
    """Raise ConfigurationError if the state would end with the process, or if the file is missing.

    DuckDB would create a missing file: an empty one, instead of the file that dbt filled.
    """
    path = str(credentials.path)
    if path == _IN_MEMORY and state_database in {None, "memory"}:
        raise ConfigurationError(
            f"target {target} is DuckDB in memory: models and state are lost when the process ends. Set a file for the "
            "target (`path:` in profiles.yml), or an attached database for the state (`state.database` in segconn.yml)."
        )
    is_file = path != _IN_MEMORY and not _SCHEME.match(path)
    if is_file and not os.path.exists(path):  # noqa: PTH110  the same rules as DuckDB
        raise ConfigurationError(
            f"target {target}: its DuckDB file {os.path.abspath(path)} does not exist. Run dbt on this target first; "  # noqa: PTH100
            "a relative `path:` in profiles.yml starts in the current directory, for dbt and for dbt-segconn."
        )


def _explain_open_error(reason: str) -> str | None:
    """Explain a locked file with the process that has it open."""
    if not (found := _LOCK.search(reason)):
        return None
    program, number = found.groups()
    return (
        f"process {number} ({program}) has the file open, and DuckDB lets one process at a time open it. "
        "Close that process, or wait until it ends."
    )


def _close(connections: Any) -> None:
    """Close the file, which dbt-duckdb keeps open after its connections."""
    with suppress(Exception):  # no file is open
        connections.env().close()
    connections.close_all_connections()


_DEFAULT = Dialect()

DIALECT = replace(
    _DEFAULT,
    value_types={"float": "single"},
    place=_place,
    lineage_namespace=lambda credentials: f"duckdb://{credentials.path}",
    place_keys=("path", *_DEFAULT.place_keys),
    only_one_process=_only_one_process,
    prepare=_prepare,
    check_place=_check_place,
    fingerprints=True,
    reads_alone=True,
    close=_close,
    explain_open_error=_explain_open_error,
    # Raised for texts that are not valid JSON or times
    row_errors=_DEFAULT.row_errors | {"InvalidInputException"},
)
