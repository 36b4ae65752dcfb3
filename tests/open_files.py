"""DuckDB files that stay open between the steps of a test: to open one takes longer than most of its statements.

Runs in this process then share the open database. It is closed before another process is started, which could not open
the file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

# By path: an open connection, and the number of the file that it had opened
_KEPT: dict[str, tuple[Any, int]] = {}


def connect(path: Path) -> Any:
    """Return a connection of its own to a file, which stays open when it is closed."""
    kept = _KEPT.get(str(path))
    if kept is None or not path.exists() or kept[1] != path.stat().st_ino:  # a test may replace the file
        close()
        connection = duckdb.connect(str(path))
        _KEPT[str(path)] = connection, path.stat().st_ino
    return _KEPT[str(path)][0].cursor()


def contents(path: Path) -> bytes:
    """Close the files, which writes all changes into them, and return the bytes of one."""
    close()
    return path.read_bytes()


def close() -> None:
    """Close all files: another process may open them now."""
    while _KEPT:
        _KEPT.popitem()[1][0].close()


@contextmanager
def closed_for_processes() -> Iterator[None]:
    """Close all files before a process is started."""
    real = subprocess.Popen.__init__

    def started(self: Any, *arguments: Any, **named: Any) -> None:
        close()
        real(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", started)
        yield
