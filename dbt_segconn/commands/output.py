"""The one way to print: no terminal and no CI obeys what comes from data.

Control characters are escaped, and lines that GitHub would take for its commands (`::add-mask::`) are defused.
YAML, HTML and GitHub's annotations have escapes of their own and are printed by `click.echo`.
"""

from __future__ import annotations

import json
import re
from secrets import token_hex
from typing import Any

import click
import orjson

from dbt_segconn.wording import printable

# Stands for the escape character of our own styles until all others are escaped: data cannot guess it
_MARK = token_hex(8)
_NOT_ASCII = re.compile(r"[^\n -~]")
_COMMAND = re.compile(r"^(\s*)(?=::|##\[|##vso\[)", re.MULTILINE)


def styled(text: str, **given: Any) -> str:
    """Color a text for `say` or `write`, as click does."""
    return click.style(text, **given).replace("\x1b", _MARK)


def say(line: str = "", *, err: bool = False, color: bool | None = None) -> None:
    """Print one line; line ends inside it are escaped, too."""
    write(line.replace("\n", "\\n"), err=err, color=color)


def write(text: str, *, err: bool = False, color: bool | None = None, keep: str = "\n") -> None:
    """Print a text of several lines; of the characters that cannot be printed, only those to `keep` stay."""
    click.echo(_COMMAND.sub(r"\1\\", printable(text, keep)).replace(_MARK, "\x1b"), err=err, color=color)


def write_json(value: Any, *, indent: bool = True) -> None:
    """Print a value as JSON, in whose texts all that cannot be printed is escaped; integers may be of any size."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:
        text = json.dumps(value, indent=2 if indent else None)
    click.echo(_NOT_ASCII.sub(_in_json, text))


def _in_json(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]
