"""Small answers as tables or JSON."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from dbt_segconn.commands.output import say, write_json
from dbt_segconn.wording import printable


def show(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print rows of equal keys: as a table for people, or as JSON lines."""
    if output == "json":
        for row in rows:
            write_json(row, indent=False)
    elif rows:
        _table(rows)
    else:
        say("Nothing yet.")


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    import agate

    names = [name for name in rows[0] if any(row[name] not in {None, ""} for row in rows)]
    table = agate.Table(
        [[_text(row[name]) for name in names] for row in rows],
        names,
        [agate.Text(cast_nulls=False)] * len(names),
    )
    text = io.StringIO()
    table.print_table(max_rows=None, max_columns=None, max_column_width=80, output=text)
    click.echo(text.getvalue(), nl=False)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else printable(str(value))
