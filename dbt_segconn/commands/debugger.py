"""The command `debugger`: run a local Tracking API with a page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.terminal.output import say
from dbt_segconn.errors import ConfigurationError


@command(group="Before a run")
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
