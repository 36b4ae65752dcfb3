"""Reads for the page, one at a time; the warehouse is open while something is read, and no longer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dbt_segconn.engine.opening import Options, resolve_context
from dbt_segconn.engine.report import ARTIFACT
from dbt_segconn.errors import ConfigurationError, SegconnError
from dbt_segconn.inspection.preview import Preview, preview
from dbt_segconn.web.page.snapshot import read_snapshot

PREVIEWED = 3
MORE = "name a record to see its call"
# How the warehouse says that another process has its file open
_BUSY = "has the file open"

Answer = dict[str, Any]


class Reader:
    """Answers what the page asks. A problem is part of an answer, beside the last snapshot that could be read."""

    def __init__(self, options: Options, history: int, read: Callable[[Options, int], Answer] = read_snapshot) -> None:
        context = resolve_context(options)
        self._options = replace(options, project_dir=context.project_dir)
        self._folders = (Path.cwd(), context.project_dir)
        self._artifact = context.target_dir / ARTIFACT
        self._history = history
        self._read = read
        self._last: Answer | None = None
        self._one_at_a_time = threading.Lock()  # dbt's adapters are process-wide

    def snapshot(self) -> Answer:
        """Read the state tables anew: `snapshot`, the `stamp` of its time, and `problem` where there is one."""
        with self._one_at_a_time:
            stamp = self.stamp()
            try:
                self._enter_folder()
                self._last = self._read(self._options, self._history)
            except (SegconnError, OSError) as error:
                return {"stamp": stamp, "snapshot": self._last, "problem": _problem(error, is_kept=bool(self._last))}
            return {"stamp": stamp, "snapshot": self._last, "problem": None}

    def preview(self, mapping: str, record: str, change_type: str) -> Answer:
        """Ask the warehouse for the `calls` that a mapping would send, each beside its record, with `notes`."""
        options = replace(self._options, mappings=(mapping,), all=True)
        records, change_types = _named(record), _named(change_type)
        with self._one_at_a_time:
            try:
                self._enter_folder()
                found = preview(options, change_types=change_types, records=records, limit=PREVIEWED)
            except (SegconnError, OSError) as error:
                return {"calls": [], "notes": [], "problem": _problem(error, is_kept=False)}
            return _as_json(found)

    def _enter_folder(self) -> None:
        """Enter the working directory again if it was deleted and made anew, else the project's."""
        with suppress(FileNotFoundError):
            Path.cwd()
            return
        for folder in self._folders:
            with suppress(OSError):
                os.chdir(folder)
                return

    def stamp(self) -> str:
        """Say when the last run on this machine has ended, without a look at the warehouse."""
        try:
            return str(self._artifact.stat().st_mtime_ns)
        except OSError:
            return ""


def _as_json(found: Sequence[Preview]) -> Answer:
    calls = [shown.as_json(with_record=True) for one in found for shown in one.shown]
    return {"calls": calls, "notes": [note for one in found for note in one.notes(MORE)], "problem": None}


def _named(text: str) -> Collection[str]:
    return (text,) if text else ()


def _problem(error: Exception, *, is_kept: bool) -> Answer:
    """Say what is wrong as the page shows it: a title, and lines of more."""
    kept = " Shown is what was read before." if is_kept else ""
    if _BUSY in str(error):
        title = f"The warehouse is busy: another process has it open.{kept}"
        return {"title": title, "lines": ["It is read again when a run has ended, or when you refresh."]}
    if isinstance(error, ConfigurationError):
        return {"title": f"The project needs mending.{kept}", "lines": error.problems}
    return {"title": f"The warehouse cannot be read.{kept}", "lines": [str(error)]}
