"""The story of one sync: lock → resume → stage → deliver → settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from dbt_segconn.delivery import Canceled, Destination
from dbt_segconn.errors import WarehouseError, message_of
from dbt_segconn.project.plan import Sync
from dbt_segconn.state.outbox import MappingState
from dbt_segconn.state.tables import State, SyncState
from dbt_segconn.syncs.ledger import Book
from dbt_segconn.syncs.resume import forget, resume
from dbt_segconn.syncs.staging import stage
from dbt_segconn.syncs.transfer import deliver, settle
from dbt_segconn.syncs.work import Job, Work
from dbt_segconn.timings import Spent, Timings
from dbt_segconn.warehouse.source import Source


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How one sync ended, with the last state of it that was logged.

    `confirmed` counts the calls that this run has confirmed; `resumed` those of them that an earlier
    run had left in its outbox, whose own last state is `resumed_state`. `spent` says what the steps took.
    """

    sync: Sync
    status: str
    seconds: float
    message: str | None = None
    state: SyncState | None = None
    confirmed: int = 0
    resumed: int = 0
    resumed_state: SyncState | None = None
    spent: Mapping[str, Spent] = field(default_factory=dict)


def run_sync(sync: Sync, source: Source, destination: Destination, job: Job) -> SyncResult:
    """Bring what the destination knows up to the model. Any error is part of the result, a bug as well."""
    started = job.clock()
    logged: list[SyncState] = []
    timings = Timings()
    status, message = None, None
    try:
        with job.warehouse.session(sync.id) as session:
            state = State(session, job.settings, job.warehouse.database)
            with job.locks.hold(state, sync.id, sync.name) as lock:
                book = Book(state, MappingState(state, sync.id), lock, job.now, logged)
                _tell(Work(sync, source, destination, job, book, timings))
    except Canceled:
        status, message = "canceled", "interrupted; the next run goes on from here"
    except Exception as error:  # noqa: BLE001  the failure of one sync ends no other
        status, message = "failed", message_of(error)
    result = _result(sync, job, status, message, logged, job.clock() - started)
    return replace(result, spent=timings.spent())


def _result(
    sync: Sync, job: Job, status: str | None, message: str | None, logged: Sequence[SyncState], seconds: float
) -> SyncResult:
    last = logged[-1] if logged else None
    if last and not status:
        status, message = last.status, last.error
    confirmed = _confirmed(logged)
    earlier = {state.sync_id: state for state in logged if state.invocation_id != job.invocation_id}
    return SyncResult(
        sync,
        status or "failed",
        seconds,
        message,
        last,
        confirmed=sum(confirmed.values()),
        resumed=sum(confirmed[sync_id] for sync_id in earlier),
        resumed_state=next(reversed(earlier.values()), None),
    )


def _confirmed(logged: Sequence[SyncState]) -> dict[str, int]:
    """Count the calls that were confirmed while the log was written, by sync id."""
    first = {state.sync_id: state.confirmed for state in reversed(logged)}
    return {state.sync_id: state.confirmed - first[state.sync_id] for state in logged}


def _tell(work: Work) -> None:
    """Take the steps of a sync in their order; say of a failed statement if somebody's hand is behind it."""
    try:
        _take_steps(work)
    except WarehouseError:
        with suppress(WarehouseError):
            work.tables.check_columns()
        raise


def _take_steps(work: Work) -> None:
    if work.job.full_refresh:
        forget(work)
    else:
        resume(work)
    if work.job.stop.is_set():
        raise Canceled
    staged = stage(work)
    if staged.status != "blocked":
        settle(work, deliver(work, staged))
