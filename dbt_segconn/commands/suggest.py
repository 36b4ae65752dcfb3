"""The command `suggest`: propose a mapping of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.actions import ACTIONS
from dbt_segconn.commands.completion import complete_model
from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, project_options
from dbt_segconn.commands.terminal.output import say, write

if TYPE_CHECKING:
    from dbt_segconn.authoring.first_mapping import Proposal

NEXT_STEPS = "`dbt parse`, `dbt-segconn validate`, `dbt-segconn preview`."


@command(group="Set up")
@project_options
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--action", type=click.Choice(list(ACTIONS)), help="Action of the mapping. Default: guessed from the model."
)
@click.option("--write", "is_written", is_flag=True, help="Append the mapping to the model's YAML file.")
@click.option("--online", is_flag=True, help="Fail if the columns cannot be read from the warehouse.")
def suggest(*, model: str, action: str | None, is_written: bool, online: bool, **params: Any) -> None:
    """Propose a mapping of MODEL from the names, types and descriptions of its columns.

    Matches columns with the action's fields and with the reserved traits and properties of Segment's Spec.
    Columns without a match are listed and left out. If neither a contract nor a fresh catalog.json lists the
    columns, they are read from the warehouse. --write keeps the comments and the layout of the file.

    \b
    Examples:
      dbt-segconn suggest customers
      dbt-segconn suggest orders --action track --write
    """
    from dbt_segconn.authoring.first_mapping import propose

    proposal = propose(as_options(**params), model, action=action, online=online)
    if is_written:
        write_mapping(proposal)
        say(f"Next: {NEXT_STEPS}")
    else:
        write(proposal.as_yaml().rstrip("\n"))


def write_mapping(proposal: Proposal) -> None:
    """Write a proposed mapping to the YAML file of its model, and print what was written."""
    say(f"Added a mapping of {proposal.model.name} to {proposal.write()}.")
    for note in proposal.notes():
        say(f"  {note}")
