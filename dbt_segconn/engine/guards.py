"""Guards: the reasons to block a sync whose changes are too large or too odd; the same for `run` and for views."""

from __future__ import annotations

import math
import threading
from collections import abc
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dbt_segconn.errors import counted
from dbt_segconn.project.identifiers import IDS, SEGMENT_ID, id_column
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import shown_names
from dbt_segconn.project.settings import BudgetSettings
from dbt_segconn.state.diff import SHOWN_COLUMNS, ChangedColumns, Diff
from dbt_segconn.state.outbox import Id, MappingTables
from dbt_segconn.state.tables import RESET, SETTLED, HistoryRow, State
from dbt_segconn.warehouse.source import NUMBERS, Source

# Defaults of mappings without max_deleted_percent: block if more records are deleted than both, or all of them
DEFAULT_DELETED_PERCENT = 50
DEFAULT_DELETED_RECORDS = 100
# Defaults of mappings without max_updated_percent, if a column has one value in all rows: block above both
DEFAULT_STAMPED_PERCENT = 90
DEFAULT_STAMPED_RECORDS = 100
# Added to the message about updates for a mapping without column hashes
HOW_TO_NAME = " (`changed_columns: true` in the mapping names the changed columns of later updates)"
# The default of max_records_per_id with `order_by`, which expects several records of one user
MOST_ORDERED = 1_000
# Placeholders instead of an id: Segment merges all users that share one. Unify suggests to block some of them:
# https://segment.com/docs/unify/identity-resolution/identity-resolution-onboarding/
JUNK = (
    *("null", "none", "nil", "undefined", "nan", "0", "-1", "anonymous", "unknown", "n/a", "na", ""),
    "00000000-0000-0000-0000-000000000000",
)


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
    for name, records in _lookalikes(mapping, state, last, mapping_ids).items():
        yield (
            f"it was never synced, but {name}, which is gone from the project, was the same mapping and has "
            f"{records:,} records. If it replaces {name}, run `dbt-segconn adopt {name} {mapping.name}` to keep them"
        )
    # records that are only in the former table would count as deleted
    moved = last and last.relation not in {None, row.relation}
    if last and moved and known and not mapping.meta.guards.allow_moved:
        yield (
            f"its last sync read {last.relation}, this one would read {row.relation} and compare it with the "
            f"{known:,} records of the former. If two targets share a state schema, set state.schema in segconn.yml "
            "to one for each. If the model has moved, allow this sync, or set guards.allow_moved"
        )


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
    gone = [one for one in orphans if tables[one.mapping_id].present().records]
    former = _former_version(mapping, [one for one in gone if state.has_settled(one.mapping_id)])
    alike = [one for one in gone if (one.definition, one.destination) == (mapping.definition, mapping.destination)]
    return {shown[one.mapping_id]: tables[one.mapping_id].known() for one in ([former] if former else alike)}


def _former_version(mapping: Mapping, gone: Sequence[HistoryRow]) -> HistoryRow | None:
    """Return the newest sync of the mapping that this one replaces, on another version of its model; None without one.

    That mapping has the same name, or makes the same calls. If one run synced several versions, return the highest.
    """
    on_model = [
        one
        for one in gone
        if one.destination == mapping.destination
        and (one.model == mapping.model.base_id or one.model.startswith(f"{mapping.model.base_id}.v"))
    ]
    same_name = [one for one in on_model if one.names.mapping == mapping.meta.name]
    same = same_name or [one for one in on_model if one.definition == mapping.definition]
    if not same:
        return None
    newest = max(same, key=lambda one: one.started_at)
    together = [one for one in same if one.run_id == newest.run_id]
    return max(together, key=lambda one: _as_version(one.model.removeprefix(f"{mapping.model.base_id}.v")))


def _as_version(text: str) -> tuple[float, str]:
    """Return a sort key for versions in dbt's order: numbers by value, then other texts."""
    try:
        return float(text), ""
    except ValueError:
        return math.inf, text


def former_identifier(mapping: Mapping, made: HistoryRow | None, known: int) -> str | None:
    """Return the former unique identifier if it has changed since `made`, the sync that wrote the records.

    `known` counts these records: without any, a change has no effect.
    """
    was = made.identifier if made and known else None
    return was if was and was.casefold() != ",".join(mapping.identifier).casefold() else None


def one_value(stamps: Sequence[str]) -> str:
    """Return a clause about columns that have the same value in all rows."""
    verb = "have" if len(stamps) > 1 else "has"
    return f"{' and '.join(stamps)} {verb} one value in all rows, such as the time of a build"


