"""The command `exposures`: write a dbt exposure for each mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dbt_segconn.commands.generated_file import write_generated
from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, project_options


@command(group="Lineage")
@project_options
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, such as models/segconn_exposures.yml. Default: print.",
)
@click.option("--owner", metavar="NAME", help="Owner if neither the model's meta nor its group names one.")
@click.option("--owner-email", metavar="ADDRESS", help="Email address of that owner.")
def exposures(*, output: Path | None, owner: str | None, owner_email: str | None, **params: Any) -> None:
    """Write a dbt exposure for each mapping, so that lineage shows what feeds Segment.

    Each exposure has its model, its owner, and in its meta the mapping with the columns of each field. Run it
    again after mappings have changed.

    \b
    Examples:
      dbt-segconn exposures --output models/segconn_exposures.yml --owner-email data@example.com
      dbt ls --resource-type exposure
      dbt build --select +exposure:segconn_customers_identify_customers
    """
    from dbt_segconn.authoring import lineage
    from dbt_segconn.engine.opening import read_project

    project = read_project(as_options(**params), needs_results=False, opens=False)
    text = lineage.exposures(project, lineage.Owner(owner, owner_email))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_generated(output, text)
