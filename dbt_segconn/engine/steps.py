"""The steps of a sync, in order: resume → stage → deliver → settle."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from dbt_segconn.delivery import Canceled, Destination
from dbt_segconn.engine.delivering import deliver, settle
from dbt_segconn.engine.gate import SyncResult
from dbt_segconn.engine.guards import CheckedChanges, before_staging
from dbt_segconn.engine.sync import RunContext, Step, Sync, timed_step
from dbt_segconn.errors import SyncError, WarehouseError, counted, message_of
from dbt_segconn.process_tuning import Timings
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.project.tracking_plan import ViolationCounts
from dbt_segconn.state.checkpoint import Window
from dbt_segconn.state.outbox import REPEATED, Changes, MappingTables
from dbt_segconn.state.outcomes import KEPT_REPEATED
from dbt_segconn.state.tables import PLANNED, RESET, HistoryRow, in_force, open_state
from dbt_segconn.warehouse.source import Source


@timed_step
def stage(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Freeze the changes as an outbox, and return the `running` row.

    Return a `blocked` row if a guard objects, and a `planned` row if the run only plans.
    """
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
    to_send = sum(count for one, count in changes.items() if one in row.change_types)
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
    mapping, source, tables = sync.mapping, sync.source, sync.tables
    has_hashes = mapping.meta.changed_columns
    checked = CheckedChanges(
        mapping,
        source,
        tables,
        row,
        made=sync.made_records(),
        known=tables.known(),
        changed=lambda: tables.hashes.count(source, row.updated) if has_hashes else None,
        stamps=partial(tables.stamps, source),
    )
    yield from checked.reasons()


def held_back_note(row: HistoryRow) -> Iterator[str]:
    """Yield a note about the records that are held back."""
    if row.held_back:
        yield (
            f"{counted(row.held_back, 'record')} held back: no consent column has a value (consent.without_value: skip)"
        )


def _lost(sync: Sync, row: HistoryRow) -> Iterator[str]:
    if lost := sync.tables.count_lost(sync.source, row.change_types):
        yield f"{counted(lost, 'value')} that JSON cannot hold (NaN, infinity): sent as null"


def _resent(sync: Sync, before: HistoryRow | None, row: HistoryRow) -> Iterator[str]:
    """Yield a note about records that are sent again although their data has not changed."""
    if before is None or before.status == RESET:
        return
    if former := sync.former_identifier():
        yield (
            f"its unique identifier was {former} and is {row.identifier} now: {row.added:,} records count as added "
            f"and {row.deleted:,} as deleted"
        )
    elif before.signature != row.signature and row.updated and "updated" in row.change_types:
        # the first part of a signature is the hash of the columns' names, the others are of their types
        same_names = before.signature.split("-")[0] == row.signature.split("-")[0]
        what = "types of the columns" if same_names else "columns"
        yield f"the {what} that it uses have changed: {row.updated:,} known records are sent again"


# Status of an unfinished sync without an outbox → how it ended
_ENDS = {
    "staging": ("failed", "ended while staging; nothing was sent"),
    "settling": ("success", None),
    "abandoning": ("canceled", "the mapping has changed"),
}


def resume(sync: Sync) -> None:
    """Deliver the outbox of an earlier sync, before anything is staged. With full_refresh, drop it and the records."""
    if sync.run.full_refresh:
        _forget(sync)
        return
    last, tables = sync.last_row(), sync.tables
    has_records, has_outbox = tables.present()
    if last is None or last.status == RESET:
        _begin(sync, has_records=has_records, has_outbox=has_outbox)
    elif not has_records:
        raise _altered(sync, f"{tables.records} is missing; it held the records of earlier syncs")
    elif has_outbox and last.finished_at is not None:
        tables.drop_outbox()
    elif last.status == PLANNED and last.finished_at is None:
        _replace_plan(sync, last)
    elif has_outbox and sync.run.plan:
        raise SyncError(f"{_began(last)} is not finished, and is delivered first. Run without --plan, then plan again")
    elif has_outbox:
        _resume_outbox(sync, last)
    elif last.finished_at is None:
        _close(sync, last)


def _forget(sync: Sync) -> None:
    """Delete the mapping's records, as if it had never been synced."""
    # an interrupted backfill may be sent again as a whole, but to its own destinations only
    reset = replace(sync.new_row().as_reset(sync.run.now()), integrations=sync.mapping.run_integrations)
    last, tables = sync.last_row(), sync.tables

    # in one transaction: `resume` reports a history without a table of records as altered by hand
    def forget() -> None:
        tables.forget(last, reset)
        tables.create_records()

    sync.state.together(forget)
    sync.rows.append(reset)


