"""dbt's own options under dbt's own names, each with the environment variables that dbt reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project import environment_variables
from dbt_segconn.settings import load_yaml

Command = TypeVar("Command", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)


def _variables(ctx: click.Context, param: click.Parameter, value: str | None) -> Mapping[str, Any]:
    """Parse a YAML mapping, as dbt takes it: '{day: 2}'."""
    try:
        parsed = load_yaml(value or "{}", "--vars")
    except ConfigurationError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    if not isinstance(parsed, dict):
        raise click.BadParameter("must be a YAML mapping, such as '{day: 2}'", ctx, param)
    return parsed


def _words(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Split each value at spaces, as dbt's selection takes them."""
    return tuple(word for value in values for word in value.split())


def _option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Declare an option together with dbt's environment variables for it."""
    word = names[0].removeprefix("--").replace("-", "_")
    return click.option(*names, envvar=environment_variables(word), show_envvar=True, **settings)


def _all_of(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


project_options: Callable[[Command], Command] = _all_of(
    _option(
        "--project-dir",
        type=FOLDER,
        help="Folder of dbt_project.yml; this one or the nearest above it by default.",
    ),
    _option(
        "--profiles-dir",
        type=FOLDER,
        help="Folder of profiles.yml; where the last dbt invocation had it by default.",
    ),
    _option("--profile", help="Profile in place of the project's."),
    _option("--target", "-t", help="Target of the profile; the one of the last dbt invocation by default."),
    _option("--target-path", type=FOLDER, help="Folder of dbt's artifacts, such as target."),
    click.option(
        "--vars",
        callback=_variables,
        metavar="YAML",
        help="Variables for var(), such as '{day: 2}'.",
    ),
)
"""Where the project is and how it is opened."""

selection_options: Callable[[Command], Command] = _all_of(
    click.option("--select", "-s", multiple=True, callback=_words, help="Models, in dbt's selection syntax."),
    click.option("--exclude", multiple=True, callback=_words, help="Models to leave out, in dbt's selection syntax."),
    click.option("--selector", help="A selector of selectors.yml."),
    _option("--state", type=FOLDER, help="Artifacts to compare with, for the state: method."),
    click.option(
        "--all",
        is_flag=True,
        help="Take models as they are, whether or not the last dbt invocation refreshed them.",
    ),
)
"""Which models are meant."""

output_options: Callable[[Command], Command] = _all_of(
    _option(
        "--log-format",
        type=click.Choice(["text", "default", "debug", "json"]),
        default="text",
        help="json: one JSON object a line, as dbt's --log-format json.",
    ),
    _option("--quiet/--no-quiet", "-q", default=False, help="Print errors only."),
    _option("--use-colors/--no-use-colors", default=None, help="Colour the lines; only on a terminal by default."),
)
"""How things are said."""
