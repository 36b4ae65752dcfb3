"""The command `schema`: write JSON Schemas for editors."""

from __future__ import annotations

from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import project_options
from dbt_segconn.commands.terminal.output import say, write, write_json


@command(group="Set up")
@project_options
@click.argument("what", type=click.Choice(["settings", "meta", "models"]), required=False)
def schema(*, what: str | None, **params: Any) -> None:
    """Write the JSON Schemas with which editors complete and check your YAML.

    Without an argument, writes .segconn/settings.schema.json (for segconn.yml) and
    .segconn/models.schema.json (for dbt's YAML files) into the project, and explains how to use them in VS Code.
    With an argument, prints one schema: for segconn.yml, for config.meta.segconn, or for dbt's YAML files.

    \b
    Examples:
      dbt-segconn schema
      dbt-segconn schema meta > segconn-meta.schema.json
    """
    from dbt_segconn.authoring import editor_schema
    from dbt_segconn.project.dbt_project import find_project

    if what is not None:
        write_json(getattr(editor_schema, f"{what}_schema")())
        return
    project = find_project(params["project_dir"])
    for path in editor_schema.write_schemas(project.dir):
        say(f"Wrote {path.relative_to(project.dir)}.")
    write(editor_schema.VS_CODE)