def _replace_plan(sync: Sync, last: HistoryRow) -> None:
    """Drop the outbox of a plan that was not applied, and end its row. Nothing of it was sent."""
    sync.note("the last plan was not applied: its changes are staged again")
    made = sync.made_records()
    # guards compare with the newest row, which must describe the records, not a plan that was not applied
    sync.tables.drop_outbox()
    sync.end(last, PLANNED, "was not applied", **(made.read_from if made else {}))


def apply(sync: Sync) -> None:
    """Deliver and settle the outbox of a plan, or the rest of it if an earlier run was interrupted.

    Raise SyncError if the calls would differ from those of the plan. Do nothing if the plan was applied before.
    """
    last, planned = sync.last_row(), (sync.run.applied or {})[sync.mapping.id]
    again = "Nothing was sent. Write a new plan with --plan"
    if last is None or last.sync_id != planned:
        newer = f"{_began(last)} is newer" if last else "the state tables of this target have no sync of it"
        raise SyncError(f"the plan is out of date: {newer}. {again}")
    if last.finished_at is not None and last.status != PLANNED:
        sync.note("the plan was applied before: nothing is sent")
        sync.rows.append(last)
        return
    if not _makes_same_calls(sync, last):
        raise SyncError(f"the plan is out of date: the mapping or the columns of its model have changed since. {again}")
    if not sync.tables.present().outbox:
        if last.status == PLANNED:
            raise SyncError(f"the plan is out of date: its outbox {sync.tables.outbox} is missing. {again}")
        _close(sync, last)
        return
    if last.status == PLANNED and last.unidentified:
        sync.tables.discards.append_repeated(sync.tables.outbox, last)
    _finish(sync, last)


def _began(row: HistoryRow) -> str:
    return f"the sync of {row.started_at:%Y-%m-%d %H:%M:%S} UTC"


def _begin(sync: Sync, *, has_records: bool, has_outbox: bool) -> None:
    """Create the table of records before the first history row: from then on, a missing table is an error."""
    tables = sync.tables
    if has_outbox:
        raise _altered(sync, f"{tables.outbox} exists, but the history has no sync that left it")
    if has_records and tables.known():
        raise _altered(sync, f"{tables.records} has records, but the history has no sync of them")
    tables.create_records()


def _altered(sync: Sync, what: str) -> SyncError:
    name = sync.mapping.name
    return SyncError(
        f"{what}. Was it altered by hand, or written by a version before the first release? What Segment has received "
        f"is then unknown. `dbt-segconn reset {name}`: the next run sends every record. `dbt-segconn baseline {name}`: "
        "remember the model as it is, and send nothing"
    )


def _resume_outbox(sync: Sync, last: HistoryRow) -> None:
    if last.status == "staging":
        sync.tables.drop_outbox()  # it may be incomplete, and nothing of it was sent
        _close(sync, last)
    elif last.status != "abandoning" and _makes_same_calls(sync, last):
        given = f", with --integrations {last.integrations}" if last.integrations else ""
        sync.note(f"resuming {_began(last)}{given}")
        _finish(sync, last)
    else:
        _abandon(sync, last)


def _finish(sync: Sync, last: HistoryRow) -> None:
    """Deliver and settle what an outbox has left. The budget was checked when it was staged."""
    sync.run.budget.resume(max(0, last.to_send - last.confirmed))
    settle(sync, deliver(sync, sync.write(_rekeyed(sync, last), status="running", error=None)))


def _rekeyed(sync: Sync, last: HistoryRow) -> HistoryRow:
    """Return the row with the prefix of the messageIds that follow.

    If the write key has changed, first log the calls that were confirmed under the former one: the log makes their
    messageIds from the prefix in the row.
    """
    prefix = sync.message_prefix(last.sync_id)
    if prefix == last.message_prefix:
        return last
    row = last.next(sync.run.now(), message_prefix=prefix)
    sync.save(row, lambda: sync.tables.deliveries.log(last, row.saved_at, upto=last.watermark))
    return row


