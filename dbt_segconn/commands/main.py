"""The group of all commands: help, error messages, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal, get_args

import click

from dbt_segconn.commands.options import GreedyCommand
from dbt_segconn.commands.terminal.output import write
from dbt_segconn.errors import ConfigurationError, SegconnError
from dbt_segconn.project.findings import InvalidProject
from dbt_segconn.version import __version__

# 2 is also the code of click for a wrong option, and 130 that of shells for Ctrl-C (128 + SIGINT)
OK, FAILED, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130

MEANINGS = {
    OK: "Success. Every sync delivered every record; `validate` found no errors; `diff` found no breaking change; "
    "all unit tests passed.",
    FAILED: "A sync failed, was blocked or canceled, discarded records, or was skipped because dbt failed. `validate` "
    "found errors; `diff` found breaking changes; a unit test failed.",
    NOT_STARTED: "The command could not start. Nothing was sent.",
    INTERRUPTED: "Interrupted by Ctrl-C or SIGTERM, or by `--max-runtime`. The next run delivers the rest.",
}
"""exit code → meaning, for the manual"""

HelpGroup = Literal["Set up", "Check", "Before a run", "Run", "After a run", "State", "Lineage", "Reference"]
"""Headings of the help, in the order of the help"""

FINDINGS_HINT = "`dbt-segconn validate` lists each with its code. What a code means: dbt-segconn docs CODE"


class Command(GreedyCommand):
    """A command with its heading in the help."""

    def __init__(self, *args: Any, group: HelpGroup, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


class CommandGroup(click.Group):
    """Turns our errors into a message and an exit code; any other error is a bug and keeps its traceback."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write each command with its whole first sentence, under the heading of its group."""
        # click would cut a sentence after 45 characters; 1000 keeps it whole
        width = max(map(len, self.commands))
        for heading in get_args(HelpGroup):
            commands = {
                name: one
                for name, one in sorted(self.commands.items())
                if isinstance(one, Command) and one.group == heading
            }
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{name:<{width}}", one.get_short_help_str(1000)) for name, one in commands.items()]
                )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            count = len(error.problems)
            heading = "Fix this first:" if count == 1 else f"Fix these {count} problems first:"
            # only findings have codes
            hints = [FINDINGS_HINT] if isinstance(error, InvalidProject) else []
            _fail(heading, *(f"  {problem}" for problem in error.problems), *hints, code=NOT_STARTED)
        except SegconnError as error:
            _fail(f"Could not continue: {error}", code=FAILED)


def _fail(*lines: str, code: int) -> None:
    for line in lines:
        # escapes: problems quote names from files
        write(line, err=True)
    sys.exit(code)


# click's own limit of 80 would be narrower than the widest example, which is not wrapped
@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dbt-segconn")
def main() -> None:
    """Reverse ETL from dbt models to Segment: fast, in order, nothing lost, nothing twice.

    Declare mappings in the YAML of dbt models (config.meta.segconn). Run dbt, then `dbt-segconn run`: it
    delivers what has changed. Each command shows examples with --help.
    """


def command(*, group: HelpGroup, name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Register a function as a command, listed under a heading of the help. The default name is the function's."""
    return main.command(name=name, cls=Command, group=group)
