"""What a user does to the state of a mapping: forget it, or carry it over to another name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.inspection.overview import opened_state
from dbt_segconn.project.plan import Sync, named, only
from dbt_segconn.project.strict import near_name
from dbt_segconn.runs.opening import Options, Plan
from dbt_segconn.state.locks import Locks
from dbt_segconn.state.outbox import MappingState
from dbt_segconn.state.tables import State, SyncState, new_state


def find_names(options: Options, mappings: Collection[str]) -> list[str]:
    """Return the full names of the mappings that `reset` would forget. Raises ConfigurationError as it does."""
    with opened_state(options) as (plan, state):
        syncs, orphans = _named(plan, state, mappings)
    return [*(sync.name for sync in syncs), *(last.mapping for last in orphans)]


def reset(options: Options, mappings: Collection[str]) -> list[str]:
    """Forget the records of mappings, so that their next sync finds all of them added.

    Mappings that are gone from the project (orphans) may be named by their name or id, too. Returns the
    names of those that were reset. Raises ConfigurationError for a name that nothing has, and LockedError
    while one is being synced.
    """
    with opened_state(options) as (plan, state):
        syncs, orphans = _named(plan, state, mappings)
        state.prepare()
        for sync in syncs:
            never_synced = new_state(sync, state.now()).as_reset(state.now())
            _forget(state, state.last_sync(sync.id) or never_synced)
        for last in orphans:
            _forget(state, last)
    return [*(sync.name for sync in syncs), *(last.mapping for last in orphans)]


def _named(plan: Plan, state: State, mappings: Collection[str]) -> tuple[Sequence[Sync], Sequence[SyncState]]:
    """Return the mappings of the project and the orphans of these names."""
    gone = state.orphans({sync.id for sync in plan.syncs}) if state.exists() else []
    orphans = [last for last in gone if {last.mapping, last.mapping_id} & set(mappings)]
    found = {name for last in orphans for name in (last.mapping, last.mapping_id)}
    left = [name for name in mappings if name not in found]
    return named(plan.syncs, left) if left else (), orphans


def _forget(state: State, last: SyncState) -> None:
    tables = MappingState(state, last.mapping_id)
    with Locks().hold(state, last.mapping_id, last.mapping), state.transaction():
        tables.forget(last, last.as_reset(state.now()))


def adopt(options: Options, old: str, new: str) -> int:
    """Carry the records, outbox, discards and history of a mapping that is gone over to its new name.

    Returns how many records it now has. Raises ConfigurationError where `old` is no orphan (by name or id),
    where `new` is no single mapping of the project, or where `new` has been synced already.
    """
    with opened_state(options) as (plan, state):
        state.prepare()
        sync = only(new, named(plan.syncs, [new]))
        last = _orphan(old, state.orphans({one.id for one in plan.syncs}))
        if state.has_settled(sync.id):
            raise ConfigurationError(
                f"{sync.name} has been synced already, and has records of its own. Forget them first, by "
                f"`dbt-segconn reset {sync.name}`, if those of {last.mapping} are the ones to keep."
            )
        mine, theirs = MappingState(state, sync.id), MappingState(state, last.mapping_id)
        if not theirs.present()[0]:
            raise ConfigurationError(f"{last.mapping} has no records to carry over: {theirs.records} is missing.")
        locks = Locks()
        with locks.hold(state, sync.id, sync.name), locks.hold(state, last.mapping_id, last.mapping):
            with state.transaction():
                mine.adopt(theirs, replace(last, saved_at=state.now()), model=sync.model.unique_id, mapping=sync.name)
            return mine.known()


def _orphan(name: str, orphans: Iterable[SyncState]) -> SyncState:
    by_name = {last.mapping: last for last in orphans}
    by_id = {last.mapping_id: last for last in by_name.values()}
    if found := by_id.get(name) or by_name.get(name):
        return found
    raise ConfigurationError(
        f"no mapping named {name!r} is gone from the project.{near_name(name, by_name)} Gone: "
        f"{', '.join(sorted(by_name)) or 'none'}."
    )
