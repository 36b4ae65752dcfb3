"""A run for an orchestrator: its lines in the log, and its result as plain values."""

from __future__ import annotations

import logging
from typing import Any

from dbt_segconn.engine.gate import GOOD, Choice, RunResult, SyncResult
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.report import end_line, results_lines, skip_line, start_line
from dbt_segconn.engine.sync import Listener
from dbt_segconn.errors import SegconnError, printable
from dbt_segconn.project.mappings import Mapping


class LogListener(Listener):
    """Writes the lines of a run to a logger, as the command prints them. What comes from data is escaped."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def begin(self, project: Project, choice: Choice) -> None:
        """Log which results are used, and which mappings are skipped."""
        for line in (*results_lines(project, choice), *map(skip_line, choice.skipped)):
            self._log(logging.INFO, line)

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Log the start of a sync."""
        self._log(logging.INFO, start_line(number, total, mapping.name, mapping.destination))

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Log the counts of a sync, and why it failed."""
        self._log(logging.INFO if result.status in GOOD else logging.ERROR, end_line(number, total, result))
        if result.message:
            self._log(logging.ERROR, f"{result.mapping.name}: {result.message}")

    def note(self, mapping: Mapping, text: str) -> None:
        """Log a note."""
        self._log(logging.INFO, f"{mapping.name}: {text}")

    def warn(self, text: str) -> None:
        """Log a failure beside the syncs."""
        self._log(logging.WARNING, text)

    def _log(self, level: int, line: str) -> None:
        # As an argument: a % in data is no placeholder
        self._logger.log(level, "%s", printable(line))


class UnavailableListener(Listener):
    """Warns that a listener which the environment switches on cannot work."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def open(self, project: Project, run_id: str) -> None:  # noqa: ARG002
        """Raise the reason, which becomes a warning."""
        raise SegconnError(self._reason)


def summary(run: RunResult) -> dict[str, Any]:
    """Return the result of a run as JSON values: status and counts of each mapping. It holds no row of a model."""
    return {
        "run_id": run.run_id,
        "success": run.success,
        "seconds": round(run.seconds, 3),
        "warnings": list(run.warnings),
        "syncs": [
            *(_entry(one.mapping, one.status, one.message, one.counts) for one in run.results),
            *(_entry(one.mapping, "skipped", one.reason, one.counts) for one in run.skipped),
        ],
    }


def failures(run: RunResult) -> str:
    """Return one line for each mapping that failed or was held back by a failure of dbt; empty if there is none."""
    failed = [(one.mapping, one.status, one.message) for one in run.results if one.status not in GOOD]
    held_back = [(one.mapping, "skipped", one.reason) for one in run.skipped if one.is_failure]
    return "\n".join(
        printable(f"{mapping.name}: {status}{f': {reason}' if reason else ''}")
        for mapping, status, reason in (*failed, *held_back)
    )


def _entry(mapping: Mapping, status: str, message: str | None, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "mapping": mapping.name,
        "model": mapping.model.unique_id,
        "destination": mapping.destination,
        "status": status,
        "message": message,
        "counts": counts,
    }
