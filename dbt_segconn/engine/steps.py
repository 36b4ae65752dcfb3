"""The steps of a sync, in order: resume → stage → deliver → settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from dbt_segconn.delivery import Canceled, Destination
from dbt_segconn.engine.delivering import deliver, settle
from dbt_segconn.engine.gate import SyncResult
from dbt_segconn.engine.staging import stage
from dbt_segconn.engine.sync import RunContext, Sync
from dbt_segconn.errors import SyncError, WarehouseError, message_of
from dbt_segconn.process_tuning import Timings
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.plan_checks import ViolationCounts
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import PLANNED, RESET, HistoryRow, State, in_force
from dbt_segconn.warehouse.source import Source

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
    if not sync.tables.present()[1]:
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


STEPS: Sequence[Callable[[Sync, HistoryRow], HistoryRow]] = (stage, deliver, settle)
"""Each step takes the row that the step before it has written, and returns its own.

A row with `finished_at` is the last one: the remaining steps are left out.
"""


def run_sync(mapping: Mapping, source: Source, destination: Destination, run: RunContext) -> SyncResult:
    """Sync one mapping. Any exception becomes the result of this sync and does not stop the others."""
    started = run.clock()
    rows: list[HistoryRow] = []
    timings, violations = Timings(), ViolationCounts()
    status, message = None, None
    try:
        with run.warehouse.session(mapping.id) as session:
            state = State(session, run.settings, run.warehouse.database)
            with run.locks.hold(state, mapping.id, mapping.name) as lock:
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
