"""A comparison as text, JSON, or a Markdown comment for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dbt_segconn.authoring.comparison import MappingChange
from dbt_segconn.wording import counted

SCHEMA_VERSION = 1
_SIGNS = {"added": "+", "removed": "-", "renamed": ">", "changed": "~"}
_MARKS = {"breaking": "!", "resends": "*", "note": " "}
_ICONS = {"breaking": "🛑", "resends": "🔁", "note": "▫️"}


def summary(changes: Sequence[MappingChange]) -> str:
    """Sum the changes up in a line."""
    if not changes:
        return "No mapping changes."
    statuses = [f"{sum(one.status == status for one in changes)} {status}" for status in _SIGNS]
    breaking = sum(change.is_breaking for change in changes)
    return f"{counted(len(changes), 'mapping')}: {', '.join(statuses)}; {breaking} with breaking changes."


def as_text(changes: Sequence[MappingChange]) -> Iterator[str]:
    """Yield a line for each change and its details: `!` breaks what is downstream, `*` sends records again."""
    for change in changes:
        yield f"{_SIGNS[change.status]} {change.mapping} ({change.status}{_calls(change)})"
        yield from (f"    {_MARKS[detail.effect]} {detail.text}" for detail in change.details)
    yield summary(changes)


def _calls(change: MappingChange) -> str:
    return f", {change.calls:,} calls" if change.calls else ""


def as_json(changes: Sequence[MappingChange]) -> dict[str, Any]:
    """Return everything as one JSON object; new keys may come, others keep their meaning in a version."""
    return {
        "schema_version": SCHEMA_VERSION,
        "breaking": any(change.is_breaking for change in changes),
        "changes": [
            {
                "mapping": change.mapping,
                "status": change.status,
                "breaking": change.is_breaking,
                "resends": change.resends,
                "sends_all": change.sends_all,
                "calls": change.calls,
                "details": [{"effect": detail.effect, "text": detail.text} for detail in change.details],
            }
            for change in changes
        ],
    }


def as_markdown(changes: Sequence[MappingChange]) -> Iterator[str]:
    """Yield a comment for a pull request; its first line tells a bot which comment to replace."""
    yield "<!-- dbt-segconn diff -->"
    yield "### What this changes for Segment"
    yield ""
    yield summary(changes)
    if changes:
        yield ""
        yield "| mapping | | change |"
        yield "|---|---|---|"
    for change in changes:
        for detail in change.details:
            status = f"{_ICONS[detail.effect]} {change.status}{_calls(change)}"
            yield f"| {_in_code(change.mapping)} | {status} | {_cell(detail.text)} |"
    if changes:
        yield ""
        yield "🛑 breaks what is downstream · 🔁 sends known records again"


def _cell(text: str) -> str:
    """Keep a text in its cell, and from being read as Markdown or HTML; code in backticks stays as it is.

    Backticks are paired as Markdown pairs them. Where that is not clear, none of them begins code.
    """
    flat = " ".join(text.split())
    if "``" in flat or flat.count("`") % 2:
        return _escaped(flat)
    parts = flat.split("`")
    return "".join(_in_code(part) if at % 2 else _escaped(part) for at, part in enumerate(parts))


def _escaped(text: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in r"\`|*_<>[]#~" else letter for letter in text)
    return escaped.replace("@", "@\u200b")  # mentions nobody


def _in_code(text: str) -> str:
    """Write a text as code; a table takes `|` for the end of a cell even there."""
    flat = " ".join(text.split()).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", flat)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{flat}{space}{fence}"
