"""The command `init`: create segconn.yml and a first mapping."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from dbt_segconn.commands.completion import complete_model
from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, project_options
from dbt_segconn.commands.suggest import NEXT_STEPS, write_mapping
from dbt_segconn.commands.terminal.output import say


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
    from dbt_segconn.project.dbt_project import find_project

    options, proposal = as_options(**params), None
    with suppress(first_mapping.AlreadyMapped):
        proposal = first_mapping.propose(options, model) if model else None
    for line in first_mapping.init(find_project(params["project_dir"]).dir):
        say(line)
    if proposal and proposal.model.meta is None:
        write_mapping(proposal)
    elif model:
        say(f"{model} has mappings already and stays unchanged.")
    parse = "" if first_mapping.has_manifest(options) else "`dbt parse`, then "
    steps = NEXT_STEPS if model else f"{parse}`dbt-segconn suggest MODEL` proposes a mapping. Then {NEXT_STEPS}"
    say(f"Next: {steps}")
