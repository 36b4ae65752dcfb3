"""Guards: changes too large to be meant are held back before anything is sent."""

from __future__ import annotations

import math
from collections import abc
from collections.abc import Callable, Iterator, Sequence

from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import Guards
from dbt_segconn.state.column_hashes import SHOWN_COLUMNS, ChangedColumns
from dbt_segconn.state.tables import HistoryRow

# Without a guard of its own, a mapping refuses to see more than half of its records deleted…
DEFAULT_DELETED_PERCENT = 50
# …unless they are as few as this and others are left
DEFAULT_DELETED_RECORDS = 100
# Without a guard of its own, a mapping refuses updates of more records than this if a column has one value in all rows…
DEFAULT_STAMPED_PERCENT = 90
# …unless they are as few as this
DEFAULT_STAMPED_RECORDS = 100
HOW_TO_NAME = " (`changed_columns: true` in the mapping names the changed columns of later updates)"


def doubts(
    mapping: Mapping, state: HistoryRow, before: HistoryRow | None, lookalikes: abc.Mapping[str, int], known: int
) -> Iterator[str]:
    """Say what makes a sync doubtful before anything is staged.

    `lookalikes` are the records, by name, of mappings that are gone from the project and were like this one;
    `known` counts this one's own.
    """
    for name, records in lookalikes.items():
        yield (
            f"no sync of it is known, but {name}, which is gone from the project, was the same mapping and has "
            f"{records:,} records. If this one replaces it, `dbt-segconn adopt {name} {mapping.name}` carries them over"
        )
    moved = before and before.relation not in {None, state.relation}
    if before and moved and known and not mapping.meta.guards.allow_moved:
        yield (
            f"its last sync read {before.relation}, this one would read {state.relation}, against the {known:,} "
            "records of the former. If two targets share a state schema, give each its own (state.schema in "
            "segconn.yml); if the model has moved, let it through, or set guards.allow_moved"
        )


def former_version(mapping: Mapping, gone: Sequence[HistoryRow]) -> HistoryRow | None:
    """Return the newest sync of the mapping that `sync` replaces: on any version of its model, gone from the project.

    It has the same name, or makes the same calls. Where one run synced several versions, the highest counts.
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
    """Return what orders versions as dbt does: numbers by value, other texts after them."""
    try:
        return float(text), ""
    except ValueError:
        return math.inf, text


def former_identifier(mapping: Mapping, made: HistoryRow | None, known: int) -> str | None:
    """Return the identifier of the `known` records, which the sync `made` has left, if it is another one now."""
    was = made.identifier if made and known else None
    return was if was and was.casefold() != ",".join(mapping.identifier).casefold() else None


def other_identifier(mapping: Mapping, former: str, *, added: int, deleted: int) -> str:
    """Object to a sync that takes all known records for deleted, since it tells them apart by other columns."""
    written = f"[{', '.join(former.split(','))}]" if "," in former else former
    return (
        f"its unique identifier was {former} and is {','.join(mapping.identifier)} now: {added:,} records would "
        f"count as added and {deleted:,} as deleted. `unique_identifier: {written}` keeps the records; "
        f"`dbt-segconn baseline {mapping.name}` takes the new identifier and sends none"
    )


def is_retyped(made: HistoryRow | None, state: HistoryRow) -> bool:
    """Check whether a column that holds JSON has another type than in the sync that made the records.

    Equal JSON may have another text there, so records may count as updated without a change.
    """
    was, now = (made.signature if made else "").split("-"), state.signature.split("-")
    return len(was) == len(now) and was[0] == now[0] and was[2:] != now[2:]


def retyped(state: HistoryRow, known: int) -> str:
    """Object to updates that the type of a column may have caused alone."""
    return (
        f"a column of JSON, arrays or structs has another type than at the last sync, and {state.updated:,} of "
        f"{known:,} known records count as updated, perhaps for their type alone"
    )


def changed_in(changed: ChangedColumns | None) -> str:
    """Return the columns in which updated records changed, in parentheses; nothing where that is not asked for."""
    return f" (changed: {changed.summary(SHOWN_COLUMNS)})" if changed else ""


def objections(
    guards: Guards,
    *,
    known: int,
    present: int,
    to_send: int,
    updated: int,
    deleted: int,
    changed: Callable[[], ChangedColumns | None],
) -> Iterator[str]:
    """Say what speaks against a sync. Counts are records: known before, present in the model now.

    `changed` counts the columns in which records were updated; it is only called where these are too many.

    The deleted are guarded whatever the mapping sends: forgetting them would send them all again as
    added once the model is whole again.
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
    """Check whether so many records are updated that a build may be the only reason, and no guard says otherwise."""
    is_unguarded = mapping.meta.guards.max_updated_percent is None and "updated" in mapping.meta.sync_mode
    return is_unguarded and updated > DEFAULT_STAMPED_RECORDS and 100 * updated > DEFAULT_STAMPED_PERCENT * known


def one_value(stamps: Sequence[str]) -> str:
    """Return a sentence on columns that have the same value in all rows."""
    verb = "have" if len(stamps) > 1 else "has"
    return f"{' and '.join(stamps)} {verb} one value in all rows, as the time of a build has"


def stamped(stamps: Sequence[str], *, known: int, updated: int, changed: ChangedColumns | None) -> str:
    """Object to updates that these columns may have caused alone."""
    return (
        f"{updated:,} of {known:,} records were updated{changed_in(changed)}, and {one_value(stamps)}. Leave such "
        "columns out of `fields` (in place of $*, map columns by name), or set guards.max_updated_percent: 100"
    )