@dataclass(frozen=True, slots=True)
class CheckedChanges:
    """The changes of a sync, in the outbox or in a diff, with the reasons to block it.

    `row` counts the changes; `made` is the sync that last changed the mapping's records, which `known` counts.
    `changed` counts the changed columns of updated records, and `stamps` finds columns with one value in all rows. They
    are slow, so they are called only if too many records are updated.
    """

    mapping: Mapping
    source: Source
    tables: MappingTables
    row: HistoryRow
    made: HistoryRow | None
    known: int
    changed: Callable[[], ChangedColumns | None]
    stamps: Callable[[], Sequence[str]]
    diff: Diff | None = None

    def reasons(self) -> Iterator[str]:
        """Yield the reasons to block the sync."""
        if former := former_identifier(self.mapping, self.made, self.known):
            yield self._changed_identifier(former)
        elif self.row.updated and "updated" in self.row.change_types and self._is_retyped():
            yield (
                "a column of JSON, arrays or structs has another type than at the last sync, and "
                f"{self.row.updated:,} of {self.known:,} known records count as updated, perhaps only by their type"
            )
        yield from self._over_limits()
        if not former:  # which has counted them
            yield from self._too_many_deleted()
        if self.row.to_send:
            # each of these checks reads the whole model or outbox, so they come last, and only if calls are sent
            if self._may_be_stamped() and (stamps := self.stamps()):
                yield self._stamped(stamps)
            yield from self._doubtful_ids()

    def _changed_identifier(self, former: str) -> str:
        """Return the reason to block: under another identifier, all known records count as deleted."""
        mapping, row = self.mapping, self.row
        written = f"[{', '.join(former.split(','))}]" if "," in former else former
        return (
            f"its unique identifier was {former} and is {','.join(mapping.identifier)} now: {row.added:,} records "
            f"would count as added and {row.deleted:,} as deleted. Set `unique_identifier: {written}` to "
            f"keep the records, or run `dbt-segconn baseline {mapping.name}` to use the new identifier and send none"
        )

    def _is_retyped(self) -> bool:
        """Check whether a JSON column has another type than in the sync that wrote the records.

        Equal JSON may have another text in another type: records may count as updated without a change.
        """
        # three hashes: of names, of value types, and of the data types of JSON columns
        was, now = (self.made.signature if self.made else "").split("-"), self.row.signature.split("-")
        return len(was) == len(now) and was[0] == now[0] and was[2:] != now[2:]

    def _over_limits(self) -> Iterator[str]:
        """Yield the limits of sent and updated records that the sync exceeds."""
        guards, row, known = self.mapping.meta.guards, self.row, self.known
        if guards.max_records is not None and row.to_send > guards.max_records:
            yield f"{row.to_send:,} records are to be sent, more than max_records {guards.max_records:,}"
        if known and guards.max_updated_percent is not None:
            percent = 100 * row.updated / known
            if percent > guards.max_updated_percent:
                limit = f"max_updated_percent {guards.max_updated_percent:g}"
                columns = self._changed_columns() or HOW_TO_NAME
                yield f"{row.updated:,} of {known:,} records were updated, more than {limit}{columns}"

    def _too_many_deleted(self) -> Iterator[str]:
        """Yield the reason to block: more records were deleted than the limit allows.

        They count even if the mapping does not send them. The sync would remove them from the records; once the model
        has them again, they would all be sent as added.
        """
        row, known, limit = self.row, self.known, self.mapping.meta.guards.max_deleted_percent
        if not known or not row.deleted:
            return
        percent = 100 * row.deleted / known
        # all rows of the model, also those without an identifier or held back
        present = known - row.deleted + row.added + row.unidentified + row.held_back
        if limit is not None:
            if percent > limit:
                yield f"{row.deleted:,} of {known:,} records were deleted, more than max_deleted_percent {limit:g}"
        elif not present:
            yield f"the model is empty, and all {known:,} records would count as deleted"
        elif row.deleted > DEFAULT_DELETED_RECORDS and percent > DEFAULT_DELETED_PERCENT:
            yield f"{row.deleted:,} of {known:,} records were deleted, more than half of them"

    def _changed_columns(self) -> str:
        """Return the changed columns in parentheses; an empty text if they were not counted."""
        changed = self.changed()
        return f" (changed: {changed.summary(SHOWN_COLUMNS)})" if changed else ""

    def _may_be_stamped(self) -> bool:
        """Check whether a build may be the only change: nearly all records are updated, without a limit of updates."""
        meta, updated = self.mapping.meta, self.row.updated
        is_unguarded = meta.guards.max_updated_percent is None and "updated" in meta.sync_mode
        return (
            is_unguarded and updated > DEFAULT_STAMPED_RECORDS and 100 * updated > DEFAULT_STAMPED_PERCENT * self.known
        )

    def _stamped(self, stamps: Sequence[str]) -> str:
        """Return the reason to block: these columns may be the only change."""
        return (
            f"{self.row.updated:,} of {self.known:,} records were updated{self._changed_columns()}, and "
            f"{one_value(stamps)}. Remove such columns from `fields` (map columns by name instead of $*), or set "
            "guards.max_updated_percent: 100"
        )

    def _doubtful_ids(self) -> Iterator[str]:
        """Yield the reasons to block changes by their ids. Only ids that are plain columns are checked."""
        # Segment merges users that share an id, and a merge cannot be undone
        mapping = self.mapping
        given = {field: column for field in IDS if (column := id_column(mapping.fields.get(field)))}
        junk = [] if mapping.meta.guards.allow_junk_ids else list(_naming(mapping, self.source, given))
        shared = list(_shared(mapping, self.source, given))
        if not junk and not shared:
            return
        placeholders: dict[str, dict[str, int]] = {}
        for field, word, count, most in self.tables.doubtful_ids(
            junk, shared, self.row.change_types, _limit(mapping), self.diff
        ):
            if word is not None:
                placeholders.setdefault(field, {})[word] = int(count)
            elif count:
                yield _too_many(mapping, field, given[field], int(count), int(most))
        yield from (_placeholder(field, words) for field, words in placeholders.items())


