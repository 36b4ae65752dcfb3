"""The command `ui`: serve the page of syncs on this machine."""

from __future__ import annotations

from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, history_option, project_options
from dbt_segconn.commands.terminal.output import say


@command(group="After a run")
@project_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8124,
    show_default=True,
    help="Port to listen on; 0 chooses a free port.",
)
@click.option(
    "--debugger",
    metavar="URL",
    help="Debugger to read live calls from. Default: the local endpoint of segconn.yml.",
)
@click.option("--with-debugger", is_flag=True, help="Also run that debugger.")
@history_option
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
    from dbt_segconn.web.live import serve

    serve(
        as_options(**params),
        port,
        debugger=debugger,
        with_debugger=with_debugger,
        history=history,
        on_ready=lambda url: say(f"Listening on {url} - open it in a browser. Ctrl-C stops it."),
    )
