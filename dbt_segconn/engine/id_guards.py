"""Guards on ids: placeholders instead of ids, and ids that too many records share."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterable, Iterator, Sequence

from dbt_segconn.actions.flat import column_of
from dbt_segconn.errors import counted
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.user_ids import IDS, SEGMENT_ID
from dbt_segconn.state.diff import Diff
from dbt_segconn.state.outbox import Id, MappingTables
from dbt_segconn.warehouse.source import Source
from dbt_segconn.warehouse.values import NUMBERS

# The default of max_records_per_id with `order_by`, which expects several records of one user
MOST_ORDERED = 1_000
# Placeholders instead of an id: Segment merges all users that share one
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
    guards = mapping.meta.guards
    given = {field: column for field in IDS if (column := column_of(mapping.fields.get(field)))}
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
    listed = ", ".join(
        f"{word!r} {count:,}" for word, count in sorted(words.items(), key=lambda one: (-one[1], one[0]))
    )
    total = sum(words.values())
    return (
        f"{counted(total, 'record')} {'has' if total == 1 else 'have'} a placeholder as {field} ({listed}): Segment "
        f"would merge them into one {_called(field)}. Fix the ids in the model, or set guards.allow_junk_ids"
    )


def _limit(mapping: Mapping) -> int:
    """Return how many records may share an id. Without an order, any of them may come last."""
    given = mapping.meta.guards.max_records_per_id
    return given if given is not None else MOST_ORDERED if mapping.meta.order_by else 1


def _too_many(mapping: Mapping, field: str, column: str, ids: int, most: int) -> str:
    one = _called(field)
    values = f"{counted(ids, 'value')} of {field} (${column}) {'is' if ids == 1 else 'are'}"
    shared = f"{values} shared by more than {counted(_limit(mapping), 'record')}, by up to {most:,}"
    if mapping.meta.order_by:
        return (
            f"{shared}: Segment would merge them into one {one}. Map the column that tells {one}s apart, or raise "
            "guards.max_records_per_id"
        )
    return (
        f"{shared}: Segment merges them into one {one}, and any of their calls may come last. Map the column that "
        f"tells {one}s apart, or set `order_by` to the column that orders the records, or raise "
        "guards.max_records_per_id"
    )


def _called(field: str) -> str:
    return "group" if field == "group_id" else "user"


def _naming(mapping: Mapping, source: Source, given: abc.Mapping[str, str]) -> Iterator[Id]:
    """Yield the ids that name the user or group of a call; a group id of another call is context only."""
    for field, column in given.items():
        if field != "group_id" or mapping.meta.action == "group":
            yield from _id(source, field, [column])


def _shared(mapping: Mapping, source: Source, given: abc.Mapping[str, str]) -> Iterator[Id]:
    """Yield the ids that few records should share: user ids of identify, pairs of group and user of group.

    Other actions share ids. An id that contains the unique identifier is never shared.
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
