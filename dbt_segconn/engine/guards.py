"""Guards: the reasons to block a sync whose changes are too large or too odd; the same for `run` and for views."""

from __future__ import annotations

import math
import threading
from collections import abc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial

from dbt_segconn.errors import counted
from dbt_segconn.project.identifiers import IDS, SEGMENT_ID, id_column
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import Guards, shown_names
from dbt_segconn.project.settings import BudgetSettings
from dbt_segconn.state.column_hashes import SHOWN_COLUMNS, ChangedColumns
from dbt_segconn.state.diff import Diff
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


def doubts(
    mapping: Mapping, row: HistoryRow, before: HistoryRow | None, lookalikes: abc.Mapping[str, int], known: int
) -> Iterator[str]:
    """Yield the reasons to block a sync before staging.

    `row` is the first row of the sync, `before` the newest row before it. `lookalikes` are similar mappings that are
    gone from the project: name → number of records. `known` counts the records of this mapping.
    """
    for name, records in lookalikes.items():
        yield (
            f"it was never synced, but {name}, which is gone from the project, was the same mapping and has "
            f"{records:,} records. If it replaces {name}, run `dbt-segconn adopt {name} {mapping.name}` to keep them"
        )
    # records that are only in the former table would count as deleted
    moved = before and before.relation not in {None, row.relation}
    if before and moved and known and not mapping.meta.guards.allow_moved:
        yield (
            f"its last sync read {before.relation}, this one would read {row.relation} and compare it with the "
            f"{known:,} records of the former. If two targets share a state schema, set state.schema in segconn.yml "
            "to one for each. If the model has moved, allow this sync, or set guards.allow_moved"
        )


def former_version(mapping: Mapping, gone: Sequence[HistoryRow]) -> HistoryRow | None:
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


def changed_identifier(mapping: Mapping, former: str, *, added: int, deleted: int) -> str:
    """Return the reason to block: under another identifier, all known records count as deleted."""
    written = f"[{', '.join(former.split(','))}]" if "," in former else former
    return (
        f"its unique identifier was {former} and is {','.join(mapping.identifier)} now: {added:,} records would "
        f"count as added and {deleted:,} as deleted. Set `unique_identifier: {written}` to "
        f"keep the records, or run `dbt-segconn baseline {mapping.name}` to use the new identifier and send none"
    )


def is_retyped(made: HistoryRow | None, row: HistoryRow) -> bool:
    """Check whether a JSON column has another type than in `made`, the sync that wrote the records.

    Equal JSON may have another text in another type: records may count as updated without a change.
    """
    # three hashes: of names, of value types, and of the data types of JSON columns
    was, now = (made.signature if made else "").split("-"), row.signature.split("-")
    return len(was) == len(now) and was[0] == now[0] and was[2:] != now[2:]


def retyped(row: HistoryRow, known: int) -> str:
    """Return the reason to block: the type of a column may be the only change."""
    return (
        f"a column of JSON, arrays or structs has another type than at the last sync, and {row.updated:,} of "
        f"{known:,} known records count as updated, perhaps only by their type"
    )


def changed_in(changed: ChangedColumns | None) -> str:
    """Return the changed columns in parentheses; an empty text if they were not counted."""
    return f" (changed: {changed.summary(SHOWN_COLUMNS)})" if changed else ""


def over_limits(
    guards: Guards,
    *,
    known: int,
    present: int,
    to_send: int,
    updated: int,
    deleted: int,
    changed: Callable[[], ChangedColumns | None],
) -> Iterator[str]:
    """Yield the limits that a sync exceeds. Counts are records: `known` before, `present` in the model now.

    `changed` counts the changed columns; it is called only if too many records are updated. Deleted records count
    even if the mapping does not send them. The sync would remove them from the records; once the model has them again,
    they would all be sent as added.
    """
    if guards.max_records is not None and to_send > guards.max_records:
        yield f"{to_send:,} records are to be sent, more than max_records {guards.max_records:,}"
    if known and guards.max_updated_percent is not None:
        percent = 100 * updated / known
        if percent > guards.max_updated_percent:
            limit = f"max_updated_percent {guards.max_updated_percent:g}"
            columns = changed_in(changed()) or HOW_TO_NAME
            yield f"{updated:,} of {known:,} records were updated, more than {limit}{columns}"
    if known and deleted:
        yield from _deleted(guards, known, present, deleted)


def _deleted(guards: Guards, known: int, present: int, deleted: int) -> Iterator[str]:
    percent = 100 * deleted / known
    if guards.max_deleted_percent is not None:
        if percent > guards.max_deleted_percent:
            limit = f"max_deleted_percent {guards.max_deleted_percent:g}"
            yield f"{deleted:,} of {known:,} records were deleted, more than {limit}"
    elif not present:
        yield f"the model is empty, and all {known:,} records would count as deleted"
    elif deleted > DEFAULT_DELETED_RECORDS and percent > DEFAULT_DELETED_PERCENT:
        yield f"{deleted:,} of {known:,} records were deleted, more than half of them"


def may_be_stamped(mapping: Mapping, *, known: int, updated: int) -> bool:
    """Check whether a build may be the only change: nearly all records are updated, without `max_updated_percent`."""
    is_unguarded = mapping.meta.guards.max_updated_percent is None and "updated" in mapping.meta.sync_mode
    return is_unguarded and updated > DEFAULT_STAMPED_RECORDS and 100 * updated > DEFAULT_STAMPED_PERCENT * known


def one_value(stamps: Sequence[str]) -> str:
    """Return a clause about columns that have the same value in all rows."""
    verb = "have" if len(stamps) > 1 else "has"
    return f"{' and '.join(stamps)} {verb} one value in all rows, such as the time of a build"


def stamped(stamps: Sequence[str], *, known: int, updated: int, changed: ChangedColumns | None) -> str:
    """Return the reason to block: these columns may be the only change."""
    return (
        f"{updated:,} of {known:,} records were updated{changed_in(changed)}, and {one_value(stamps)}. Remove such "
        "columns from `fields` (map columns by name instead of $*), or set guards.max_updated_percent: 100"
    )


# The default of max_records_per_id with `order_by`, which expects several records of one user
MOST_ORDERED = 1_000
# Placeholders instead of an id: Segment merges all users that share one. Unify suggests to block some of them:
# https://segment.com/docs/unify/identity-resolution/identity-resolution-onboarding/
JUNK = (
    *("null", "none", "nil", "undefined", "nan", "0", "-1", "anonymous", "unknown", "n/a", "na", ""),
    "00000000-0000-0000-0000-000000000000",
)


def doubtful_ids(
    mapping: Mapping, source: Source, tables: MappingTables, change_types: Iterable[str], diff: Diff | None = None
) -> Iterator[str]:
    """Yield the reasons to block changes of these types, in the outbox or in a diff.

    Only ids that are plain columns are checked.
    """
    # Segment merges users that share an id, and a merge cannot be undone
    guards = mapping.meta.guards
    given = {field: column for field in IDS if (column := id_column(mapping.fields.get(field)))}
    junk = [] if guards.allow_junk_ids else list(_naming(mapping, source, given))
    shared = list(_shared(mapping, source, given))
    if not junk and not shared:
        return
    placeholders: dict[str, dict[str, int]] = {}
    limit = _limit(mapping)
    for field, word, count, most in tables.doubtful_ids(junk, shared, change_types, limit, diff):
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
