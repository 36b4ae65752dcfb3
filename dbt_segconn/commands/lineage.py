"""The commands `exposures` and `sources`: write mappings and state tables as YAML for dbt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import FILE, FOLDER, as_options, project_options
from dbt_segconn.commands.terminal.output import say, writing
from dbt_segconn.errors import ConfigurationError


def _write_generated(path: Path, text: str) -> None:
    """Write a file that begins with our heading, and print its path.

    Raises ConfigurationError if the file exists and does not begin with the heading: it is the user's.
    """
    heading = text.partition("\n")[0]
    with writing(path):
        if path.exists() and not path.read_text(encoding="utf-8").startswith(heading):
            raise ConfigurationError(f"{path}: exists, and this command did not write it. Choose another file.")
        path.write_text(text, encoding="utf-8")
    say(f"Wrote {path}.")


@command(group="Lineage")
@project_options
@click.option(
    "--output",
    "-o",
    type=FILE,
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
    text = lineage.exposures(project, {"name": owner, "email": owner_email})
    if output is None:
        # not `write`: YAML is escaped by its own rules
        click.echo(text, nl=False)
    else:
        _write_generated(output, text)


@command(group="Lineage")
@project_options
@click.option(
    "--output-dir", "-o", type=FOLDER, default="models/segconn", show_default=True, help="Folder to write to."
)
def sources(*, output_dir: Path, **params: Any) -> None:
    """Write history, discards and delivery log as a dbt source, with a model of delivery rates.

    The first run on a target creates the tables. Until then, the model has no rows.

    \b
    Examples:
      dbt-segconn sources
      dbt build --select segconn_delivery_rates
    """
    from dbt_segconn.authoring import lineage
    from dbt_segconn.engine.opening import resolve_context
    from dbt_segconn.project.settings import read_settings, unrendered_state

    context = resolve_context(as_options(**params))
    # dbt finds the files only inside the project, so the folder does not start in the working directory
    folder = context.project_dir / output_dir
    read_settings(context.project_dir, context.jinja())  # raises the errors of segconn.yml before a file is written
    # not rendered: with `segconn_{{ target.name }}`, dbt finds the tables of each target
    _write_generated(folder / "segconn_sources.yml", lineage.sources(unrendered_state(context.project_dir)))
    _write_generated(folder / "segconn_delivery_rates.sql", lineage.delivery_rates())
