"""The story of one sync: lock → check → resume → stage → guards → deliver → settle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from dbt_segconn.calls import CallMaker
from dbt_segconn.delivery import Canceled, Delivery, Destination
from dbt_segconn.errors import LockedError, SegconnError, SyncError, WarehouseError
from dbt_segconn.guards import doubts, objections
from dbt_segconn.ledger import Book, Ledger
from dbt_segconn.locks import Locks
from dbt_segconn.meta import KINDS
from dbt_segconn.outbox import MappingState
from dbt_segconn.plan import Sync
from dbt_segconn.settings import StateSettings
from dbt_segconn.state import RESET, State, SyncState, new_state
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Source

# Changes read from the outbox at once: many enough for the warehouse, few enough for memory
PAGE = 20_000
# Changes handed to delivery at once; between two portions the watermark may be saved
PORTION = 1_000


class Observer(Protocol):
    """Who watches a sync: a terminal, a log, nobody."""

    def note(self, sync: Sync, text: str) -> None:
        """Hear of something that the user should know before the sync ends."""

    def progress(self, sync: Sync, done: int, total: int) -> None:
        """Hear how many of the changes to send are done."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all syncs of one invocation share. `now` is the warehouse's time in UTC, `clock` counts seconds.

    `mapping_ids` are those of all mappings of the project, to tell which of the history are gone. `baseline`
    settles every change without sending it, `retry` takes up given-up records again.
    """

    warehouse: Warehouse
    settings: StateSettings
    locks: Locks
    observer: Observer
    stop: threading.Event
    now: Callable[[], datetime]
    clock: Callable[[], float]
    invocation_id: str
    mapping_ids: Collection[str] = ()
    dbt_invocation_id: str | None = None
    full_refresh: bool = False
    baseline: bool = False
    retry: bool = False
    allow_guarded: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How one sync ended, with the last state of it that was logged.

    `confirmed` counts the calls that this run has confirmed; `resumed` those of them that an earlier
    run had left in its outbox, whose own last state is `resumed_state`.
    """

    sync: Sync
    status: str
    seconds: float
    message: str | None = None
    state: SyncState | None = None
    confirmed: int = 0
    resumed: int = 0
    resumed_state: SyncState | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """One sync under way."""

    sync: Sync
    source: Source
    destination: Destination
    job: Job
    book: Book

    @property
    def tables(self) -> MappingState:
        return self.book.tables

    def note(self, text: str) -> None:
        self.job.observer.note(self.sync, text)


def run_sync(sync: Sync, source: Source, destination: Destination, job: Job) -> SyncResult:
    """Bring what the destination knows up to the model. A SegconnError ends up in the result."""
    started = job.clock()
    logged: list[SyncState] = []
    status, message = None, None
    try:
        with job.warehouse.session(sync.id) as session:
            state = State(session, job.settings, job.warehouse.database)
            with job.locks.hold(state, sync.id, sync.name) as lock:
                book = Book(state, MappingState(state, sync.id), lock, job.now, logged)
                _tell(_Work(sync, source, destination, job, book))
    except Canceled:
        status, message = "canceled", "interrupted; the next run goes on from here"
    except SegconnError as error:
        status, message = "failed", str(error)
    return _result(sync, job, status, message, logged, job.clock() - started)


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


def _tell(work: _Work) -> None:
    """Take the steps of a sync in their order; say of a failed statement if somebody's hand is behind it."""
    try:
        _take_steps(work)
    except WarehouseError:
        with suppress(WarehouseError):
            work.tables.check_columns()
        raise


def _take_steps(work: _Work) -> None:
    if work.job.full_refresh:
        _forget(work)
    else:
        _resume(work)
    if work.job.stop.is_set():
        raise Canceled
    staged = _stage(work)
    if staged.status != "blocked":
        _settle(work, _deliver(work, staged))


def _new_state(work: _Work, sync_mode: str = "") -> SyncState:
    """Return the first row of a sync, not yet logged."""
    state = new_state(
        work.sync, work.job.now(), sync_mode=sync_mode, invocation_id=work.job.invocation_id, source=work.source
    )
    return replace(state, dbt_invocation_id=work.job.dbt_invocation_id)


def _forget(work: _Work) -> None:
    """Start as if there had been no sync before."""
    last = work.book.state.last_sync(work.sync.id)
    with work.book.state.transaction():
        work.tables.forget(last, _new_state(work).as_reset(work.job.now()))
        work.tables.create_records()


