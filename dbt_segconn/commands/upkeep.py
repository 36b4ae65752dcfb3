"""The commands about the state of mappings: what it is, and what a user does to it."""

from __future__ import annotations

from typing import Any

import click

from dbt_segconn.commands.completion import complete_mapping
from dbt_segconn.commands.main import as_options, follow, main
from dbt_segconn.commands.options import output_options, project_options
from dbt_segconn.commands.output import say


@main.command()
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
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(*, history: bool, discards: bool, orphans: bool, limit: int, output: str, **given: Any) -> None:
    """Show the last sync of every mapping, the history of syncs, the discarded records, or orphans.

    \b
    Examples:
      dbt-segconn status
      dbt-segconn status --history -n 20
      dbt-segconn status --discards
      dbt-segconn preview --record c-1042   the call of a discarded record, as it would be now
      dbt-segconn status --orphans
    """
    from dbt_segconn.commands.tables import show
    from dbt_segconn.inspection import overview

    options, notes = as_options(**given), list[str]()
    if history:
        rows = overview.history(options, limit)
    elif discards:
        rows, notes = overview.discards(options, limit)
    elif orphans:
        rows = overview.orphans(options)
    else:
        rows = overview.overview(options)
    show(rows, output)
    for note in notes if output == "text" else ():
        say(note)


@main.command()
@project_options
@click.argument("mappings", nargs=-1, required=True, shell_complete=complete_mapping)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def reset(*, mappings: tuple[str, ...], yes: bool, **given: Any) -> None:
    """Forget the records of MAPPINGS (model.mapping), so that the next run sends all of them as added.

    To reset a mapping that is gone from the project, write the name that `status --orphans` shows.

    \b
    Example:
      dbt-segconn reset customers.identify_customers
    """
    from dbt_segconn.inspection.upkeep import find_names
    from dbt_segconn.inspection.upkeep import reset as reset_mappings

    options = as_options(**given)
    if not yes:
        names = ", ".join(find_names(options, mappings))
        if not click.confirm(f"The next run will send every record of {names} again. Reset?"):
            say("Nothing was changed.")
            return
    for name in reset_mappings(options, mappings):
        say(f"Reset {name}.")


@main.command()
@project_options
@click.argument("mappings", nargs=-1, required=True, shell_complete=complete_mapping)
@output_options
def baseline(**given: Any) -> None:
    """Remember the records of MAPPINGS as they are now, as if they had been sent, and send none.

    After that, only changes are sent. Use it if the destination has the records already, or if state tables were
    lost.

    \b
    Example:
      dbt-segconn baseline customers.identify_customers
    """
    follow(**given, all=True, full_refresh=True, baseline=True)


@main.command()
@project_options
@click.argument("old")
@click.argument("new", shell_complete=complete_mapping)
def adopt(*, old: str, new: str, **given: Any) -> None:
    """Carry the records and the history of the mapping OLD over to NEW, its new name or a new version of its model.

    OLD must be gone from the project (`status --orphans` lists such mappings by name and id). NEW must not have
    been synced yet. Nothing is sent.

    \b
    Example:
      dbt-segconn adopt customers.identify customers.identify_customers
      dbt-segconn adopt customers.v2.identify customers.v3.identify
    """
    from dbt_segconn.inspection.upkeep import adopt as adopt_mapping
    from dbt_segconn.wording import counted

    records = adopt_mapping(as_options(**given), old, new)
    say(f"{new} has taken over {counted(records, 'record')} of {old}.")
