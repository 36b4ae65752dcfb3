"""The command `sources`: write the state tables as a dbt source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dbt_segconn.commands.generated_file import write_generated
from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import FOLDER, as_options, project_options


@command(group="Lineage")
@project_options
@click.option(
    "--output-dir", "-o", type=FOLDER, default="models/segconn", show_default=True, help="Folder to write to."
)
def sources(*, output_dir: Path, **params: Any) -> None:
    """Write the history of syncs and the discards as a dbt source, with a model of delivery rates.

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
    folder = context.project_dir / output_dir
    read_settings(context.project_dir, context.jinja())  # raises the errors of segconn.yml before a file is written
    write_generated(folder / "segconn_sources.yml", lineage.sources(unrendered_state(context.project_dir)))
    write_generated(folder / "segconn_delivery_rates.sql", lineage.delivery_rates())