def _resume(work: _Work) -> None:
    """Finish what an earlier sync has begun: its outbox is delivered before anything new is staged."""
    last = work.book.state.last_sync(work.sync.id)
    has_records, has_outbox = work.tables.present()
    if last is None or last.status == RESET:
        if has_outbox:
            raise _by_hand(work, f"{work.tables.outbox} is there, but the history knows no sync that left it")
        work.tables.create_records()  # before the first row of the log: from then on, its absence means something
    elif not has_records:
        raise _by_hand(work, f"{work.tables.records} is missing; it held the records of earlier syncs")
    elif last.finished_at is not None:
        work.tables.drop_outbox()
    elif has_outbox:
        _go_on(work, last)
    else:
        _close(work, last)


def _by_hand(work: _Work, what: str) -> SyncError:
    name = work.sync.name
    return SyncError(
        f"{what}. Was it altered by hand? What Segment has cannot be told any more: `dbt-segconn reset {name}` lets "
        f"the next run send every record, `dbt-segconn baseline {name}` remembers the model as it is and sends none"
    )


def _go_on(work: _Work, last: SyncState) -> None:
    if last.status == "staging":
        work.tables.drop_outbox()  # perhaps half made; nothing of it was sent
        work.book.log(last, status="failed", finished_at=work.job.now(), error="ended while staging; nothing was sent")
    elif last.status != "abandoning" and _fits(work, last):
        work.note(f"goes on with the sync of {last.started_at:%Y-%m-%d %H:%M:%S} UTC")
        _settle(work, _deliver(work, work.book.log(last, status="running", error=None)))
    else:
        work.note(
            "its mapping has changed since the last sync was cut short: what that one had not delivered is staged anew"
        )
        last = work.book.log(last, status="abandoning")
        final = work.book.finished(last, "canceled", "the mapping has changed")
        with work.book.state.transaction():
            work.book.lock.confirm()
            work.tables.abandon(last, final)
        work.book.logged.append(final)


def _fits(work: _Work, last: SyncState) -> bool:
    """Say whether the calls of an outbox would be made as they were when it was staged."""
    return (last.definition, last.signature) == (work.sync.definition, work.source.signature)


# What a sync was doing that ended when its outbox was gone already, where nothing else can be told
_ENDS = {"staging": ("failed", "ended while staging; nothing was sent"), "settling": ("success", None)}
_ENDS["abandoning"] = ("canceled", "the mapping has changed")


def _close(work: _Work, last: SyncState) -> None:
    """Finish the history of a sync that has left no outbox."""
    if last.status not in _ENDS:
        raise _by_hand(
            work,
            f"{work.tables.outbox} is missing; it held what the sync of {last.started_at:%Y-%m-%d %H:%M:%S} UTC had "
            f"not delivered ({last.confirmed:,} of {last.to_send:,} calls were confirmed)",
        )
    status, error = _ENDS[last.status]
    work.book.log(last, status=status, finished_at=work.job.now(), error=error)


def _stage(work: _Work) -> SyncState:
    """Freeze what has changed; the state returned is `running`, or `blocked` where a guard objects."""
    state = work.book.state
    before = state.last_sync(work.sync.id)
    is_baseline = work.job.baseline or (
        work.sync.mapping.first_sync == "baseline" and not state.has_settled(work.sync.id)
    )
    staging = _new_state(work, "" if is_baseline else ",".join(work.sync.mapping.sync_mode))
    if reason := _meant(work, doubts(work.sync, staging, before, _lookalikes(work, before), work.tables.known())):
        return work.book.log(staging, status="blocked", finished_at=work.job.now(), error=reason)
    staging = work.book.log(staging)
    if work.job.retry:
        work.tables.discards.close_all(staging)
    work.tables.stage(work.sync, work.source)
    counted = _count(work, staging)
    if reason := _meant(work, _objections(work, counted)):
        work.tables.drop_outbox()
        return work.book.log(counted, status="blocked", finished_at=work.job.now(), error=reason)
    _announce(work, before, counted)
    _announce_lost(work, counted)
    if counted.unidentified:
        work.tables.discards.append_repeated(work.tables.outbox, counted)
    return work.book.log(counted, status="running")


def _lookalikes(work: _Work, before: SyncState | None) -> dict[str, int]:
    """Find mappings that are gone from the project and were just like this new one, with their records."""
    if before is not None:
        return {}
    state, sync = work.book.state, work.sync
    gone = [
        (one.mapping, MappingState(state, one.mapping_id))
        for one in state.orphans(work.job.mapping_ids)
        if (one.definition, one.destination) == (sync.definition, sync.destination)
    ]
    return {name: tables.known() for name, tables in gone if tables.present()[0]}


