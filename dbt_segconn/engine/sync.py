"""The story of one sync: lock → resume → stage → deliver → settle."""

from __future__ import annotations

from collections import abc
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from dbt_segconn.delivery import Canceled, Destination
from dbt_segconn.engine.progress import Book
from dbt_segconn.engine.resuming import forget, resume
from dbt_segconn.engine.staging import stage
from dbt_segconn.engine.transfer import deliver, settle
from dbt_segconn.engine.work import RunContext, Sync
from dbt_segconn.errors import WarehouseError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, State
from dbt_segconn.timings import Spent, Timings
from dbt_segconn.warehouse.source import Source


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How one sync ended, with the last state of it that was logged.

    `confirmed` counts the calls that this run has confirmed; `resumed` those of them that an earlier
    run had left in its outbox, whose own last state is `resumed_state`. `spent` says what the steps took.
    """

    mapping: Mapping
    status: str
    seconds: float
    message: str | None = None
    state: HistoryRow | None = None
    confirmed: int = 0
    resumed: int = 0
    resumed_state: HistoryRow | None = None
    spent: abc.Mapping[str, Spent] = field(default_factory=dict)


def run_sync(mapping: Mapping, source: Source, destination: Destination, job: RunContext) -> SyncResult:
    """Bring what the destination knows up to the model. Any error is part of the result, a bug as well."""
    started = job.clock()
    logged: list[HistoryRow] = []
    timings = Timings()
    status, message = None, None
    try:
        with job.warehouse.session(mapping.id) as session:
            state = State(session, job.settings, job.warehouse.database)
            with job.locks.hold(state, mapping.id, mapping.name) as lock:
                book = Book(state, MappingTables(state, mapping.id), lock, job.now, logged)
                _tell(Sync(mapping, source, destination, job, book, timings))
    except Canceled:
        status, message = "canceled", "interrupted; the next run goes on from here"
    except Exception as error:  # noqa: BLE001  the failure of one sync ends no other
        status, message = "failed", message_of(error)
    result = _result(mapping, job, status, message, logged, job.clock() - started)
    return replace(result, spent=timings.spent())


def _result(
    mapping: Mapping,
    job: RunContext,
    status: str | None,
    message: str | None,
    logged: Sequence[HistoryRow],
    seconds: float,
) -> SyncResult:
    last = logged[-1] if logged else None
    if last and not status:
        status, message = last.status, last.error
    confirmed = _confirmed(logged)
    earlier = {state.sync_id: state for state in logged if state.run_id != job.run_id}
    return SyncResult(
        mapping,
        status or "failed",
        seconds,
        message,
        last,
        confirmed=sum(confirmed.values()),
        resumed=sum(confirmed[sync_id] for sync_id in earlier),
        resumed_state=next(reversed(earlier.values()), None),
    )


def _confirmed(logged: Sequence[HistoryRow]) -> dict[str, int]:
    """Count the calls that were confirmed while the log was written, by sync id."""
    first = {state.sync_id: state.confirmed for state in reversed(logged)}
    return {state.sync_id: state.confirmed - first[state.sync_id] for state in logged}


def _tell(work: Sync) -> None:
    """Take the steps of a sync in their order; say of a failed statement if somebody's hand is behind it."""
    try:
        _take_steps(work)
    except WarehouseError:
        with suppress(WarehouseError):
            work.tables.check_columns()
        raise


def _take_steps(work: Sync) -> None:
    last = None
    if work.job.full_refresh:
        forget(work)
    else:
        last = resume(work)
    if work.job.stop.is_set():
        raise Canceled
    staged = stage(work, last or work.book.state.last_sync(work.mapping.id))
    if staged.status == "running":
        settle(work, deliver(work, staged))
