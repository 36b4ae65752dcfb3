"""The command `adopt`: keep the state of a mapping under a new name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, complete_mapping, project_options
from dbt_segconn.commands.terminal.output import say
from dbt_segconn.errors import ConfigurationError, counted

if TYPE_CHECKING:
    from dbt_segconn.engine.opening import Options
    from dbt_segconn.project.mappings import Mapping
    from dbt_segconn.state.tables import HistoryRow, State


@command(group="State")
@project_options
@click.argument("old")
@click.argument("new", shell_complete=complete_mapping)
def adopt(*, old: str, new: str, **params: Any) -> None:
    """Move the records and the history of the mapping OLD to NEW, its new name or a new version of its model.

    OLD must be gone from the project (`status --orphans` lists such mappings by name and id). NEW must not have
    been synced yet. Nothing is sent.

    \b
    Examples:
      dbt-segconn adopt customers.identify customers.identify_customers
      dbt-segconn adopt customers.v2.identify customers.v3.identify
    """
    records = _adopt(as_options(**params), old, new)
    say(f"{new} has taken over {counted(records, 'record')} of {old}.")


def _adopt(options: Options, old: str, new: str) -> int:
    """Move the records, outbox, discards and history of an orphan to a mapping of the project.

    Returns how many records the mapping has then. Raises ConfigurationError if `old` is no orphan (by name or id),
    if `new` is not exactly one mapping of the project, or if `new` has been synced already.
    """
    from dbt_segconn.inspection.overview import find_orphans, names_shown, opened_state
    from dbt_segconn.project.meta import find_mapping
    from dbt_segconn.state.locks import Locks
    from dbt_segconn.state.outbox import MappingTables

    with opened_state(options) as (project, state):
        state.prepare()
        mapping = find_mapping(new, project.mappings)
        orphans = find_orphans(project, state)
        found = _find_orphan(old, orphans)
        old_name = names_shown(project, orphans)[found.mapping_id]
        tables, old_tables = MappingTables(state, mapping.id), MappingTables(state, found.mapping_id)
        locks = Locks()  # of both: a sync of either would write the tables that are moved
        with locks.hold(state, mapping.id, mapping.name), locks.hold(state, found.mapping_id, old_name):
            # checked and read under the locks: a sync of another process may have ended a moment before
            if state.has_settled(mapping.id):  # `adopt` would drop its records
                raise ConfigurationError(
                    f"{mapping.name} has been synced already and has its own records. To replace them with those of "
                    f"{old_name}, run `dbt-segconn reset {mapping.name}` first."
                )
            # a history without records: the next sync would find every record added, and send it
            if not old_tables.present().records:
                raise ConfigurationError(f"{old_name} has no records to move: {old_tables.records} is missing.")
            last = replace(state.last_sync(found.mapping_id) or found, saved_at=state.now())
            changed = _changed_columns(mapping, last, state)
            state.together(lambda: tables.adopt(old_tables, last, changed))
            return tables.known()


def _changed_columns(mapping: Mapping, last: HistoryRow, state: State) -> dict[str, str]:
    """Return the changed columns of the history. They include the relation if the model differs."""
    changed = {"model": mapping.model.unique_id, "mapping": mapping.name}
    if last.model == mapping.model.unique_id:
        return changed
    return {**changed, "relation": str(state.session.relation_of(mapping.model))}


def _find_orphan(name: str, orphans: Sequence[HistoryRow]) -> HistoryRow:
    from dbt_segconn.project.meta import find_mapping, shown_names
    from dbt_segconn.project.strict_model import near_name

    # a name of two orphans is an error of its own, which `find_mapping` raises
    if any(name in last.names.all for last in orphans):
        return find_mapping(name, orphans)
    shown = sorted(shown_names(last.names for last in orphans).values())
    raise ConfigurationError(
        f"no mapping named {name!r} is gone from the project.{near_name(name, shown)} Gone: "
        f"{', '.join(shown) or 'none'}."
    )
