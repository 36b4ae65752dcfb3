"""The command `history`: show the past of one record."""

from __future__ import annotations

from typing import Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, complete_mapping, format_option, project_options
from dbt_segconn.commands.terminal.output import say


@command(group="After a run")
@project_options
@click.argument("mapping", shell_complete=complete_mapping)
@click.option("--record", required=True, metavar="ID", help="Identifier of the record.")
@format_option("text", "json")
def history(*, mapping: str, record: str, style: str, **params: Any) -> None:
    """Show the past of one record of MAPPING (model.mapping): its confirmed calls and its discards.

    Each confirmed call has its change type, messageId, sync and the time at which the sync was settled. An updated
    record has its changed columns if the mapping has `changed_columns: true`. Confirmed calls are in the delivery
    log, which `state.deliveries` of segconn.yml switches on. With --format json, times are in UTC.

    \b
    Examples:
      dbt-segconn history customers.identify_customers --record c-1042
      dbt-segconn history identify_customers --record c-1042 --format json
    """
    from dbt_segconn.commands.terminal.tables import show
    from dbt_segconn.inspection.overview import record_past

    past = record_past(as_options(**params), mapping, record)
    is_text = style == "text"
    # a list is a value in JSON; a table needs a text
    rows = past.rows
    if is_text:
        rows = tuple({**row, "changed": _names(row["changed"])} for row in rows)
    if rows or is_text:
        show(rows, "table" if is_text else "json")
    # with JSON, standard output has rows only
    for note in past.notes:
        say(f"{note}.", err=not is_text)


def _names(changed: list[str] | None) -> str | None:
    """Return changed columns for a table. A record that is sent again may have none."""
    return None if changed is None else ", ".join(changed) or "no column"
