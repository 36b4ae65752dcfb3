"""The command `report`: write the page of syncs as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, history_option, project_options
from dbt_segconn.commands.terminal.output import say
from dbt_segconn.errors import SegconnError


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
@history_option
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
    from dbt_segconn.web.page.html_report import freeze
    from dbt_segconn.web.page.snapshot import read_snapshot

    page = freeze(read_snapshot(as_options(**params), history), identifiers=identifiers)
    if str(file) == "-":
        click.echo(page, nl=False)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if identifiers:
            with open_private(file) as private:
                private.write(page.encode())
        else:  # without identifiers, the umask decides which users can read the file
            file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SegconnError(f"{file}: cannot be written: {error.strerror}.") from None
    say(f"Wrote {file}.")
