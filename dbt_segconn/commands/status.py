"""The command `status`: show the state tables."""

from __future__ import annotations

from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, format_option, is_given, project_options
from dbt_segconn.commands.terminal.output import say


@command(group="After a run")
@project_options
@click.option("--history", is_flag=True, help="Show the newest syncs instead of one line per mapping.")
@click.option("--discards", is_flag=True, help="Show the discarded records with their reasons.")
@click.option("--orphans", is_flag=True, help="Show mappings that are gone from the project and still have state.")
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Maximum lines of history or discards.",
)
@format_option("text", "json")
def status(*, history: bool, discards: bool, orphans: bool, limit: int, style: str, **params: Any) -> None:
    """Show the last sync of every mapping, the history of syncs, the discarded records, or orphans.

    \b
    Examples:
      dbt-segconn status
      dbt-segconn status --history -n 20
      dbt-segconn status --discards
      dbt-segconn preview --record c-1042   the call of a discarded record, as it would be now
      dbt-segconn status --orphans
    """
    # their rows have different columns
    if history + discards + orphans > 1:
        raise click.UsageError("Choose one of --history, --discards and --orphans.")
    if is_given("limit") and not (history or discards):
        raise click.UsageError("--limit needs --history or --discards. Other lists are complete.")
    from dbt_segconn.commands.terminal.tables import show
    from dbt_segconn.inspection import overview

    options, notes = as_options(**params), list[str]()
    if history:
        rows = overview.history(options, limit)
    elif discards:
        rows, notes = overview.discards(options, limit)
    elif orphans:
        rows = overview.orphans(options)
    else:
        rows = overview.overview(options)
    show(rows, style, empty="None." if orphans or discards else "Nothing yet.")
    # JSON lines have one shape: a note would be a row of another
    for note in notes if style == "text" else ():
        say(note)
