"""The manual's Markdown in the width of a terminal: wrapped text, and lists instead of tables that are too wide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import fill

_ITEM = r"(?:- |\d+\. )"
_PART = re.compile(
    r"(?P<code>^ *```(?s:.*?)^ *```$)"
    r"|(?P<table>(?:^\|.*\n?)+)"
    rf"|^(?P<indent> *{_ITEM}?)(?P<text>\S.*(?:\n(?! *{_ITEM}| *```|\||#) *\S.*)*)",
    re.MULTILINE,
)
_CELL_END = re.compile(r"(?<!\\)\|")


def fitted(text: str, width: int) -> str:
    """Return a page with lines of this width at most. Code and longer words stay as they are."""
    if max(map(len, text.splitlines())) <= width:
        return text
    return _PART.sub(lambda part: _fit(part, width), text)


def _fit(part: re.Match[str], width: int) -> str:
    if part["code"]:
        return part["code"]
    if part["table"]:
        return _fit_table(part["table"], width)
    return _wrapped(part["text"], part["indent"], width)


def _wrapped(text: str, indent: str, width: int) -> str:
    later = " " * len(indent)
    words = " ".join(text.split())
    return fill(
        words, width, initial_indent=indent, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _fit_table(table: str, width: int) -> str:
    lines = table.splitlines()
    if max(map(len, lines)) <= width:
        return table
    heads, _, *rows = ([cell.strip().replace("\\|", "|") for cell in _CELL_END.split(line)[1:-1]] for line in lines)
    return "\n\n".join("\n".join(_entry(heads, row, width)) for row in rows) + "\n"


def _entry(heads: list[str], row: list[str], width: int) -> Iterator[str]:
    """Yield a row as its first cell, with the others below it."""
    yield _wrapped(row[0], "", width)
    for head, cell in zip(heads[1:], row[1:], strict=True):
        if cell:
            yield _wrapped(cell if len(heads) == 2 else f"{head}: {cell}", "    ", width)