def _placeholder(field: str, words: abc.Mapping[str, int]) -> str:
    by_count = sorted(words.items(), key=lambda one: (-one[1], one[0]))
    listed = ", ".join(f"{word!r} {count:,}" for word, count in by_count)
    total = sum(words.values())
    return (
        f"{counted(total, 'record')} {'has' if total == 1 else 'have'} a placeholder as {field} ({listed}): Segment "
        f"would merge them into one {_called(field)}. Fix the ids in the model, or set guards.allow_junk_ids"
    )


def _limit(mapping: Mapping) -> int:
    """Return how many records may share an id: 1 without an order, because the call of any of them may arrive last."""
    given = mapping.meta.guards.max_records_per_id
    return given if given is not None else MOST_ORDERED if mapping.meta.order_by else 1


def _too_many(mapping: Mapping, field: str, column: str, ids: int, most: int) -> str:
    one = _called(field)
    values = f"{counted(ids, 'value')} of {field} (${column}) {'is' if ids == 1 else 'are'}"
    shared = f"{values} shared by more than {counted(_limit(mapping), 'record')}, by up to {most:,}"
    if mapping.meta.order_by:
        effect, order = f"Segment would merge them into one {one}", ""
    else:
        effect = f"Segment merges them into one {one}, and any of their calls may come last"
        order = "set `order_by` to the column that orders the records, or "
    return f"{shared}: {effect}. Map the column that tells {one}s apart, or {order}raise guards.max_records_per_id"


def _called(field: str) -> str:
    return "group" if field == "group_id" else "user"


def _naming(mapping: Mapping, source: Source, given: abc.Mapping[str, str]) -> Iterator[Id]:
    """Yield the ids that name the user or group of a call. In calls other than group, a group id is only context."""
    for field, column in given.items():
        if field != "group_id" or mapping.meta.action == "group":
            yield from _id(source, field, [column])


def _shared(mapping: Mapping, source: Source, given: abc.Mapping[str, str]) -> Iterator[Id]:
    """Yield the ids that few records should share: user ids of identify, pairs of group id and user id of group.

    In other actions, such as track, many calls of one user are normal. An id that contains the unique identifier is
    never shared.
    """
    ids: list[tuple[str, list[str]]] = []
    if mapping.meta.action == "identify":
        ids = [(field, [column]) for field, column in given.items() if field != "group_id"]
    elif mapping.meta.action == "group" and "group_id" in given:
        ids = [("group_id", list(dict.fromkeys([given["group_id"], *given.values()])))]
    unique = {column.casefold() for column in mapping.identifier}
    for field, columns in ids:
        names = {column.casefold() for column in columns}
        if SEGMENT_ID not in columns and not unique <= names:
            yield from _id(source, field, columns)


def _id(source: Source, field: str, columns: Sequence[str]) -> Iterator[Id]:
    known = {column.key: column for column in source.columns}
    aliases = tuple("record_id" if name == SEGMENT_ID else known[name].alias for name in columns)
    value_type = known[columns[0]].value_type if columns[0] in known else "text"
    if value_type != "json":
        yield Id(field, aliases, value_type in NUMBERS, JUNK)


CallsSince = Callable[[datetime], int]
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

    def take(self, calls: int, now: datetime, spent: CallsSince, *, is_allowed: bool = False) -> str | None:
        """Take this number of calls. If that exceeds the budget, and not `is_allowed`, return the reason instead."""
        with self._guard:  # also while the history is read: another sync must not take calls in between
            reason = None if is_allowed or not calls else "; ".join(self._objections(calls, now, spent))
            self._taken += 0 if reason else calls
            return reason or None

    def _objections(self, calls: int, now: datetime, spent: CallsSince) -> Iterator[str]:
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
