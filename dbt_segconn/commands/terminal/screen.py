"""The output of a run: lines as dbt prints them or JSON lines, and a progress bar."""

from __future__ import annotations

import sys
import threading
from collections import abc
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from dbt_segconn.commands.terminal.output import console, is_plain, say, styled, write_json
from dbt_segconn.engine.gate import Choice, RunResult, SyncResult
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.report import (
    as_json,
    closing_lines,
    end_line,
    results_lines,
    skip_line,
    start_line,
    timing_lines,
    untouched_line,
    versions_line,
)
from dbt_segconn.engine.sync import Listener
from dbt_segconn.errors import counted
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.version import __version__

if TYPE_CHECKING:
    from rich.progress import Progress

_COLORS = {
    "success": "green",
    "planned": "green",
    "partial": "yellow",
    "failed": "red",
    "blocked": "red",
    "canceled": "yellow",
}


class Printer:
    """Prints events of any thread, one at a time."""

    def __init__(
        self, *, log_format: str = "text", quiet: bool = False, colors: bool | None = None, timings: bool = False
    ) -> None:
        self.shows_timings = timings
        # checked once: each system call releases the interpreter's lock and must wait to acquire it again
        self._shows_progress = log_format != "json" and not quiet and not is_plain(sys.stderr)
        self._bar: Progress | None = None
        self._json = log_format == "json"
        self._quiet = quiet
        self._colors = colors
        self._guard = threading.RLock()  # reentrant: a signal handler may print in the thread that holds it

    def line(
        self, text: str, *, level: str = "info", event: str = "Note", color: str | None = None, **data: Any
    ) -> None:
        """Print an event as a line with its time, or as a JSON object with its data."""
        if self._quiet and level == "info":
            return
        now = datetime.now(timezone.utc)
        line = " ".join(text.split("\n"))  # errors of drivers may have several lines
        # a full disk, a closed stream or a broken pipe must not stop a delivery
        with self._guard, suppress(OSError, ValueError, RuntimeError):
            self.close()
            if self._json:
                info = {"level": level, "name": event, "msg": text, "ts": now.isoformat()}
                write_json({"info": info, "data": data}, indent=False)
            else:
                # local time, as dbt prints it; JSON has UTC
                say(f"{now.astimezone():%H:%M:%S}  {styled(line, fg=color) if color else line}", color=self._colors)

    def progress(self, done: int, total: int) -> None:
        """Show the number of calls done on the last line of a terminal, until the next line is printed."""
        if not self._shows_progress:
            return
        with self._guard, suppress(OSError, ValueError, RuntimeError):
            self._bar = self._bar or _new_bar()
            self._bar.update(self._bar.task_ids[0], completed=done, total=total)
            if not self._bar.live.is_started:
                self._bar.start()
                self._bar.console.show_cursor()  # a second Ctrl-C kills the process and would leave the cursor hidden

    def close(self) -> None:
        """Clear the progress bar."""
        with self._guard, suppress(OSError, ValueError, RuntimeError):
            if self._bar:
                self._bar.stop()


def _new_bar() -> Progress:
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    bar = Progress(
        BarColumn(),
        "{task.completed:,.0f} of {task.total:,.0f} calls",
        TimeRemainingColumn(),
        console=console(sys.stderr, is_terminal=True),
        refresh_per_second=4,
        transient=True,
        # lines are printed by `say`, which escapes them; rich would write them itself
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.add_task("")
    return bar


class Screen(Listener):
    """Prints the progress of a run."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._done: dict[str, tuple[int, int]] = {}
        self._guard = threading.Lock()

    def begin(self, project: Project, choice: Choice) -> None:
        """Print the numbers of mappings, models and destinations, and what is skipped."""
        self._printer.line(f"Running with dbt-segconn={__version__}", event="MainReportVersion")
        models = len({mapping.model.unique_id for mapping in project.mappings})
        self._printer.line(
            f"Found {counted(len(project.mappings), 'mapping')} on {counted(models, 'model')}, "
            f"{counted(len(project.settings.destinations), 'destination')}; target {project.context.target} of profile "
            f"{project.context.profile} ({project.context.origins['target']})",
            event="Found",
            target=project.context.target,
        )
        if versions := versions_line(project):
            self._printer.line(versions, event="Versions")
        for text in results_lines(project, choice):
            self._printer.line(text, level="warn", event="Results", color="yellow")
        if choice.untouched:
            self._printer.line(
                untouched_line(project, choice),
                event="Untouched",
                mappings=[mapping.name for mapping in choice.untouched],
            )
        for skip in choice.skipped:
            level = "warn" if skip.is_failure else "info"
            self._printer.line(skip_line(skip), level=level, event="Skip", color="yellow", mapping=skip.mapping.name)
        if not choice.chosen:
            self._printer.line("Nothing to sync.", level="warn", event="NothingToDo")

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Print that a sync starts."""
        text = start_line(number, total, mapping.name, mapping.destination)
        self._printer.line(text, event="SyncStart", mapping=mapping.name)

    def note(self, mapping: Mapping, text: str) -> None:
        """Print a note on a sync that has not ended."""
        self._printer.line(f"{mapping.name}: {text}", level="warn", event="SyncNote", mapping=mapping.name)

    def warn(self, text: str) -> None:
        """Print an error that is not an error of a sync."""
        self._printer.line(text, level="warn", event="Warning", color="yellow")

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Update the progress bar, which covers all syncs that have started."""
        with self._guard:  # syncs report from their own threads
            self._done[mapping.id] = (done, total)
            done, total = (sum(numbers) for numbers in zip(*self._done.values(), strict=True))
        self._printer.progress(done, total)

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Print the result of a sync."""
        self._printer.line(
            end_line(number, total, result),
            level={"failed": "error", "blocked": "error", "partial": "warn"}.get(result.status, "info"),
            event="SyncEnd",
            color=_COLORS[result.status],
            mapping=result.mapping.name,
            status=result.status,
        )
        if self._printer.shows_timings:
            for line in timing_lines(result):
                self._printer.line(line, event="Timing", mapping=result.mapping.name)

    def close(self, run: RunResult) -> None:
        """Print the summary of the run."""
        level = "info" if run.success else "error"
        data: abc.Mapping[str, Any] = as_json(run)
        *lines, last = closing_lines(run)
        for text in lines:
            self._printer.line(text, level=level, event="Summary")
        self._printer.line(last, level=level, event="Done", color="green" if run.success else "red", **data)
