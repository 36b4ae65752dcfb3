"""The commands. Each imports what it needs only when it is called: help and errors come at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dbt_segconn.commands.exit_codes import FAILED, INTERRUPTED, NOT_STARTED, OK
from dbt_segconn.commands.options import (
    GreedyCommand,
    mapping_option,
    output_options,
    project_options,
    results_option,
    run_options,
    selection_options,
)
from dbt_segconn.commands.output import say, styled, write, write_json
from dbt_segconn.errors import ConfigurationError, SegconnError
from dbt_segconn.project.findings import InvalidProject
from dbt_segconn.version import __version__

if TYPE_CHECKING:
    from dbt_segconn.actions import Action, Field
    from dbt_segconn.engine.opening import Options


MORE_OF_FINDINGS = "`dbt-segconn validate` lists each with its code. What a code means: dbt-segconn docs CODE"


COMMANDS = {
    "Set up": ("init", "suggest", "import", "fields", "schema"),
    "Check": ("validate", "debug", "diff"),
    "Look before a run": ("preview", "estimate", "send-test", "debugger"),
    "Run": ("run", "retry"),
    "Look after a run": ("status", "ui", "report"),
    "Change what is remembered": ("baseline", "reset", "adopt"),
    "Show it in dbt": ("exposures", "sources"),
}
"""Heading of the help → its commands"""


class Group(click.Group):
    """Turns our errors into a message and an exit code; any other error is a bug and keeps its traceback."""

    command_class = GreedyCommand

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the commands in the order in which a user meets them."""
        return [name for names in COMMANDS.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write each command with its whole first sentence, under the heading of its group."""
        room = max(map(len, self.commands))
        for heading, names in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{one:<{room}}", self.commands[one].get_short_help_str(1000)) for one in names])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            count = len(error.problems)
            heading = "This needs mending first:" if count == 1 else f"These {count} things need mending first:"
            more = [MORE_OF_FINDINGS] if isinstance(error, InvalidProject) else []
            _fail(heading, *(f"  {problem}" for problem in error.problems), *more, code=NOT_STARTED)
        except SegconnError as error:
            _fail(f"Could not go on: {error}", code=FAILED)


def _fail(*lines: str, code: int) -> None:
    for line in lines:
        write(line, err=True)
    sys.exit(code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dbt-segconn")
def main() -> None:
    """Reverse ETL from dbt models to Segment: fast, in order, nothing lost, nothing twice.

    Declare mappings in the YAML of dbt models (config.meta.segconn). Run dbt, then `dbt-segconn run`: it
    delivers what has changed. Each command shows examples with --help.
    """


def as_options(**given: Any) -> Options:
    """Gather what was given on the command line."""
    from dbt_segconn.engine.opening import Options

    return Options(**given)


@main.command()
@project_options
@results_option
@selection_options
@mapping_option
@run_options
@click.option(
    "--full-refresh",
    is_flag=True,
    help="Forget the records first, so that every record is sent again.",
)
@output_options
def run(**given: Any) -> None:
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
    follow(**given)


@main.command()
@project_options
@results_option
@selection_options
@mapping_option
@run_options
@output_options
def retry(**given: Any) -> None:
    """Sync again what failed, was cut short or has discards, including given-up records.

    Reads models as they are, unless dbt has just failed to build or test them. Records that were given up
    after 5 syncs or 14 days are tried again.

    \b
    Examples:
      dbt-segconn retry
      dbt-segconn retry --mapping customers.identify_customers
    """
    follow(**{**given, "all": True, "retry": True})


def follow(*, log_format: str, quiet: bool, use_colors: bool | None, timings: bool, **given: Any) -> NoReturn:
    """Run with these options, tell how it goes, and exit with its code."""
    from dbt_segconn.commands.screen import Printer, Screen
    from dbt_segconn.engine.run import run as run_invocation

    options = as_options(**given)
    printer = Printer(log_format=log_format, quiet=quiet, colors=use_colors, timings=timings)
    screen = Screen(printer)
    stop = threading.Event()
    told = "Interrupted: finishing what is in flight. Again to stop at once."
    with closing(printer), _graceful(stop, lambda: printer.line(told, level="warn")):
        result = run_invocation(options, screen, stop)
    screen.close(result)
    sys.exit(INTERRUPTED if stop.is_set() else OK if result.success else FAILED)


@contextmanager
def _graceful(stop: threading.Event, say: Callable[[], None]) -> Iterator[None]:
    """On the first SIGINT or SIGTERM set `stop`; the second, of either, ends the process at once."""

    def ask(*_: Any) -> None:
        stop.set()
        for one in before:
            signal.signal(one, signal.SIG_DFL)
        say()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@main.command()
@project_options
@selection_options
@mapping_option
@click.option(
    "--change-type",
    type=click.Choice(["added", "updated", "deleted"]),
    multiple=True,
    help="Only changes of this type.",
)
@click.option("--record", multiple=True, metavar="ID", help="Only changed records with this identifier.")
@click.option(
    "--limit", "-n", type=click.IntRange(1), default=5, show_default=True, help="Maximum calls of each mapping."
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    help="text: each record beside its call, --limit of each kind. Default: json if the output is not a terminal.",
)
def preview(
    *, change_type: tuple[str, ...], record: tuple[str, ...], limit: int, style: str | None, **given: Any
) -> None:
    """Show the calls that a run would send now. Send and change nothing.

    On a terminal, a record and its call are shown side by side. Elsewhere, calls are JSON objects, and notes go
    to standard error. Changes that a run would discard or leave out are marked with the reason. --record also
    shows a discarded record: its call as it would be now.

    \b
    Examples:
      dbt-segconn preview --select customers
      dbt-segconn preview --mapping identify_customers --change-type deleted -n 1
      dbt-segconn preview --record c-1042
      dbt-segconn preview --format json > calls.json
    """
    from dbt_segconn.commands.side_by_side import show_change
    from dbt_segconn.inspection.preview import preview as preview_changes

    given["all"] = True
    is_text = style == "text" or (style is None and sys.stdout.isatty())
    found = preview_changes(
        as_options(**given), change_types=change_type, records=record, limit=limit, of_each_kind=is_text
    )
    for one in found:
        for shown in one.shown:
            if is_text:
                show_change(shown)
            else:
                write_json(shown.as_json())
        for note in one.notes():
            say(f"{one.mapping}: {note}.", err=not is_text)
    if not found:
        say("Nothing to show: no mapping is selected.", err=not is_text)


@main.command()
@click.argument("action", required=False)
def fields(action: str | None) -> None:
    """List the fields of an ACTION, or of all five, with types and descriptions.

    \b
    Examples:
      dbt-segconn fields track
      dbt-segconn fields
    """
    from dbt_segconn.actions import ACTIONS, find_action

    actions = [find_action(action)] if action else ACTIONS.values()
    write("\n\n".join("\n".join(_reference(one)) for one in actions))


def _reference(action: Action) -> Iterator[str]:
    """List an action's fields, the properties of an object under it."""
    yield f"{styled(action.name, bold=True)}: {action.description}"
    for field in action.fields:
        yield _field_line(field, "  ")
        yield from (_field_line(one, "    ") for one in field.properties)


def _field_line(field: Field, indent: str) -> str:
    name = f"{indent}{field.name}{' (required)' if field.required else ''}"
    return f"{name:<28} {field.type:<8} {field.description}"


@main.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_(files: tuple[Path, ...]) -> None:
    """Print the YAML of mappings that were exported from Segment, one document per model.

    FILES come from Segment's Git sync or Terraform provider (.tf), or are answers of the Public API (.json).
    Files of models give the identifiers. Comments name what cannot be converted.

    \b
    Examples:
      dbt-segconn import segment/subscriptions.tf > customers_meta.yml
      dbt-segconn import subscriptions/*.tf models/*.tf > meta.yml
    """
    from dbt_segconn.authoring.importer import as_yaml, read_exports

    click.echo(as_yaml(read_exports(files)))


@main.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8123,
    show_default=True,
    help="Port to listen on; 0 chooses a free port.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; by default only this machine can connect.",
)
@click.option(
    "--write-key-env",
    multiple=True,
    metavar="VARIABLE",
    help="Accept only the write keys in these environment variables. Default: accept any.",
)
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append every accepted call to this file as a JSON line.",
)
@click.option("--log-dropped", is_flag=True, help="Also write dropped calls to the log, with their reasons.")
def debugger(*, port: int, host: str, write_key_env: tuple[str, ...], log: Path | None, log_dropped: bool) -> None:
    """Run a local Tracking API with a page that shows arriving calls.

    Point a destination of segconn.yml at it: endpoint: http://127.0.0.1:8123

    \b
    Examples:
      dbt-segconn debugger
      dbt-segconn debugger --port 0 --write-key-env SEGMENT_WRITE_KEY --log calls.jsonl
    """
    from dbt_segconn.web.debugger import serve

    if unset := [name for name in write_key_env if not os.environ.get(name)]:
        raise ConfigurationError(f"the environment variable {name} is not set." for name in unset)
    serve(
        host,
        port,
        write_keys=[os.environ[name] for name in write_key_env],  # not as arguments, which `ps` would show
        log=log,
        log_dropped=log_dropped,
        on_ready=lambda url: say(f"Listening on {url} - open it in a browser. Ctrl-C stops it."),
    )
