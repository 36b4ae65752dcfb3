"""The command `preview`: show the calls that a run would send now."""

from __future__ import annotations

import sys
from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, outlook_options
from dbt_segconn.commands.terminal.output import say, write_json


@command(group="Before a run")
@outlook_options
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
    help="text: each record beside its call, --limit of each change type. "
    "Default: json if the output is not a terminal.",
)
def preview(
    *, change_type: tuple[str, ...], record: tuple[str, ...], limit: int, style: str | None, **params: Any
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
    from dbt_segconn.commands.terminal.tables import show_change
    from dbt_segconn.inspection.preview import preview as preview_changes

    # a script that pipes calls gets JSON on standard output and nothing else
    is_text = style == "text" or (style is None and sys.stdout.isatty())
    previews = preview_changes(
        # `all`: a preview does not need dbt's results
        as_options(**params, all=True),
        change_types=change_type,
        records=record,
        limit=limit,
        of_each_type=is_text,
    )
    for one in previews:
        for shown in one.shown:
            if is_text:
                show_change(shown)
            else:
                write_json(shown.as_json())
        for note in one.notes():
            say(f"{one.mapping}: {note}.", err=not is_text)
    if not previews:
        say("Nothing to show: no mapping is selected.", err=not is_text)
