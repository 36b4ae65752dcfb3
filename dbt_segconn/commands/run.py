"""The commands `run`, `retry` and `baseline`: sync mappings and show the progress."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dbt_segconn.commands.main import FAILED, INTERRUPTED, OK, command
from dbt_segconn.commands.options import (
    FILE,
    as_options,
    complete_mapping,
    is_given,
    output_options,
    platform_options,
    project_options,
    run_options,
    step_options,
)
from dbt_segconn.commands.terminal.output import say
from dbt_segconn.errors import printable

if TYPE_CHECKING:
    from dbt_segconn.integrations.dbt_platform import DbtPlatform

INTERRUPTED_NOTE = "Interrupted: waiting for calls in flight. Interrupt again to stop immediately."


@command(group="Run")
@run_options
@platform_options
@click.option(
    "--all",
    is_flag=True,
    help="Read models as they are, refreshed or not. No failed dbt test holds a model back.",
)
@step_options
@click.option("--full-refresh", is_flag=True, help="Forget the records first, so that every record is sent again.")
@click.option("--plan", type=FILE, metavar="FILE", help="Send nothing: stage the changes, and write them for review.")
@click.option(
    "--apply", type=FILE, metavar="FILE", help="Deliver the changes that --plan has staged, and nothing else."
)
def run(
    *,
    dbt_cloud_job: int | None,
    dbt_cloud_run: int | None,
    dbt_cloud_account: int | None,
    dbt_cloud_host: str | None,
    **params: Any,
) -> None:
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
      dbt-segconn run --integrations '{"All": false, "Amplitude": true}'     these calls go to Amplitude only
      dbt-segconn run --all --before 2026-01-01       a first sync in steps, by the checkpoint column
      dbt-segconn run --max-runtime 50m               the next run delivers the rest
      dbt-segconn run --dbt-cloud-job 123             what a job of the dbt platform has built
      dbt-segconn run --plan plan.json                write what would be sent, for review
      dbt-segconn run --apply plan.json               send exactly that

    Exit codes: 0 success, 1 a sync failed or discarded records, 2 could not start, 130 interrupted.
    """
    if dbt_cloud_job is None and dbt_cloud_run is None:
        for name in ("account", "host"):
            if is_given(f"dbt_cloud_{name}"):
                raise click.UsageError(
                    f"--dbt-cloud-{name} needs --dbt-cloud-job or --dbt-cloud-run, which name the results."
                )
        run_to_exit(**params)
    if params["run_results"] or params["target_path"] or (dbt_cloud_job and dbt_cloud_run):
        raise click.UsageError(
            "--dbt-cloud-job, --dbt-cloud-run, --run-results and --target-path name dbt's artifacts: set only one."
        )
    from dbt_segconn.integrations.dbt_platform import connect

    # a folder of their own: the results of dbt in target/ stay as they are
    with TemporaryDirectory(prefix="segconn-") as folder:
        files = _fetched(connect(dbt_cloud_account, dbt_cloud_host), dbt_cloud_job, dbt_cloud_run, Path(folder))
        run_to_exit(**{**params, "run_results": files})


def _fetched(platform: DbtPlatform, job: int | None, run_id: int | None, folder: Path) -> tuple[str, ...]:
    """Fetch the results of a run of the dbt platform. Return their files."""
    if run_id is None:
        run_id = platform.latest_run(job or 0)
    say(f"Reading run {run_id} of the dbt platform.", err=True)  # stdout may be JSON lines
    return tuple(str(file) for file in platform.fetch(run_id, folder))


@command(group="Run")
@run_options
def retry(**params: Any) -> None:
    """Sync again what failed, was interrupted or has discards, including given-up records.

    Reads models even if dbt has not just refreshed them, unless dbt has just failed to build or test them. Records
    that were given up after 5 syncs or 14 days are tried again.

    \b
    Examples:
      dbt-segconn retry
      dbt-segconn retry --mapping customers.identify_customers
    """
    # `all`: what failed need not be in dbt's last results
    run_to_exit(**params, all=True, retry=True)


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
    # `full_refresh`: earlier records are forgotten, so that those of the model are the only ones
    run_to_exit(**params, all=True, full_refresh=True, baseline=True)


def run_to_exit(
    *,
    log_format: str = "text",
    quiet: bool = False,
    use_colors: bool | None = None,
    timings: bool = False,
    **params: Any,
) -> NoReturn:
    """Run with these options, print the progress, and exit with the exit code of the run."""
    from dbt_segconn.commands.terminal.screen import Printer, Screen
    from dbt_segconn.engine.run import run as run_syncs
    from dbt_segconn.integrations import observers
    from dbt_segconn.state.tables import PLANNED

    options = as_options(**params)
    printer = Printer(log_format=log_format, quiet=quiet, colors=use_colors, timings=timings)
    screen = Screen(printer)
    stop = threading.Event()
    with closing(printer), _stop_on_signal(stop, lambda: printer.line(INTERRUPTED_NOTE, level="warn")):
        result = run_syncs(options, [screen, *observers()], stop)
    screen.close(result)
    if options.plan:
        path = printable(str(options.plan))
        is_empty = not any(one.status == PLANNED for one in result.results)
        then = "It has no sync to send." if is_empty else f"Review it, then send it: dbt-segconn run --apply {path}"
        printer.line(f"Nothing was sent. The plan is in {path}. {then}", event="Plan")
    # --max-runtime sets `stop`, too: an orchestrator should start the next run, as after a signal
    sys.exit(INTERRUPTED if stop.is_set() else OK if result.success else FAILED)


@contextmanager
def _stop_on_signal(stop: threading.Event, on_stop: Callable[[], None]) -> Iterator[None]:
    """Set `stop` on the first SIGINT or SIGTERM; the second signal ends the process immediately."""

    def handle(*_: Any) -> None:
        stop.set()
        # Python runs a handler between bytecodes only: the default action works even while a driver blocks
        for number in previous:
            signal.signal(number, signal.SIG_DFL)
        on_stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
