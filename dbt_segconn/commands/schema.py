"""The commands `schema` and `fields`: JSON Schemas for editors, and the fields of actions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import project_dir_option
from dbt_segconn.commands.terminal.output import say, styled, write, write_json

if TYPE_CHECKING:
    from dbt_segconn.actions import Action, Field


@command(group="Set up")
@project_dir_option
@click.argument("what", type=click.Choice(["settings", "meta", "models"]), required=False)
def schema(*, what: str | None, project_dir: Path | None) -> None:
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
    from dbt_segconn.project.yaml_file import find_project

    if what is not None:
        # click allows three words only: each has its function
        write_json(getattr(editor_schema, f"{what}_schema")())
        return
    project = find_project(project_dir)  # needs no profile: an editor is set up before a warehouse
    for path in editor_schema.write_schemas(project.dir):
        say(f"Wrote {path.relative_to(project.dir)}.")
    write(editor_schema.VS_CODE)


@command(group="Reference")
@click.argument("action", required=False)
def fields(action: str | None) -> None:
    """List the fields of an ACTION, or of all five, with types and descriptions.

    \b
    Examples:
      dbt-segconn fields track
      dbt-segconn fields
    """
    from dbt_segconn.actions import ACTIONS, find_action

    actions = [find_action(action)] if action else ACTIONS.values()
    write("\n\n".join("\n".join(_reference(one)) for one in actions))


def _reference(action: Action) -> Iterator[str]:
    """Yield a line for each field of an action, and under an object one for each of its properties."""
    yield f"{styled(action.name, bold=True)}: {action.description}"
    for field in action.fields:
        yield _field_line(field, "  ")
        yield from (_field_line(one, "    ") for one in field.properties)


def _field_line(field: Field, indent: str) -> str:
    name = f"{indent}{field.name}{' (required)' if field.required else ''}"
    return f"{name:<28} {field.type:<8} {field.description}"
