"""A record and its call, side by side, as wide as the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from dbt_segconn.commands.output import styled
from dbt_segconn.inspection.preview import Shown
from dbt_segconn.wording import printable

_COLORS = {"added": "green", "updated": "yellow", "deleted": "red"}
_GAP = " │ "
NARROWEST = 20


def side_by_side(shown: Shown, width: int) -> Iterator[str]:
    """Yield the lines of a change: its record on the left, on the right its call or why there is none."""
    change_type = styled(shown.change_type, fg=_COLORS.get(shown.change_type), bold=True)
    unsent = f"  not sent: {shown.unsent}" if shown.unsent else ""
    yield f"{styled(shown.mapping, bold=True)}  {change_type}  {printable(str(shown.record_id))}{unsent}"
    if shown.changed is not None:
        yield from _wrapped([printable(f"changed: {', '.join(shown.changed)}")], width)
    left = list(_record(shown.record))
    right = as_text(shown.call).splitlines() if shown.call is not None else [printable(f"discarded: {shown.discard}")]
    half = max(NARROWEST, (width - len(_GAP)) // 2)
    room = min(half, max(map(len, left), default=NARROWEST))
    rest = max(NARROWEST, width - room - len(_GAP))
    pairs = zip_longest(_wrapped(left, room), _wrapped(right, rest), fillvalue="")
    for one, other in pairs:
        yield f"{one:<{room}}{_GAP}{other}".rstrip()
    yield ""


def as_text(value: Any) -> str:
    """Write JSON for people: any value that a call may hold, and nothing that a terminal would obey."""
    return printable(json.dumps(value, indent=2, ensure_ascii=False, default=str), keep="\n")


def _record(record: Mapping[str, Any]) -> Iterator[str]:
    room = max(map(len, record), default=0)
    for name, value in record.items():
        yield printable(f"{name:<{room}}  {json.dumps(value, ensure_ascii=False, default=str)}")


def _wrapped(lines: list[str], width: int) -> Iterator[str]:
    """Cut lines that are too wide; what is left of one stands further in."""
    for line in lines:
        indent = " " * min(len(line) - len(line.lstrip()) + 2, width // 2)
        yield line[:width]
        room = width - len(indent)
        for at in range(width, len(line), room):
            yield indent + line[at : at + room]
