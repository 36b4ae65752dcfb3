"""What a user does to the state of a mapping: forget it, or carry it over to another name."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Sequence
from dataclasses import replace

from dbt_segconn.engine.opening import Options, Project
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.inspection.overview import names_shown, opened_state
from dbt_segconn.project.mapping_names import find_mapping, shown_names
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.state.locks import Locks
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, State, new_row


def find_names(options: Options, names: Collection[str]) -> list[str]:
    """Return the names of the mappings that `reset` would forget. Raises ConfigurationError as it does."""
    with opened_state(options) as (project, state):
        found, shown = _named(project, state, names)
    return [shown[mapping_id] for mapping_id in found]


def reset(options: Options, names: Collection[str]) -> list[str]:
    """Forget the records of names, so that their next sync finds all of them added.

    Mappings that are gone from the project (orphans) may be named, too. Returns the names of those that were
    reset. Raises ConfigurationError for a name that no mapping has, or several have, and LockedError while one is
    being synced.
    """
    with opened_state(options) as (project, state):
        found, shown = _named(project, state, names)
        state.prepare()
        for one in found.values():
            _forget(state, one, shown[one.names.id])
    return [shown[mapping_id] for mapping_id in found]


def _named(
    project: Project, state: State, names: Collection[str]
) -> tuple[abc.Mapping[str, Mapping | HistoryRow], abc.Mapping[str, str]]:
    """Return the names of these names by id, orphans included, and the names that output shows."""
    gone = state.orphans({mapping.id for mapping in project.mappings}) if state.exists() else []
    known: list[Mapping | HistoryRow] = [*project.mappings, *gone]
    found = (find_mapping(name, known) for name in names)
    return {one.names.id: one for one in found}, names_shown(project, gone)


def _forget(state: State, mapping: Mapping | HistoryRow, name: str) -> None:
    if isinstance(mapping, Mapping):
        last = state.last_sync(mapping.id) or new_row(mapping, state.now()).as_reset(state.now())
    else:
        last = mapping
    tables = MappingTables(state, last.mapping_id)
    with Locks().hold(state, last.mapping_id, name), state.transaction():
        tables.forget(last, replace(last, mapping=name).as_reset(state.now()))


def adopt(options: Options, old: str, new: str) -> int:
    """Carry the records, outbox, discards and history of a mapping that is gone over to its new name.

    Returns how many records it now has. Raises ConfigurationError where `old` is no orphan (by name or id),
    where `new` is no single mapping of the project, or where `new` has been synced already.
    """
    with opened_state(options) as (project, state):
        state.prepare()
        mapping = find_mapping(new, project.mappings)
        gone = state.orphans({one.id for one in project.mappings})
        last = _orphan(old, gone)
        was = names_shown(project, gone)[last.mapping_id]
        if state.has_settled(mapping.id):
            raise ConfigurationError(
                f"{mapping.name} has been synced already, and has records of its own. Forget them first, by "
                f"`dbt-segconn reset {mapping.name}`, if those of {was} are the ones to keep."
            )
        mine, theirs = MappingTables(state, mapping.id), MappingTables(state, last.mapping_id)
        if not theirs.present()[0]:
            raise ConfigurationError(f"{was} has no records to carry over: {theirs.records} is missing.")
        locks = Locks()
        with locks.hold(state, mapping.id, mapping.name), locks.hold(state, last.mapping_id, was):
            with state.transaction():
                mine.adopt(theirs, replace(last, saved_at=state.now()), _adopted(mapping, last, state))
            return mine.known()


def _adopted(mapping: Mapping, last: HistoryRow, state: State) -> dict[str, str]:
    """Return the columns of the history that change; the relation where another model takes the records over."""
    changed = {"model": mapping.model.unique_id, "mapping": mapping.name}
    if last.model == mapping.model.unique_id:
        return changed
    return {**changed, "relation": str(state.session.relation_of(mapping.model))}


def _orphan(name: str, orphans: Sequence[HistoryRow]) -> HistoryRow:
    if any(name in last.names.all for last in orphans):
        return find_mapping(name, orphans)
    shown = sorted(shown_names(last.names for last in orphans).values())
    raise ConfigurationError(
        f"no mapping named {name!r} is gone from the project.{near_name(name, shown)} Gone: "
        f"{', '.join(shown) or 'none'}."
    )
