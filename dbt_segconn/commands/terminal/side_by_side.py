"""A record and its call side by side, in the width of the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.box import Box
from rich.table import Table
from rich.text import Text

from dbt_segconn.commands.terminal.output import is_plain, say, styled, width, write_table
from dbt_segconn.errors import printable
from dbt_segconn.inspection.preview import Shown

_COLORS = {"added": "green", "updated": "yellow", "deleted": "red"}
# Maximum width of a record: longer values are wrapped here, but not in the call
_WIDEST = 100


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
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(overflow="fold")
    lines.add_column(overflow="fold")
    for name, value in record.items():
        lines.add_row(Text(printable(name)), Text(printable(json.dumps(value, ensure_ascii=False, default=str))))
    return lines


def _bar(character: str) -> Box:
    """Return a box that draws only a bar between columns."""
    return Box(f"    \n  {character} \n" * 4, ascii=character.isascii())
