"""The command `import`: convert mappings exported from Segment."""

from __future__ import annotations

from pathlib import Path

import click

from dbt_segconn.commands.main import command


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
    from dbt_segconn.authoring.importer import as_yaml, read_exports

    click.echo(as_yaml(read_exports(files)))
