"""Functions that print or write files for the user. Data cannot control the terminal or CI.

Control characters are escaped, and so are lines that GitHub or Azure would run as commands (`::add-mask::`).
YAML, HTML and GitHub's annotations are escaped by their own rules and printed by `click.echo`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any

import click
import orjson

from dbt_segconn.errors import SegconnError, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from dbt_segconn.project.findings import Finding


# Replaces the escape character of our own styles until all others are escaped. Random, so data cannot contain it
_MARK = token_hex(8)
_NOT_ASCII = re.compile(r"[^\n -~]")
_COMMAND = re.compile(r"^(\s*)(?=::|##\[|##vso\[)", re.MULTILINE)
# Outside a terminal, lines are not wrapped: `grep` finds a whole value in one line
_NO_WIDTH = 1_000_000


def is_plain(stream: IO[str]) -> bool:
    """Check whether a stream shows only text: no colors, no borders, no progress bar."""
    env = os.environ  # https://no-color.org; some CI services give a job a terminal
    is_requested = env.get("NO_COLOR") or env.get("TERM") == "dumb" or env.get("CI", "") not in {"", "0", "false"}
    return bool(is_requested) or not stream.isatty()


def width() -> int:
    """Return the width of a line: that of the terminal, or of the environment variable COLUMNS."""
    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return shutil.get_terminal_size().columns if has_width else _NO_WIDTH


def styled(text: str, **style: Any) -> str:
    """Return a text with a style of click, to print with `say` or `write`."""
    return click.style(text, **style).replace("\x1b", _MARK)


def say(line: str = "", *, err: bool = False, color: bool | None = None) -> None:
    """Print one line; line breaks inside it are escaped."""
    write(line.replace("\n", "\\n"), err=err, color=color)


def write(text: str, *, err: bool = False, color: bool | None = None, keep: str = "\n") -> None:
    """Print a text of several lines; escape all unprintable characters except those in `keep`."""
    if color is None and is_plain(sys.stderr if err else sys.stdout):
        color = False
    click.echo(_COMMAND.sub(r"\1\\", printable(text, keep)).replace(_MARK, "\x1b"), err=err, color=color)


def write_table(table: RenderableType) -> None:
    """Print a table of rich. Its cells must be `Text`, which rich does not parse as markup."""
    from io import StringIO

    text = StringIO()
    console(text, is_terminal=not is_plain(sys.stdout), width=width()).print(table, crop=False)
    lines = text.getvalue().replace("\x1b", _MARK).splitlines()
    write("\n".join(line.rstrip() for line in lines))


def console(file: IO[str], *, is_terminal: bool, width: int | None = None) -> Console:
    """Return a console of rich that prints data unchanged: no markup, no emoji, no highlighting."""
    from rich.console import Console

    return Console(file=file, force_terminal=is_terminal, width=width, markup=False, emoji=False, highlight=False)


def styled_severity(finding: Finding) -> str:
    """Return the severity of a finding in its color."""
    return styled(finding.rule.severity, fg="red" if finding.rule.severity == "error" else "yellow")


def confirm(question: str, unchanged: str) -> bool:
    """Ask the user to confirm. Raise a usage error without a terminal: click would read the answer from a script."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"Confirm with --yes: there is no terminal to ask on. {unchanged}")
    return click.confirm(printable(question))  # click prints the question as it is


def write_json(value: Any, *, indent: bool = True) -> None:
    """Print a value as JSON with all unprintable characters escaped; integers can have any size."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:  # an integer of more than 64 bits
        text = json.dumps(value, indent=2 if indent else None)
    click.echo(_NOT_ASCII.sub(_json_escape, text))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Create the folder of a file that the block writes. Raise SegconnError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise SegconnError(f"{path}: cannot be written: {error.strerror}.") from None


def _json_escape(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]
