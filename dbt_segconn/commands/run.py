"""The commands `run`, `retry` and `baseline`: sync mappings and show the progress."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn

import click

from dbt_segconn.commands.completion import complete_mapping
from dbt_segconn.commands.main import FAILED, INTERRUPTED, OK, command
from dbt_segconn.commands.options import (
    as_options,
    mapping_option,
    output_options,
    project_options,
    results_option,
    run_options,
    selection_options,
)

INTERRUPTED_NOTE = "Interrupted: waiting for calls in flight. Interrupt again to stop immediately."


@command(group="Run")
@project_options
@results_option
@selection_options
@mapping_option
@run_options
@click.option("--full-refresh", is_flag=True, help="Forget the records first, so that every record is sent again.")
@output_options
def run(**params: Any) -> None:
    """Deliver what has changed in the models that dbt has just refreshed.

    Reads dbt's manifest and run results, finds added, updated and deleted records inside the warehouse, and
    sends them as Segment calls. After a crash, a kill or an outage, the next run delivers the rest with the
    same messageIds.

    \b
    Examples:
      dbt-segconn run
      dbt-segconn run --select customers+ --exclude tag:slow
      dbt-segconn run --select customers --all        even if dbt did not just refresh it; no test holds it back
      dbt-segconn run --run-results 'runs/*/target'   models that dbt built one by one, in separate folders
      dbt-segconn run --full-refresh --select orders  send every record again
      dbt-segconn run --max-runtime 50m               the next run delivers the rest

    Exit codes: 0 success, 1 a sync failed or discarded records, 2 could not start, 130 interrupted.
    """
    _run(**params)


@command(group="Run")
@project_options
@results_option
@selection_options
@mapping_option
@run_options
@output_options
def retry(**params: Any) -> None:
    """Sync again what failed, was interrupted or has discards, including given-up records.

    Reads models even if dbt has not just refreshed them, unless dbt has just failed to build or test them. Records
    that were given up after 5 syncs or 14 days are tried again.

    \b
    Examples:
      dbt-segconn retry
      dbt-segconn retry --mapping customers.identify_customers
    """
    _run(**{**params, "all": True, "retry": True})


@command(group="State")
@project_options
@click.argument("mappings", nargs=-1, required=True, shell_complete=complete_mapping)
@output_options
def baseline(**params: Any) -> None:
    """Remember the current records of MAPPINGS as if they had been sent, and send none.

    After that, only changes are sent. Use it if the destination has the records already, or if state tables were
    lost.

    \b
    Example:
      dbt-segconn baseline customers.identify_customers
    """
    _run(**params, all=True, full_refresh=True, baseline=True)


def _run(*, log_format: str, quiet: bool, use_colors: bool | None, timings: bool, **params: Any) -> NoReturn:
    """Run with these options, print the progress, and exit with the exit code of the run."""
    from dbt_segconn.commands.terminal.screen import Printer, Screen
    from dbt_segconn.engine.run import run as run_syncs

    options = as_options(**params)
    printer = Printer(log_format=log_format, quiet=quiet, colors=use_colors, timings=timings)
    screen = Screen(printer)
    stop = threading.Event()
    with closing(printer), _stop_on_signal(stop, lambda: printer.line(INTERRUPTED_NOTE, level="warn")):
        result = run_syncs(options, screen, stop)
    screen.close(result)
    sys.exit(INTERRUPTED if stop.is_set() else OK if result.success else FAILED)


@contextmanager
def _stop_on_signal(stop: threading.Event, on_stop: Callable[[], None]) -> Iterator[None]:
    """Set `stop` on the first SIGINT or SIGTERM; the second signal ends the process immediately."""

    def handle(*_: Any) -> None:
        stop.set()
        for number in previous:
            signal.signal(number, signal.SIG_DFL)
        on_stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
