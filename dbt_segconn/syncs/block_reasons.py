"""Every reason why a guard blocks a sync. A run and the commands that look ahead of it ask the same."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterator
from typing import Any

from dbt_segconn.engine.guards import (
    doubts,
    former_identifier,
    former_version,
    is_retyped,
    objections,
    other_identifier,
    retyped,
)
from dbt_segconn.engine.id_guards import doubtful_ids
from dbt_segconn.engine.stamps import may_be_stamped, stamped
from dbt_segconn.project.mapping_names import shown_names
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import RESET, SETTLED, HistoryRow, State
from dbt_segconn.warehouse.source import Source


def before_staging(
    sync: Mapping, state: State, staging: HistoryRow, *, known: int, mapping_ids: Collection[str]
) -> Iterator[str]:
    """Yield what speaks against a sync before its changes are counted: another mapping's place, or another relation.

    `known` counts the mapping's records; `mapping_ids` are those of all mappings of the project.
    """
    before = state.last_sync(sync.id)
    yield from doubts(sync, staging, before, _lookalikes(sync, state, before, mapping_ids), known)


def of_changes(
    sync: Mapping,
    source: Source,
    tables: MappingTables,
    *,
    made: HistoryRow | None,
    counted: HistoryRow,
    known: int,
    diff: abc.Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Yield what speaks against the changes that `counted` counts, in the outbox or in a diff not yet staged.

    `made` is the sync that has left the mapping's records.
    """
    if former := former_identifier(sync, made, known):
        yield other_identifier(sync, former, added=counted.added, deleted=counted.deleted)
    elif counted.updated and "updated" in counted.sync_mode and is_retyped(made, counted):
        yield retyped(counted, known)
    yield from objections(
        sync.meta.guards,
        known=known,
        present=known - counted.deleted + counted.added + counted.unidentified + counted.held_back,
        to_send=counted.to_send,
        updated=counted.updated,
        deleted=counted.deleted,
    )
    if counted.to_send:
        is_asked = may_be_stamped(sync, known=known, updated=counted.updated)
        if stamps := tables.stamps(source) if is_asked else ():
            yield stamped(stamps, known=known, updated=counted.updated)
        yield from doubtful_ids(sync, source, tables, counted.sync_mode.split(","), diff)


def _lookalikes(
    sync: Mapping, state: State, before: HistoryRow | None, mapping_ids: Collection[str]
) -> abc.Mapping[str, int]:
    """Find what this new mapping may replace: mappings that are gone from the project, with their records.

    That is the former version of its model, else mappings that made the same calls.
    """
    if before is not None and (before.status in {*SETTLED, RESET} or state.has_settled(sync.id)):
        return {}
    orphans = state.orphans(mapping_ids)
    shown = shown_names(one.names for one in orphans)
    tables = {one.mapping_id: MappingTables(state, one.mapping_id) for one in orphans}
    gone = [one for one in orphans if tables[one.mapping_id].present()[0]]
    former = former_version(sync, [one for one in gone if state.has_settled(one.mapping_id)])
    alike = [one for one in gone if (one.definition, one.destination) == (sync.definition, sync.destination)]
    return {shown[one.mapping_id]: tables[one.mapping_id].known() for one in ([former] if former else alike)}
