"""The second step of a sync: freeze the changes as an outbox, unless a guard objects."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from dbt_segconn.engine.block_reasons import before_staging, of_changes
from dbt_segconn.engine.guards import former_identifier
from dbt_segconn.engine.sync import Sync
from dbt_segconn.errors import WarehouseError, counted
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.state.checkpoint import Window
from dbt_segconn.state.column_hashes import ChangedColumns
from dbt_segconn.state.discards import KEPT_REPEATED
from dbt_segconn.state.outbox import REPEATED, Changes
from dbt_segconn.state.tables import PLANNED, RESET, HistoryRow
from dbt_segconn.warehouse.source import Source


def stage(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Freeze the changes as an outbox, and return the `running` row.

    Return a `blocked` row if a guard objects, and a `planned` row if the run only plans.
    """
    with sync.timed_step("stage"):
        return _stage(sync, row)


def _stage(sync: Sync, row: HistoryRow) -> HistoryRow:
    before, tables = sync.last_row(), sync.tables
    row = row if _is_baseline(sync) else replace(row, sync_mode=",".join(sync.mapping.meta.sync_mode))
    known = tables.known()
    ids = sync.run.mapping_ids
    reasons = before_staging(sync.mapping, sync.state, row, last=before, known=known, mapping_ids=ids)
    if reason := _meant(sync, reasons):
        return _blocked(sync, row, before, reason)
    window = _window(sync)
    row = sync.write(row)  # before the outbox: if this run dies while it stages, the next one drops the outbox
    if sync.run.retry:
        tables.discards.close_all(row)
    # with another signature no fingerprint is equal, so the join would find every record
    few_change = known > 0 and before is not None and before.signature == row.signature
    row = _freeze(sync, row, window, few_change=few_change)
    if reason := _meant(sync, _reasons(sync, row)) or _over_budget(sync, row):
        tables.drop_outbox()
        return _blocked(sync, row, before, reason)
    for text in (*_resent(sync, before, row), *_lost(sync, row), *held_back_note(row)):
        sync.note(text)
    row = replace(row, message_prefix=sync.message_prefix(row.sync_id))
    if sync.run.plan:
        sync.run.plan.add(sync, row)
        return sync.write(row, status=PLANNED)
    if row.unidentified:
        tables.discards.append_repeated(tables.outbox, row)
    return sync.write(row, status="running")


def _is_baseline(sync: Sync) -> bool:
    # after a reset the first sync is a baseline again
    is_first = sync.mapping.meta.first_sync == "baseline" and not sync.state.has_settled(sync.mapping.id)
    return sync.run.baseline or is_first


def _window(sync: Sync) -> Window | None:
    """Choose the rows to read: for a retry and a baseline the whole model, unless --after or --before limits it."""
    # given-up records may be older than the checkpoint, and a baseline remembers every record
    is_whole = (sync.run.retry or sync.run.baseline) and not sync.source.step
    window = None if is_whole else sync.tables.window(sync.mapping, sync.source)
    for text in window_note(sync.source, window):
        sync.note(text)
    return window


def window_note(source: Source, window: Window | None) -> Iterator[str]:
    """Yield a note about the rows that a sync with a checkpoint reads."""
    if source.step and window:
        limits = zip(("at or after", "before"), source.step, strict=True)
        rows = " and ".join(f"{word} {limit}" for word, limit in limits if limit is not None)
        yield f"reads only the rows with {window.column.name} {rows}; does not look for deleted records"
    elif window:
        yield f"reads rows that are new by {window.column.name}; does not look for deleted records"
    elif source.checkpoint:
        yield "reads the whole model: no checkpoint fits the mapping as it is now"


def _blocked(sync: Sync, row: HistoryRow, before: HistoryRow | None, reason: str) -> HistoryRow:
    """Write the last row of a blocked sync.

    It has the relation, identifier and signature of the sync before it. With its own, the same guard would let the next
    sync through.
    """
    return sync.end(row, "blocked", reason, **(before.read_from if before else {}))


