"""The command `diff`: mapping changes as text, JSON, or a Markdown comment for a pull request."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.main import FAILED, OK, command
from dbt_segconn.commands.options import FOLDER, as_options, dbt_option, format_option, project_options
from dbt_segconn.commands.terminal.output import write, write_json
from dbt_segconn.errors import counted

if TYPE_CHECKING:
    from dbt_segconn.authoring.comparison import MappingChange

# Incremented if a key of the JSON changes its meaning or is removed
SCHEMA_VERSION = 1
_SIGNS = {"added": "+", "removed": "-", "renamed": ">", "changed": "~"}
_MARKS = {"breaking": "!", "resends": "*", "note": " "}
_ICONS = {"breaking": "🛑", "resends": "🔁", "note": "▫️"}
# After an @, keeps Markdown from notifying a user of that name
_ZERO_WIDTH_SPACE = "\u200b"


@command(group="Check")
@project_options
@dbt_option(
    "--state",
    type=FOLDER,
    required=True,
    help="Folder of the artifacts to compare with, such as those of production.",
)
@format_option("text", "json", "markdown")
@click.option("--online", is_flag=True, help="Count in the warehouse how many calls each change sends.")
def diff(*, state: Path, style: str, online: bool, **params: Any) -> None:
    """Show what this branch changes for Segment, against the artifacts of another state.

    Reports mappings that are added, removed, renamed or changed, used columns that are gone or have another
    type, and changed identifiers. Reads both manifests, and catalog.json if it exists. --online counts the
    calls that each change sends, by the models and the state of the target: after `dbt parse --target prod`,
    those of production.

    \b
    Examples:
      dbt-segconn diff --state prod-artifacts
      dbt-segconn diff --state prod-artifacts --online
      dbt-segconn diff --state prod-artifacts --format markdown > comment.md

    Exit codes: 0 nothing breaks, 1 breaking changes, 2 could not compare.
    """
    from dbt_segconn.authoring.comparison import compare

    changes = compare(as_options(**params), state, online=online)
    if style == "json":
        write_json(_as_json(changes))
    else:
        for line in _as_markdown(changes) if style == "markdown" else _as_text(changes):
            # the zero-width space is our own; all other unprintable characters are escaped
            write(line, keep=f"\n{_ZERO_WIDTH_SPACE}")
    sys.exit(FAILED if any(change.is_breaking for change in changes) else OK)


def _summary(changes: Sequence[MappingChange]) -> str:
    if not changes:
        return "No mapping changes."
    statuses = [f"{sum(one.status == status for one in changes)} {status}" for status in _SIGNS]
    breaking = sum(change.is_breaking for change in changes)
    return f"{counted(len(changes), 'mapping')}: {', '.join(statuses)}; {breaking} with breaking changes."


def _as_text(changes: Sequence[MappingChange]) -> Iterator[str]:
    """Yield a line for each change and its details: `!` breaks downstream, `*` sends records again."""
    for change in changes:
        yield f"{_SIGNS[change.status]} {change.mapping} ({change.status}{_calls(change)})"
        yield from (f"    {_MARKS[detail.effect]} {detail.text}" for detail in change.details)
    yield _summary(changes)


def _calls(change: MappingChange) -> str:
    return f", {change.calls:,} calls" if change.calls else ""


def _as_json(changes: Sequence[MappingChange]) -> dict[str, Any]:
    """Return all changes as one JSON object."""
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


def _as_markdown(changes: Sequence[MappingChange]) -> Iterator[str]:
    """Yield a comment for a pull request. A bot recognises an earlier comment, to replace it, by the first line."""
    yield "<!-- dbt-segconn diff -->"
    yield "### What this changes for Segment"
    yield ""
    yield _summary(changes)
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
    """Return a text as a table cell: escape Markdown and HTML, keep code in backticks.

    Backticks are paired as Markdown pairs them. If the pairs are ambiguous, all backticks are escaped.
    """
    line = " ".join(text.split())
    if "``" in line or line.count("`") % 2:
        return _escaped(line)
    parts = line.split("`")  # every second part is code
    return "".join(_in_code(part) if at % 2 else _escaped(part) for at, part in enumerate(parts))


def _escaped(text: str) -> str:
    # a fork chooses its names: they must not add links, images or mentions to our comment
    escaped = "".join(f"\\{letter}" if letter in r"\`|*_<>[]#~" else letter for letter in text)
    return escaped.replace("@", f"@{_ZERO_WIDTH_SPACE}")


def _in_code(text: str) -> str:
    """Return a text as inline code. `|` is escaped even there: it ends a table cell."""
    line = " ".join(text.split()).replace("|", r"\|")
    # code with backticks needs a longer fence: https://spec.commonmark.org/0.31.2/#code-spans
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"