def _abandon(sync: Sync, last: HistoryRow) -> None:
    """Drop an outbox whose calls would differ now: one messageId must not have two calls. Stage its changes again."""
    what = "--integrations differ from those of" if _is_same_mapping(sync, last) else "the mapping has changed since"
    sync.note(f"{what} the interrupted sync: its undelivered changes are staged again")
    # saved first: after a crash, the next run abandons the outbox, too, even if the mapping is as it was before
    row = sync.write(last, status="abandoning")
    final = sync.ended(row, *_ENDS["abandoning"])

    def abandon() -> None:
        sync.tables.deliveries.log(row, final.saved_at, upto=row.watermark)
        sync.tables.abandon(row)

    sync.save(final, abandon)


def _makes_same_calls(sync: Sync, last: HistoryRow) -> bool:
    return _is_same_mapping(sync, last) and last.integrations == sync.mapping.run_integrations


def _is_same_mapping(sync: Sync, last: HistoryRow) -> bool:
    return (last.definition, last.signature) == (sync.mapping.definition, sync.source.signature)


def _close(sync: Sync, last: HistoryRow) -> None:
    """Write the last row of an interrupted sync without an outbox."""
    if last.status not in _ENDS:
        raise _altered(
            sync,
            f"{sync.tables.outbox} is missing; it held the undelivered changes of {_began(last)} "
            f"({last.confirmed:,} of {last.to_send:,} calls were confirmed)",
        )
    sync.end(last, *_ENDS[last.status])


STEPS: Sequence[Step] = (stage, deliver, settle)


def run_sync(mapping: Mapping, source: Source, destination: Destination, run: RunContext) -> SyncResult:
    """Sync one mapping. Any exception becomes the result of this sync and does not stop the others."""
    started = run.clock()
    rows: list[HistoryRow] = []
    timings, violations = Timings(), ViolationCounts()
    status, message = None, None
    try:
        with (
            open_state(run.warehouse, run.settings, mapping.id) as state,
            run.locks.hold(state, mapping.id, mapping.name) as lock,
        ):
            tables = MappingTables(state, mapping.id)
            _take_steps(Sync(mapping, source, destination, run, state, tables, lock, rows, timings, violations))
    except Canceled:  # Ctrl-C or --max-runtime: calls in flight are confirmed and saved
        status, message = "canceled", "interrupted; the next run resumes it"
    except Exception as error:  # noqa: BLE001  one sync's exception is one sync's failure
        status, message = "failed", message_of(error)
    result = _result(mapping, run, status, message, rows)
    return replace(result, seconds=run.clock() - started, spent=timings.spent(), violations=violations)


def _in_force(sync: Sync) -> Sync:
    """Return the sync with the integrations that apply now."""
    return replace(sync, mapping=in_force(sync.mapping, sync.last_row()))


def _take_steps(sync: Sync) -> None:
    try:
        if sync.run.applied is not None:
            with sync.step("apply"):
                apply(_in_force(sync))
            return
        with sync.step("resume"):
            resume(_in_force(sync))
        if sync.run.stop.is_set():
            raise Canceled
        sync = _in_force(sync)  # again: the resumed sync may have settled in the meantime
        if given := sync.mapping.run_integrations:
            sync.note(f"with --integrations {given}, until one of its syncs succeeds")
        row = sync.new_row()
        for step in STEPS:
            row = step(sync, row)
            if row.finished_at is not None or row.status == PLANNED:
                return
    except WarehouseError:
        with suppress(WarehouseError):
            if what := sync.tables.missing_column():  # tables of an earlier build, or altered by hand
                raise _altered(sync, what) from None
        raise


def _result(
    mapping: Mapping, run: RunContext, status: str | None, message: str | None, rows: Sequence[HistoryRow]
) -> SyncResult:
    last = rows[-1] if rows else None
    if last and not status:
        status, message = last.status, last.error
    confirmed = _confirmed(rows)
    # a resumed sync keeps the id of the run that staged it
    earlier = {row.sync_id: row for row in rows if row.run_id != run.run_id}
    return SyncResult(
        mapping,
        status or "failed",
        0.0,
        message,
        last,
        confirmed=sum(confirmed.values()),
        resumed=sum(confirmed[sync_id] for sync_id in earlier),
        resumed_row=next(reversed(earlier.values()), None),
    )


def _confirmed(rows: Sequence[HistoryRow]) -> dict[str, int]:
    """Count the calls that were confirmed between the first and the last row, by sync id."""
    first = {row.sync_id: row.confirmed for row in reversed(rows)}
    return {row.sync_id: row.confirmed - first[row.sync_id] for row in rows}
