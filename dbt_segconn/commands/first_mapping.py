"""The commands `suggest`, `init` and `import`: first mappings of a project."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.actions import ACTIONS
from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, complete_model, project_options
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
        _write_mapping(proposal)
        say(f"Next: {NEXT_STEPS}")
    else:
        write(proposal.as_yaml().rstrip("\n"))


def _write_mapping(proposal: Proposal) -> None:
    """Write a proposed mapping to the YAML file of its model, and print what was written."""
    say(f"Added a mapping of {proposal.model.name} to {proposal.write()}.")
    for note in proposal.notes():
        say(f"  {note}")


@command(group="Set up")
@project_options
@click.argument("model", required=False, shell_complete=complete_model)
def init(*, model: str | None, **params: Any) -> None:
    """Create segconn.yml, the schemas for your editor and, for a MODEL, a first mapping.

    Existing files stay unchanged. The mapping is the one that `suggest` proposes. A model with mappings stays
    unchanged.

    \b
    Examples:
      dbt-segconn init
      dbt-segconn init customers
    """
    from dbt_segconn.authoring import first_mapping
    from dbt_segconn.project.yaml_file import find_project

    options, proposal = as_options(**params), None
    # proposed first: an unknown model must not leave half of the files behind
    with suppress(first_mapping.AlreadyMapped):
        proposal = first_mapping.propose(options, model) if model else None
    for line in first_mapping.init(find_project(params["project_dir"]).dir):
        say(line)
    # `init` may run again: it adds a mapping only where there is none
    if proposal and proposal.model.meta is None:
        _write_mapping(proposal)
    elif model:
        say(f"{model} has mappings already and stays unchanged.")
    # `suggest` finds models in the manifest
    parse = "" if first_mapping.has_manifest(options) else "`dbt parse`, then "
    steps = NEXT_STEPS if model else f"{parse}`dbt-segconn suggest MODEL` proposes a mapping. Then {NEXT_STEPS}"
    say(f"Next: {steps}")


@command(group="Set up", name="import")
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
    from dbt_segconn.authoring.importer import as_yaml

    click.echo(as_yaml(files))  # not `write`: YAML is escaped by its own rules
