"""The reasons for which guards block a sync: the same for `run`, `preview` and `estimate`."""

from __future__ import annotations

import threading
from collections import abc
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import partial

from dbt_segconn.engine.guards import (
    changed_identifier,
    doubtful_ids,
    doubts,
    former_identifier,
    former_version,
    is_retyped,
    may_be_stamped,
    over_limits,
    retyped,
    stamped,
)
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import shown_names
from dbt_segconn.project.settings import BudgetSettings
from dbt_segconn.state.column_hashes import ChangedColumns
from dbt_segconn.state.diff import Diff
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import RESET, SETTLED, HistoryRow, State
from dbt_segconn.warehouse.source import Source

Spent = Callable[[datetime], int]
"""Counts the calls in the history since a time in UTC, without those of this run."""


class Budget:
    """The calls that the syncs of one run have taken from the budget. The threads of the run share it.

    A sync takes all its calls before it sends the first one, so that two syncs cannot exceed the limit together.
    """

    def __init__(self, settings: BudgetSettings) -> None:
        self._settings = settings
        self._guard = threading.Lock()
        self._taken = 0
        self._resumed = 0

    def resume(self, calls: int) -> None:
        """Take the calls of an outbox that an earlier run has left. They were checked when they were staged."""
        with self._guard:
            self._resumed += calls

    def take(self, calls: int, now: datetime, spent: Spent, *, is_allowed: bool = False) -> str | None:
        """Take this number of calls. If that exceeds the budget, and not `is_allowed`, return the reason instead."""
        with self._guard:  # also while the history is read: another sync must not take calls in between
            reason = None if is_allowed or not calls else "; ".join(self._objections(calls, now, spent))
            self._taken += 0 if reason else calls
            return reason or None

    def _objections(self, calls: int, now: datetime, spent: Spent) -> Iterator[str]:
        run, month = self._settings.max_calls_per_run, self._settings.max_calls_per_month
        if run is not None:
            yield from _objection(calls, self._taken + self._resumed, run, "in this run", "max_calls_per_run")
        if month is not None:
            # without `_resumed`: `spent` includes those calls, under the run that staged them
            before = self._taken + spent(month_of(now))
            yield from _objection(calls, before, month, f"in {now:%B}", "max_calls_per_month")


def _objection(calls: int, before: int, limit: int, when: str, name: str) -> Iterator[str]:
    if calls + before > limit:
        others = f" after {before:,} {when}" if before else f" {when}"
        noun = "1 call is" if calls == 1 else f"{calls:,} calls are"
        yield f"{noun} to be sent{others}, more than budget.{name} {limit:,}"


def month_of(now: datetime) -> datetime:
    """Return the start of the month."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def before_staging(
    mapping: Mapping,
    state: State,
    row: HistoryRow,
    *,
    last: HistoryRow | None,
    known: int,
    mapping_ids: Collection[str],
) -> Iterator[str]:
    """Yield the reasons that are known before changes are counted: a mapping that this one replaces, a moved relation.

    `row` is the first row of the sync, `last` the newest row before it. `known` counts the mapping's records.
    `mapping_ids` are the ids of all mappings of the project.
    """
    yield from doubts(mapping, row, last, _lookalikes(mapping, state, last, mapping_ids), known)


def of_changes(  # noqa: PLR0913  what `run` and `preview` count in different ways
    mapping: Mapping,
    source: Source,
    tables: MappingTables,
    *,
    made: HistoryRow | None,
    counted: HistoryRow,
    known: int,
    changed: Callable[[], ChangedColumns | None],
    stamps: Callable[[], Sequence[str]] | None = None,
    diff: Diff | None = None,
) -> Iterator[str]:
    """Yield the reasons against the changes that `counted` counts, in the outbox or in a diff.

    `made` is the sync that last changed the mapping's records. `changed` counts the changed columns of updated records,
    and `stamps` finds columns with one value in all rows. They are slow, so they are called only if too many records
    are updated.
    """
    if former := former_identifier(mapping, made, known):
        yield changed_identifier(mapping, former, added=counted.added, deleted=counted.deleted)
    elif counted.updated and "updated" in counted.sync_mode and is_retyped(made, counted):
        yield retyped(counted, known)
    # `present` counts all rows of the model, so it includes rows without an identifier and records held back
    yield from over_limits(
        mapping.meta.guards,
        known=known,
        present=known - counted.deleted + counted.added + counted.unidentified + counted.held_back,
        to_send=counted.to_send,
        updated=counted.updated,
        deleted=counted.deleted,
        changed=changed,
    )
    if counted.to_send:
        # each of these checks reads the whole model or outbox, so they come last, and only if calls are sent
        is_asked = may_be_stamped(mapping, known=known, updated=counted.updated)
        if found := (stamps or partial(tables.stamps, source))() if is_asked else ():
            yield stamped(found, known=known, updated=counted.updated, changed=changed())
        yield from doubtful_ids(mapping, source, tables, counted.sync_mode.split(","), diff)


def _lookalikes(
    mapping: Mapping, state: State, last: HistoryRow | None, mapping_ids: Collection[str]
) -> abc.Mapping[str, int]:
    """Return the mappings that a new mapping may replace: name → number of records.

    They are gone from the project: the mapping on the former version of the model, else all that made the same calls.
    """
    # a mapping that was synced, or reset on purpose, is not new
    if last is not None and (last.status in {*SETTLED, RESET} or state.has_settled(mapping.id)):
        return {}
    orphans = state.orphans(mapping_ids)
    shown = shown_names(one.names for one in orphans)
    tables = {one.mapping_id: MappingTables(state, one.mapping_id) for one in orphans}
    gone = [one for one in orphans if tables[one.mapping_id].present()[0]]
    former = former_version(mapping, [one for one in gone if state.has_settled(one.mapping_id)])
    alike = [one for one in gone if (one.definition, one.destination) == (mapping.definition, mapping.destination)]
    return {shown[one.mapping_id]: tables[one.mapping_id].known() for one in ([former] if former else alike)}