def _freeze(sync: Sync, row: HistoryRow, window: Window | None, *, few_change: bool) -> HistoryRow:
    """Stage the outbox, and return the row with its counts."""
    mapping, source, tables = sync.mapping, sync.source, sync.tables
    try:
        checkpoint = tables.checkpoint(mapping, source, window, row.started_at)
        is_baseline = not row.sync_mode
        tables.stage(mapping, source, window, is_baseline=is_baseline, few_change=few_change)
        counts = tables.count()
        if REPEATED in counts:  # the full join does not find all repeated rows: stage in the general way
            tables.drop_outbox()
            tables.stage(mapping, source, window, is_baseline=is_baseline)
            counts = tables.count()
        held_back = 0 if is_baseline else tables.count_held_back(mapping, source)
        return _counted(replace(row, checkpoint=checkpoint, held_back=held_back), counts)
    except WarehouseError as error:
        with suppress(WarehouseError):  # raise the first error, not an error of the cleanup
            tables.drop_outbox()
            sync.end(row, "failed", str(error))
        raise


def _meant(sync: Sync, reasons: Iterable[str]) -> str | None:
    """Join the reasons of guards. Return None if there is none, or if the user has allowed this sync."""
    # `reasons` is lazy: for an allowed sync, no check of it runs
    return None if _is_allowed(sync) else _reason(sync, "; ".join(reasons))


def _is_allowed(sync: Sync) -> bool:
    # `dbt-segconn baseline` sends nothing, and some guards name it as the way out
    return sync.run.baseline or sync.mapping.name in sync.run.allow_guarded


def _reason(sync: Sync, text: str | None) -> str | None:
    name = sync.mapping.name
    return f"{text}. Nothing was sent. If this is meant, run with --allow-guarded {name}" if text else None


def _over_budget(sync: Sync, row: HistoryRow) -> str | None:
    """Take the calls of the sync from the budget of the run and the month. Return the reason if they exceed it."""
    spent = partial(sync.state.spent, besides=sync.run.run_id)
    reason = sync.run.budget.take(row.to_send, row.started_at, spent, is_allowed=_is_allowed(sync))
    return _reason(sync, reason)


def _counted(row: HistoryRow, outbox: abc.Mapping[str, Changes]) -> HistoryRow:
    counts = {change_type: changes.count for change_type, changes in outbox.items()}
    changes = {one: counts.get(one, 0) for one in CHANGE_TYPES}
    unidentified = counts.get("null_identifier", 0) + counts.get("duplicate_identifier", 0)
    to_send = sum(count for one, count in changes.items() if one in row.sync_mode.split(","))
    return replace(
        row,
        # the next sync reads discarded records by their ids, but only KEPT_REPEATED of these are stored: if there are
        # more, it must read the whole model
        checkpoint=row.checkpoint if unidentified <= KEPT_REPEATED else None,
        added=changes["added"],
        updated=changes["updated"],
        deleted=changes["deleted"],
        unidentified=unidentified,
        discarded=unidentified,
        to_send=to_send,
        left_out=sum(changes.values()) - to_send,
    )


def _reasons(sync: Sync, row: HistoryRow) -> Iterator[str]:
    tables = sync.tables
    yield from of_changes(
        sync.mapping,
        sync.source,
        tables,
        made=sync.made_records(),
        counted=row,
        known=tables.known(),
        changed=partial(_changed, sync, row),
    )


def _changed(sync: Sync, row: HistoryRow) -> ChangedColumns | None:
    is_asked = sync.mapping.meta.changed_columns
    return sync.tables.hashes.count(sync.source, row.updated) if is_asked else None


def held_back_note(row: HistoryRow) -> Iterator[str]:
    """Yield a note about the records that are held back."""
    if row.held_back:
        yield (
            f"{counted(row.held_back, 'record')} held back: no consent column has a value (consent.without_value: skip)"
        )


def _lost(sync: Sync, row: HistoryRow) -> Iterator[str]:
    if lost := sync.tables.count_lost(sync.source, row.sync_mode.split(",")):
        yield f"{counted(lost, 'value')} that JSON cannot hold (NaN, infinity): sent as null"


def _resent(sync: Sync, before: HistoryRow | None, row: HistoryRow) -> Iterator[str]:
    """Yield a note about records that are sent again although their data has not changed."""
    if before is None or before.status == RESET:
        return
    if former := former_identifier(sync.mapping, sync.made_records(), sync.tables.known()):
        yield (
            f"its unique identifier was {former} and is {row.identifier} now: {row.added:,} records count as added "
            f"and {row.deleted:,} as deleted"
        )
    elif before.signature != row.signature and row.updated and "updated" in row.sync_mode:
        # the first part of a signature is the hash of the columns' names, the others are of their types
        same_names = before.signature.split("-")[0] == row.signature.split("-")[0]
        what = "types of the columns" if same_names else "columns"
        yield f"the {what} that it uses have changed: {row.updated:,} known records are sent again"
