"""The one way to print: no terminal and no CI obeys what comes from data.

Control characters are escaped, and lines that GitHub would take for its commands (`::add-mask::`) are defused.
YAML, HTML and GitHub's annotations have escapes of their own and are printed by `click.echo`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any

import click
import orjson

from dbt_segconn.wording import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Stands for the escape character of our own styles until all others are escaped: data cannot guess it
_MARK = token_hex(8)
_NOT_ASCII = re.compile(r"[^\n -~]")
_COMMAND = re.compile(r"^(\s*)(?=::|##\[|##vso\[)", re.MULTILINE)
# Outside a terminal, nothing is folded: `grep` finds a whole value in one line
_NO_WIDTH = 1_000_000


def is_plain(stream: IO[str]) -> bool:
    """Check whether a stream takes text alone: no colors, no lines drawn, nothing that moves."""
    given = os.environ
    asks = given.get("NO_COLOR") or given.get("TERM") == "dumb" or given.get("CI", "") not in {"", "0", "false"}
    return bool(asks) or not stream.isatty()


def width() -> int:
    """Return the columns to fill: those of the terminal, or of the environment variable COLUMNS."""
    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return shutil.get_terminal_size().columns if has_width else _NO_WIDTH


def styled(text: str, **given: Any) -> str:
    """Color a text for `say` or `write`, as click does."""
    return click.style(text, **given).replace("\x1b", _MARK)


def say(line: str = "", *, err: bool = False, color: bool | None = None) -> None:
    """Print one line; line ends inside it are escaped, too."""
    write(line.replace("\n", "\\n"), err=err, color=color)


def write(text: str, *, err: bool = False, color: bool | None = None, keep: str = "\n") -> None:
    """Print a text of several lines; of the characters that cannot be printed, only those to `keep` stay."""
    if color is None and is_plain(sys.stderr if err else sys.stdout):
        color = False
    click.echo(_COMMAND.sub(r"\1\\", printable(text, keep)).replace(_MARK, "\x1b"), err=err, color=color)


def write_laid_out(what: RenderableType) -> None:
    """Print a table of rich, whose cells must be `Text`: rich does not read markup in these."""
    from io import StringIO

    text = StringIO()
    console(text, is_terminal=not is_plain(sys.stdout), width=width()).print(what, crop=False)
    lines = text.getvalue().replace("\x1b", _MARK).splitlines()
    write("\n".join(line.rstrip() for line in lines))


def console(file: IO[str], *, is_terminal: bool, width: int | None = None) -> Console:
    """Return a console of rich that finds nothing in data: no markup, no emoji, nothing to highlight."""
    from rich.console import Console

    return Console(file=file, force_terminal=is_terminal, width=width, markup=False, emoji=False, highlight=False)


def write_json(value: Any, *, indent: bool = True) -> None:
    """Print a value as JSON, in whose texts all that cannot be printed is escaped; integers may be of any size."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:
        text = json.dumps(value, indent=2 if indent else None)
    click.echo(_NOT_ASCII.sub(_in_json, text))


def _in_json(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]
