"""The command `fields`: list the fields of actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.terminal.output import styled, write

if TYPE_CHECKING:
    from dbt_segconn.actions import Action, Field


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