def _meant(work: _Work, reasons: Iterator[str]) -> str | None:
    """Join what speaks against a sync, unless the user has said that it is meant."""
    if work.job.baseline or work.sync.name in work.job.allow_guarded:
        return None
    text = "; ".join(reasons)
    return f"{text}. Nothing was sent. If this is meant, run with --allow-guarded {work.sync.name}" if text else None


def _count(work: _Work, staging: SyncState) -> SyncState:
    counts = {kind: changes.count for kind, changes in work.tables.count().items()}
    kinds = {kind: counts.get(kind, 0) for kind in KINDS}
    unidentified = counts.get("null_identifier", 0) + counts.get("duplicate_identifier", 0)
    to_send = sum(count for kind, count in kinds.items() if kind in staging.sync_mode.split(","))
    return replace(
        staging,
        added=kinds["added"],
        updated=kinds["updated"],
        deleted=kinds["deleted"],
        unidentified=unidentified,
        discarded=unidentified,
        to_send=to_send,
        left_out=sum(kinds.values()) - to_send,
    )


def _objections(work: _Work, state: SyncState) -> Iterator[str]:
    known = work.tables.known()
    return objections(
        work.sync.mapping.guards,
        known=known,
        present=known - state.deleted + state.added + state.unidentified,
        to_send=state.to_send,
        updated=state.updated,
        deleted=state.deleted,
    )


def _announce_lost(work: _Work, state: SyncState) -> None:
    if lost := work.tables.count_lost(work.source, state.sync_mode.split(",")):
        work.note(f"{lost:,} value{'s' if lost > 1 else ''} that JSON cannot hold (NaN, infinity): sent as null")


def _announce(work: _Work, before: SyncState | None, state: SyncState) -> None:
    """Say it before records are sent again for no change of their data."""
    if before is None or before.status == RESET:
        return
    if before.identifier not in {None, state.identifier}:
        work.note(
            f"its unique identifier was {before.identifier} and is {state.identifier} now: {state.added:,} records "
            f"count as added, {state.deleted:,} as deleted"
        )
    elif before.signature != state.signature and state.updated and "updated" in state.sync_mode:
        work.note(f"the columns that it uses have changed: {state.updated:,} known records are sent again")


def _deliver(work: _Work, state: SyncState) -> SyncState:
    """Send what is behind the watermark; what cannot be sent now stays in the outbox."""
    destination = work.destination
    calls = CallMaker(
        work.sync,
        work.source.columns,
        write_key=destination.target.write_key,
        sync_id=state.sync_id,
        started_at=state.started_at,
    )
    is_resumed = state.invocation_id != work.job.invocation_id
    with Delivery(destination, start_after=state.watermark, stop=work.job.stop, notify=work.note) as delivery:
        ledger = Ledger(work.book, state, delivery, work.job.clock, is_resumed=is_resumed)
        try:
            for portion in _portions(work, state):
                made = calls.many(portion, delivery.refuse)
                delivery.send(made.numbers, made.record_ids, made.calls, are_checked=made.are_checked)
                work.job.observer.progress(work.sync, ledger.confirmed, state.to_send)
                ledger.save_when_due()
            delivery.finish()
        except Canceled:
            delivery.close()  # what is in flight counts, too
            ledger.save(status="canceled")
            raise
        except LockedError:
            raise  # whoever holds the lock now writes the log
        except SegconnError as error:
            delivery.close()
            ledger.save(status="failed", error=str(error))
            raise
        return ledger.save(status="settling")


def _portions(work: _Work, state: SyncState) -> Iterator[Sequence[Row]]:
    """Read the outbox from the watermark on, a page at a time, as long as the lock is ours."""
    kinds = state.sync_mode.split(",")
    waiting = [changes for kind, changes in work.tables.count().items() if kind in kinds]
    if not waiting:
        return
    after = max(state.watermark, min(changes.first for changes in waiting) - 1)
    last = max(changes.last for changes in waiting)
    for low in range(after, last, PAGE):
        page = work.tables.read(work.source.columns, kinds, low, min(low + PAGE, last))
        work.book.lock.confirm()  # after reading: another's outbox may stand under the same name
        for at in range(0, len(page), PORTION):
            yield page[at : at + PORTION]


def _settle(work: _Work, state: SyncState) -> None:
    """Make the outbox's changes the new records; from here on the sync is history."""
    final = work.book.finished(state, "partial" if state.discarded else "success", _discards_of(state))
    with work.book.state.transaction():
        work.book.lock.confirm()
        work.tables.settle(state, final)
    work.book.logged.append(final)


def _discards_of(state: SyncState) -> str | None:
    if not state.discarded:
        return None
    records = "1 record was" if state.discarded == 1 else f"{state.discarded:,} records were"
    return f"{records} discarded; `dbt-segconn status --discards` says why"
