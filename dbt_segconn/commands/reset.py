"""The command `reset`: forget what was sent of a mapping."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, complete_mapping, project_options
from dbt_segconn.commands.terminal.output import confirm, say

if TYPE_CHECKING:
    from dbt_segconn.engine.opening import Options, Project
    from dbt_segconn.project.mappings import Mapping
    from dbt_segconn.state.tables import HistoryRow, State


@command(group="State")
@project_options
@click.argument("mappings", nargs=-1, required=True, shell_complete=complete_mapping)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def reset(*, mappings: tuple[str, ...], yes: bool, **params: Any) -> None:
    """Forget the records of MAPPINGS (model.mapping), so that the next run sends all of them as added.

    To reset a mapping that is gone from the project, write the name that `status --orphans` shows.

    \b
    Example:
      dbt-segconn reset customers.identify_customers
    """
    options = as_options(**params)
    # the warehouse is closed while the question waits: a DuckDB file that is open here is locked for dbt
    if not yes:
        # this call only checks the names: a wrong one is reported before the question
        names = ", ".join(_reset(options, mappings, is_confirmed=False))
        question = f"The next run will send every record of {names} again. Reset?"
        if not confirm(question, "Nothing was reset."):
            say("Nothing was changed.")
            return
    for name in _reset(options, mappings, is_confirmed=True):
        say(f"Reset {name}.")


def _reset(options: Options, names: Collection[str], *, is_confirmed: bool) -> list[str]:
    """Forget the records of mappings if it `is_confirmed`; the next sync of each then finds all of them added.

    Includes mappings that are gone from the project (orphans). Returns the full names of the mappings. Raises
    ConfigurationError if no mapping has a name, or if several have it; LockedError while a mapping is synced.
    """
    from dbt_segconn.inspection.overview import opened_state

    with opened_state(options) as (project, state):
        found, shown = _find(project, state, names)
        if is_confirmed:
            state.prepare()
            for mapping_id, mapping in found.items():
                _forget(state, mapping, shown[mapping_id])
    return [shown[mapping_id] for mapping_id in found]


def _find(
    project: Project, state: State, names: Collection[str]
) -> tuple[abc.Mapping[str, Mapping | HistoryRow], abc.Mapping[str, str]]:
    """Return the mappings with these names by id, orphans included, and the full name of every mapping by id."""
    from dbt_segconn.inspection.overview import find_orphans, names_shown
    from dbt_segconn.project.meta import find_mapping

    # a mapping that is gone has state, which `reset` removes: it can be named, too
    orphans = find_orphans(project, state)
    known: list[Mapping | HistoryRow] = [*project.mappings, *orphans]
    found = (find_mapping(name, known) for name in names)
    return {one.names.id: one for one in found}, names_shown(project, orphans)


def _forget(state: State, mapping: Mapping | HistoryRow, name: str) -> None:
    from dbt_segconn.state.locks import Locks
    from dbt_segconn.state.outbox import MappingTables
    from dbt_segconn.state.tables import HistoryRow, new_row

    if isinstance(mapping, HistoryRow):
        last = mapping
    else:
        last = state.last_sync(mapping.id) or new_row(mapping, state.now()).as_reset(state.now())
    tables = MappingTables(state, last.mapping_id)
    with Locks().hold(state, last.mapping_id, name):
        reset = replace(last, mapping=name).as_reset(state.now())
        state.together(lambda: tables.forget(last, reset))
