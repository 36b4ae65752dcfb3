"""Rows as a table or as JSON lines, and a record beside its call, in the width of the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from dbt_segconn.commands.terminal.output import is_plain, say, styled, width, write_json, write_table
from dbt_segconn.errors import printable
from dbt_segconn.inspection.preview import Shown

_GAP = 2
# If the terminal is too narrow, wider columns are wrapped to this width
_WRAPPED = 24
# Maximum width of a record: longer values are wrapped here, but not in the call
_WIDEST = 100
_COLORS = {"added": "green", "updated": "yellow", "deleted": "red"}


def show(rows: Sequence[Mapping[str, Any]], output: str, *, empty: str = "Nothing yet.") -> None:
    """Print rows that have equal keys, as a table or as JSON lines; or `empty` instead of a table without rows."""
    if output == "json":
        for row in rows:
            write_json(row, indent=False)
    elif rows:
        write_table(_layout(rows))
    else:
        say(empty)


def _layout(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table; if it is wider than the terminal, a list of names and values for each row."""
    # columns without a value are left out: most syncs have no error, for example
    names = [name for name in rows[0] if any(row[name] not in {None, ""} for row in rows)]
    cells = [[_cell(row[name]) for name in names] for row in rows]
    longest = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    is_wide = sum(min(one, _WRAPPED) + _GAP for one in longest) - _GAP > width()
    return _lists(names, cells) if is_wide else _table(names, cells, longest)


def _table(names: Sequence[str], cells: Sequence[Sequence[str]], longest: Sequence[int]) -> Table:
    is_text = is_plain(sys.stdout)
    table = Table(box=None if is_text else SIMPLE_HEAD, padding=(0, _GAP if is_text else _GAP - 1, 0, 0))
    table.pad_edge = table.show_edge = False
    for name, size in zip(names, longest, strict=True):
        table.add_column(name, overflow="fold", min_width=min(size, _WRAPPED), no_wrap=size <= _WRAPPED)
    for row in cells:
        table.add_row(*map(Text, row))  # rich would read brackets in a plain str as markup
    return table


def _lists(names: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    grid = _pairs(style="" if is_plain(sys.stdout) else "bold")
    for row in cells:
        for name, value in zip(names, row, strict=True):
            grid.add_row(name, Text(value))
        grid.add_row()
    return grid


def _pairs(style: str = "") -> Table:
    """Return an empty table for names and values. It folds long words: by default, rich would cut them off."""
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(style=style, overflow="fold")
    grid.add_column(overflow="fold")
    return grid


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else printable(str(value))


def show_change(shown: Shown) -> None:
    """Print a change: its record on the left, its call or the discard reason on the right."""
    change_type = styled(shown.change_type, fg=_COLORS.get(shown.change_type), bold=True)
    unsent = f"  not sent: {shown.unsent}" if shown.unsent else ""
    say(f"{styled(shown.mapping, bold=True)}  {change_type}  {printable(str(shown.record_id))}{unsent}")
    if shown.changed is not None:
        say(f"changed: {printable(', '.join(shown.changed))}")
    sides = Table(box=_bar("|" if is_plain(sys.stdout) else "│"), show_header=False, show_edge=False, pad_edge=False)
    sides.add_column(max_width=min(_WIDEST, width() // 2))
    sides.add_column(overflow="fold")
    call = as_text(shown.call) if shown.call is not None else printable(f"discarded: {shown.discard}")
    sides.add_row(_record(shown.record), Text(call))
    write_table(sides)
    say()


def as_text(value: Any) -> str:
    """Return indented JSON of any value that a call can contain, without control characters."""
    return printable(json.dumps(value, indent=2, ensure_ascii=False, default=str), keep="\n")


def _record(record: Mapping[str, Any]) -> Table:
    lines = _pairs()
    for name, value in record.items():
        lines.add_row(Text(printable(name)), Text(printable(json.dumps(value, ensure_ascii=False, default=str))))
    return lines


def _bar(character: str) -> Box:
    """Return a box that draws only a bar between columns."""
    return Box(f"    \n  {character} \n" * 4, ascii=character.isascii())
