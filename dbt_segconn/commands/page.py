"""The commands that show the syncs as a page: live on this machine, or frozen into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dbt_segconn.commands.main import as_options, main
from dbt_segconn.commands.options import project_options
from dbt_segconn.commands.output import say
from dbt_segconn.errors import SegconnError

HISTORY_OPTION = click.option(
    "--history",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    help="Maximum syncs to read, the newest of all mappings.",
)


@main.command()
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
@HISTORY_OPTION
def ui(*, port: int, debugger: str | None, with_debugger: bool, history: int, **given: Any) -> None:
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
        as_options(**given),
        port,
        debugger=debugger,
        with_debugger=with_debugger,
        history=history,
        on_ready=lambda url: say(f"Listening on {url} - open it in a browser. Ctrl-C stops it."),
    )


@main.command()
@project_options
@click.option(
    "--html",
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    help="File to write; - prints the page.",
)
@click.option("--identifiers", is_flag=True, help="Include the identifiers of discarded records.")
@HISTORY_OPTION
def report(*, file: Path, identifiers: bool, history: int, **given: Any) -> None:
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
    from dbt_segconn.web.page.html_report import freeze
    from dbt_segconn.web.page.snapshot import read_snapshot

    page = freeze(read_snapshot(as_options(**given), history), identifiers=identifiers)
    if str(file) == "-":
        click.echo(page, nl=False)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if identifiers:
            with open_private(file) as private:
                private.write(page.encode())
        else:  # to be published, so as the umask says
            file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SegconnError(f"{file}: cannot be written: {error.strerror}.") from None
    say(f"Wrote {file}.")
