"""Contents of the state tables: last syncs, history, discards, orphans; the past of a record."""

from __future__ import annotations

from collections import Counter, abc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dbt_segconn.engine.opening import Options, Project, opened, read_project
from dbt_segconn.errors import counted
from dbt_segconn.inspection.preview import UNIDENTIFIED
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import Named, find_mapping, shown_names
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.outcomes import OPEN_COLUMNS, open_discards, past_of
from dbt_segconn.state.tables import HistoryRow, State, open_state

# Columns of `status --history`, besides `earlier`
_HISTORY = (
    "started_at",
    "mapping",
    "status",
    "added",
    "updated",
    "deleted",
    "held_back",
    "left_out",
    "to_send",
    "confirmed",
    "discarded",
    "resumed",
    "error",
    "sync_id",
)


@contextmanager
def opened_state(options: Options) -> Iterator[tuple[Project, State]]:
    """Open the state tables of the project until the block ends. They may not exist yet."""
    project = read_project(options, needs_results=False)
    with opened(project, options) as warehouse, open_state(warehouse, project.settings.state, "overview") as state:
        yield project, state


def find_orphans(project: Project, state: State) -> list[HistoryRow]:
    """Return the newest history row of each mapping that is gone from the project and still has state."""
    # a project that was never synced has no state tables
    return state.orphans({mapping.id for mapping in project.mappings}) if state.exists() else []


def overview(options: Options) -> list[dict[str, Any]]:
    """Return a row for each mapping of the project: its settings and the result of its newest sync.

    `earlier` describes the failed attempts of a sync that was resumed; else it is None.
    """
    with opened_state(options) as (project, state):
        # after a run has resumed a sync, it starts a new one: the attempts may belong to the last sync but one
        newest_two = state.newest_of_each(2) if state.exists() else []
        ends = _earlier(state, newest_two)
    last = {one.mapping_id: one for one in reversed(newest_two)}
    earlier = {one.mapping_id: ends[one.sync_id] for one in reversed(newest_two) if one.sync_id in ends}
    return [_overview(project, one, last.get(one.id), earlier.get(one.id)) for one in project.mappings]


def _overview(project: Project, one: Mapping, newest: HistoryRow | None, earlier: str | None) -> dict[str, Any]:
    # either switch disables a mapping: its own, or that of its destination
    is_enabled = one.meta.enabled and project.settings.destinations[one.destination].enabled
    return {
        "mapping": one.name,
        "action": one.meta.action,
        "destination": one.destination,
        "enabled": "yes" if is_enabled else "no",
        "status": newest.status if newest else "never synced",
        "started_at": newest.started_at if newest else None,
        "confirmed": newest.confirmed if newest else None,
        "discarded": newest.discarded if newest else None,
        "error": newest.error if newest else None,
        "earlier": earlier,
    }


def history(options: Options, limit: int) -> list[dict[str, Any]]:
    """Return the newest syncs of all mappings, newest first; at most `limit`. Times are UTC."""
    with opened_state(options) as (project, state):
        syncs = state.newest(limit) if state.exists() else []
        earlier = _earlier(state, syncs)
    # the names of today: a mapping may have been renamed, or share its name since
    shown = names_shown(project, syncs)
    return [
        {
            **{name: getattr(sync, name) for name in _HISTORY},
            "mapping": shown[sync.mapping_id],
            "earlier": earlier.get(sync.sync_id),
        }
        for sync in syncs
    ]


def _earlier(state: State, syncs: Sequence[HistoryRow]) -> dict[str, str]:
    """Return a text for each resumed sync, by sync id: the number of its failed attempts, and the last error."""
    ends = state.interruptions(syncs)
    return {
        sync_id: f"{counted(len(many), 'attempt')} {many[-1].status}, then resumed: {many[-1].error or 'interrupted'}"
        for sync_id, many in ends.items()
    }


def discards(options: Options, limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the newest `limit` open discards with OPEN_COLUMNS, and notes.

    A note names a mapping whose sync counted more discards than are listed.
    """
    with opened_state(options) as (project, state):
        rows = open_discards(state, limit) if state.exists() else []
        # a name may have become ambiguous since the discard was written: then it is shown with its package
        shown = names_shown(project, state.last_syncs() if rows else ())
        found = [dict(zip(OPEN_COLUMNS, row, strict=True)) for row in rows]
        found = [{**one, "mapping": shown.get(one["mapping_id"], one["mapping"])} for one in found]
        notes = list(_unlisted(state, found))
    if len(rows) == limit:
        notes.append(f"Only the newest {limit:,} are listed. Use -n to list more.")
    return found, notes


def _unlisted(state: State, rows: Iterable[abc.Mapping[str, Any]]) -> Iterator[str]:
    """Yield a note for each mapping that has more rows without a unique identifier than are listed.

    Open discards are listed by record, so rows with the same identifier are one discard.
    """
    listed = Counter((row["mapping_id"], row["mapping"]) for row in rows if row["change_type"] in UNIDENTIFIED)
    for (mapping_id, mapping), count in listed.items():
        made = state.made_records(mapping_id)
        if made and made.unidentified > count:
            yield (
                f"{mapping}: {made.unidentified:,} rows were discarded because their identifier is null or not unique. "
                f"Rows with the same identifier are listed once, as {counted(count, 'record')}."
            )


def orphans(options: Options) -> list[dict[str, Any]]:
    """Return the mappings that have state but are gone from the project, with the number of their records."""
    with opened_state(options) as (project, state):
        gone = find_orphans(project, state)
        shown = names_shown(project, gone)
        return [_orphan(last, shown[last.mapping_id], MappingTables(state, last.mapping_id)) for last in gone]


def names_shown(project: Project, syncs: Iterable[HistoryRow]) -> abc.Mapping[str, str]:
    """Return the name to show for each mapping id: for mappings of the project, and for those of the history rows.

    A name of two mappings gets its package.
    """
    known = {sync.id for sync in project.mappings}
    gone = {sync.mapping_id: sync.names for sync in syncs if sync.mapping_id not in known}
    shown = shown_names([*(sync.names for sync in project.mappings), *gone.values()])
    return {**shown, **{sync.id: sync.name for sync in project.mappings}}


def _orphan(last: HistoryRow, name: str, tables: MappingTables) -> dict[str, Any]:
    has_records, has_outbox = tables.present()
    return {
        "mapping": name,
        "mapping_id": last.mapping_id,
        "destination": last.destination,
        "records": tables.known() if has_records else 0,
        "outbox": "yes" if has_outbox else "no",
        "last_sync": last.started_at,
        "status": last.status,
    }


@dataclass(frozen=True, slots=True)
class RecordPast:
    """Rows with `deliveries.PAST_COLUMNS`, oldest first, and notes about calls that were not logged."""

    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def record_past(options: Options, name: str, record_id: str) -> RecordPast:
    """Return the past of a record of a mapping, which may be gone from the project.

    Raises ConfigurationError if there is no such mapping.
    """
    with opened_state(options) as (project, state):
        known: list[Named] = [*project.mappings, *find_orphans(project, state)]
        mapping_id = find_mapping(name, known).names.id
        rows = past_of(state, mapping_id, record_id) if state.exists() else []
        keep = state.keep_deliveries
    notes = []
    if keep is None:
        notes.append(
            "The delivery log is off, so confirmed calls are not logged. Set `deliveries: {keep: 90 days}` under "
            "`state` in segconn.yml"
        )
    elif not rows:
        notes.append(f"No call of the record {record_id!r} was logged or discarded in the last {keep.days:,} days")
    return RecordPast(tuple(rows), tuple(notes))
