"""The steps of a sync, in order: resume → stage → deliver → settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from dbt_segconn.delivery import Canceled, Destination
from dbt_segconn.engine.delivering import deliver, settle
from dbt_segconn.engine.results import SyncResult
from dbt_segconn.engine.resuming import resume
from dbt_segconn.engine.staging import stage
from dbt_segconn.engine.sync import RunContext, Sync
from dbt_segconn.errors import WarehouseError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, State
from dbt_segconn.timings import Timings
from dbt_segconn.warehouse.source import Source

STEPS: Sequence[Callable[[Sync, HistoryRow], HistoryRow]] = (stage, deliver, settle)
"""Each takes the row that the step before it has written, and returns its own. A row with an end is the last one."""


def run_sync(mapping: Mapping, source: Source, destination: Destination, run: RunContext) -> SyncResult:
    """Sync one mapping. Any exception becomes the result of this sync, so that the others go on."""
    started = run.clock()
    rows: list[HistoryRow] = []
    timings = Timings()
    status, message = None, None
    try:
        with run.warehouse.session(mapping.id) as session:
            state = State(session, run.settings, run.warehouse.database)
            with run.locks.hold(state, mapping.id, mapping.name) as lock:
                tables = MappingTables(state, mapping.id)
                _take_steps(Sync(mapping, source, destination, run, state, tables, lock, rows, timings))
    except Canceled:
        status, message = "canceled", "interrupted; the next run resumes it"
    except Exception as error:  # noqa: BLE001  one sync's exception is one sync's failure
        status, message = "failed", message_of(error)
    result = _result(mapping, run, status, message, rows)
    return replace(result, seconds=run.clock() - started, spent=timings.spent())


def _take_steps(sync: Sync) -> None:
    try:
        resume(sync)
        if sync.run.stop.is_set():
            raise Canceled
        row = sync.new_row()
        for step in STEPS:
            row = step(sync, row)
            if row.finished_at is not None:
                return
    except WarehouseError:
        with suppress(WarehouseError):
            sync.tables.check_columns()  # a table that was altered by hand explains the error better
        raise


def _result(
    mapping: Mapping, run: RunContext, status: str | None, message: str | None, rows: Sequence[HistoryRow]
) -> SyncResult:
    last = rows[-1] if rows else None
    if last and not status:
        status, message = last.status, last.error
    confirmed = _confirmed(rows)
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
