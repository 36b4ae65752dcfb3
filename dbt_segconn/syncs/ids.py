"""Ids that stand for no one user or group, or that more records share than belong to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dbt_segconn.actions.flat import column_of
from dbt_segconn.project.ids import IDS, SEGMENT_ID
from dbt_segconn.project.plan import Sync
from dbt_segconn.state.outbox import Id, MappingState
from dbt_segconn.warehouse.source import Source
from dbt_segconn.warehouse.values import NUMBERS
from dbt_segconn.wording import counted

# With `order_by`, several records of one user are expected, but not any number
MOST_ORDERED = 1_000
# What programs and people write in place of an id: Segment merges all who have it
JUNK = (
    *("null", "none", "nil", "undefined", "nan", "0", "-1", "anonymous", "unknown", "n/a", "na", ""),
    "00000000-0000-0000-0000-000000000000",
)


def doubtful_ids(
    sync: Sync, source: Source, tables: MappingState, kinds: Iterable[str], diff: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Object to junk and shared ids among the changes of these kinds: in the outbox, or in a diff not yet staged.

    Only ids that are plain columns are looked at.
    """
    guards = sync.mapping.guards
    given = {field: column for field in IDS if (column := column_of(sync.fields.get(field)))}
    junk = [] if guards.allow_junk_ids else list(_naming(sync, source, given))
    shared = list(_shared(sync, source, given))
    if not junk and not shared:
        return
    placeholders: dict[str, dict[str, int]] = {}
    limit = _limit(sync)
    for field, word, count, most in tables.doubtful_ids(junk, shared, kinds, limit, diff):
        if word is not None:
            placeholders.setdefault(field, {})[word] = int(count)
        elif count:
            yield _too_many(sync, field, given[field], int(count), int(most))
    yield from (_placeholder(field, words) for field, words in placeholders.items())


def _placeholder(field: str, words: Mapping[str, int]) -> str:
    listed = ", ".join(
        f"{word!r} {count:,}" for word, count in sorted(words.items(), key=lambda one: (-one[1], one[0]))
    )
    total = sum(words.values())
    return (
        f"{counted(total, 'record')} {'has' if total == 1 else 'have'} a placeholder as {field} ({listed}): Segment "
        f"would merge them into one {_called(field)}. Mend the ids in the model, or set guards.allow_junk_ids"
    )


def _limit(sync: Sync) -> int:
    """Return how many records of a sync may share an id: of two without an order, either may come last."""
    given = sync.mapping.guards.max_records_per_id
    return given if given is not None else MOST_ORDERED if sync.mapping.order_by else 1


def _too_many(sync: Sync, field: str, column: str, ids: int, most: int) -> str:
    one = _called(field)
    values = f"{counted(ids, 'value')} of {field} (${column}) {'is' if ids == 1 else 'are'}"
    shared = f"{values} shared by more than {counted(_limit(sync), 'record')}, by up to {most:,}"
    if sync.mapping.order_by:
        return (
            f"{shared}: Segment would merge them into one {one}. Map the column that tells {one}s apart, or raise "
            "guards.max_records_per_id"
        )
    return (
        f"{shared}: Segment merges them into one {one}, and any of their calls may come last. Map the column that "
        f"tells {one}s apart, or name the column that orders the records with `order_by`, or raise "
        "guards.max_records_per_id"
    )


def _called(field: str) -> str:
    return "group" if field == "group_id" else "user"


def _naming(sync: Sync, source: Source, given: Mapping[str, str]) -> Iterator[Id]:
    """Yield the ids that name who a call is about, rather than what stands in its context."""
    for field, column in given.items():
        if field != "group_id" or sync.mapping.action == "group":
            yield from _id(source, field, [column])


def _shared(sync: Sync, source: Source, given: Mapping[str, str]) -> Iterator[Id]:
    """Yield the ids that few records should share: those of identify, and of group the group with its user.

    Events share ids; an id that holds the identifier is never shared.
    """
    ids: list[tuple[str, list[str]]] = []
    if sync.mapping.action == "identify":
        ids = [(field, [column]) for field, column in given.items() if field != "group_id"]
    elif sync.mapping.action == "group" and "group_id" in given:
        ids = [("group_id", list(dict.fromkeys([given["group_id"], *given.values()])))]
    unique = {column.casefold() for column in sync.identifier}
    for field, columns in ids:
        names = {column.casefold() for column in columns}
        if SEGMENT_ID not in columns and not unique <= names:
            yield from _id(source, field, columns)


def _id(source: Source, field: str, columns: Sequence[str]) -> Iterator[Id]:
    known = {column.key: column for column in source.columns}
    aliases = tuple("record_id" if name == SEGMENT_ID else known[name].alias for name in columns)
    kind = known[columns[0]].kind if columns[0] in known else "text"
    if kind != "json":
        yield Id(field, aliases, kind in NUMBERS, JUNK)
