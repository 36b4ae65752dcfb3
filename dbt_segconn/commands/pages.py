"""The commands `debugger`, `ui` and `report`: local pages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import FILE, Command, as_options, project_options
from dbt_segconn.commands.terminal.output import say, writing
from dbt_segconn.errors import ConfigurationError


def _port_option(default: int) -> Callable[[Command], Command]:
    return click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=default,
        show_default=True,
        help="Port to listen on; 0 chooses a free port.",
    )


_history_option: Callable[[Command], Command] = click.option(
    "--history",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    help="Maximum syncs to read, the newest of all mappings.",
)


def _say_url(url: str) -> None:
    say(f"Listening on {url} - open it in a browser. Ctrl-C stops it.")


@command(group="Before a run")
@_port_option(8123)
@click.option(
    "--host",
    # the page has no login, and calls hold personal data
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
@click.option("--log", type=FILE, help="Append every accepted call to this file as a JSON line.")
@click.option("--log-dropped", is_flag=True, help="Also write dropped calls to the log, with their reasons.")
def debugger(*, port: int, host: str, write_key_env: tuple[str, ...], log: Path | None, log_dropped: bool) -> None:
    """Run a local Tracking API with a page that shows arriving calls.

    Point a destination of segconn.yml at it: endpoint: http://127.0.0.1:8123

    \b
    Examples:
      dbt-segconn debugger
      dbt-segconn debugger --port 0 --write-key-env SEGMENT_WRITE_KEY --log calls.jsonl
    """
    if log_dropped and log is None:
        raise click.UsageError("--log-dropped needs --log, the file to write to.")
    from dbt_segconn.web.debugger import serve

    if unset := [name for name in write_key_env if not os.environ.get(name)]:
        raise ConfigurationError(f"the environment variable {name} is not set." for name in unset)
    serve(
        host,
        port,
        write_keys=[os.environ[name] for name in write_key_env],  # not as arguments, which `ps` would show
        log=log,
        log_dropped=log_dropped,
        on_ready=_say_url,
    )


@command(group="After a run")
@project_options
# not the debugger's port: both pages may be open at once
@_port_option(8124)
@click.option(
    "--debugger",
    metavar="URL",
    help="Debugger to read live calls from. Default: the local endpoint of segconn.yml.",
)
@click.option("--with-debugger", is_flag=True, help="Also run that debugger.")
@_history_option
def ui(*, port: int, debugger: str | None, with_debugger: bool, history: int, **params: Any) -> None:
    """Show the syncs on a local page: overview, history, discards, previews, live calls.

    Listens on 127.0.0.1 and writes nothing. Opens the warehouse only for a moment: when the page is opened or
    refreshed, when a run on this machine has ended, and for a preview. So a DuckDB file stays free for dbt and
    runs.

    \b
    Examples:
      dbt-segconn ui
      dbt-segconn ui --with-debugger         also a stand-in for Segment, at the endpoint of segconn.yml
      dbt-segconn ui --target prod --port 0
    """
    # starlette and uvicorn are an extra: pipelines do not need them
    try:
        from dbt_segconn.web.page.server import serve
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ConfigurationError(
            f"The page needs {package}, which is not installed: pip install 'dbt-segconn[debugger]'"
        ) from None
    options = as_options(**params)
    serve(options, port, debugger=debugger, with_debugger=with_debugger, history=history, on_ready=_say_url)


@command(group="After a run")
@project_options
@click.option(
    "--html",
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    help="File to write; - prints the page.",
)
@click.option("--identifiers", is_flag=True, help="Include the identifiers of discarded records.")
@_history_option
def report(*, file: Path, identifiers: bool, history: int, **params: Any) -> None:
    """Write the page of syncs as one HTML file to publish.

    The file loads nothing and needs no server. It has the mappings with their fields, the history, and reasons
    and counts of discards. It has no write key, no payload and no value of a row. Only --identifiers adds the
    identifiers of discarded records, in a file that only you can read.

    \b
    Examples:
      dbt-segconn report --html target/segconn/report.html
      dbt-segconn report --html - --history 200 > report.html

    Exit codes: 0 written, 1 the warehouse or the file failed, 2 the project has errors.
    """
    from dbt_segconn.web.files import open_private
    from dbt_segconn.web.page.snapshot import freeze, read_snapshot

    page = freeze(read_snapshot(as_options(**params), history), identifiers=identifiers)
    if str(file) == "-":
        click.echo(page, nl=False)  # not `write`: HTML is escaped by its own rules
        return
    with writing(file):
        if identifiers:
            with open_private(file) as private:
                private.write(page.encode())
        else:  # without identifiers, the umask decides which users can read the file
            file.write_text(page, encoding="utf-8")
    say(f"Wrote {file}.")
