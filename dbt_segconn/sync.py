"""The story of one sync: lock → resume → stage → guards → deliver → settle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from dbt_segconn.calls import CallMaker
from dbt_segconn.delivery import Canceled, Delivery, Destination, Progress, Refusal
from dbt_segconn.errors import RecordError, SegconnError
from dbt_segconn.guards import objections
from dbt_segconn.locks import Locks
from dbt_segconn.meta import KINDS
from dbt_segconn.plan import Sync
from dbt_segconn.settings import StateSettings
from dbt_segconn.state import Discard, MappingState, State, SyncState, new_sync_id
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Source

# Changes read from the outbox at once: many enough for the warehouse, few enough for memory
PAGE = 20_000
# Changes handed to delivery at once; between two portions the watermark may be saved
PORTION = 1_000
SAVE_SECONDS = 5.0


class Observer(Protocol):
    """Who watches a sync: a terminal, a log, nobody."""

    def note(self, sync: Sync, text: str) -> None:
        """Hear of something that the user should know before the sync ends."""

    def progress(self, sync: Sync, done: int, total: int) -> None:
        """Hear how many of the changes to send are done."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all syncs of one invocation share. `now` is the time in UTC, `clock` counts seconds."""

    warehouse: Warehouse
    settings: StateSettings
    locks: Locks
    observer: Observer
    stop: threading.Event
    now: Callable[[], datetime]
    clock: Callable[[], float]
    invocation_id: str
    dbt_invocation_id: str | None = None
    full_refresh: bool = False
    allow_guarded: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How one sync ended, with the last state of it that was logged.

    `confirmed` counts the calls that this run has confirmed; `resumed` those of them that an earlier
    sync had left in its outbox.
    """

    sync: Sync
    status: str
    seconds: float
    message: str | None = None
    state: SyncState | None = None
    confirmed: int = 0
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class _Work:
    """One sync under way; `logged` is what it has written to the log of syncs so far."""

    sync: Sync
    source: Source
    destination: Destination
    job: Job
    state: State
    tables: MappingState
    logged: list[SyncState]

    def log(self, state: SyncState, **changes: Any) -> SyncState:
        logged = state.next(self.job.now(), **changes)
        self.state.append(self.state.log, [logged])
        self.logged.append(logged)
        return logged

    def finished(self, state: SyncState, status: str, error: str | None = None) -> SyncState:
        now = self.job.now()
        return state.next(now, status=status, finished_at=now, error=error)


def run_sync(sync: Sync, source: Source, destination: Destination, job: Job) -> SyncResult:
    """Bring what the destination knows up to the model. A SegconnError ends up in the result."""
    started = job.clock()
    logged: list[SyncState] = []
    status, message = None, None
    try:
        with job.warehouse.session(sync.id) as session:
            state = State(session, job.settings, job.warehouse.database)
            with job.locks.hold(state, sync.id, sync.name):
                _tell(_Work(sync, source, destination, job, state, state.of(sync.id), logged))
    except Canceled:
        status, message = "canceled", "interrupted; the next run goes on from here"
    except SegconnError as error:
        status, message = "failed", str(error)
    last = logged[-1] if logged else None
    if last and not status:
        status, message = last.status, last.error
    return SyncResult(
        sync,
        status or "failed",
        job.clock() - started,
        message,
        last,
        confirmed=sum(_confirmed(logged).values()),
        resumed=sum(count for sync_id, count in _confirmed(logged).items() if last and sync_id != last.sync_id),
    )


def _confirmed(logged: Sequence[SyncState]) -> dict[str, int]:
    """Count the calls that were confirmed while the log was written, by sync id."""
    first = {state.sync_id: state.confirmed for state in reversed(logged)}
    return {state.sync_id: state.confirmed - first[state.sync_id] for state in logged}


def _tell(work: _Work) -> None:
    """Take the steps of a sync in their order."""
    if work.job.full_refresh:
        work.tables.reset()
    else:
        _resume(work)
    staged = _stage(work)
    if staged.status != "blocked":
        _settle(work, _deliver(work, staged))


def _resume(work: _Work) -> None:
    """Finish what an earlier sync has begun: its outbox is delivered before anything new is staged."""
    last = work.state.last_sync(work.sync.id)
    if last is None:
        return
    if not work.tables.has_outbox():
        if last.status in {"staging", "running", "settling"}:
            work.log(last, status="success" if last.status == "settling" else "failed", finished_at=work.job.now())
        return
    if last.status == "staging":
        work.tables.drop_outbox()  # perhaps half made; nothing of it was sent
        work.log(last, status="failed", finished_at=work.job.now(), error="ended while staging; nothing was sent")
    elif (last.definition, last.signature) == (work.sync.definition, work.source.signature):
        work.job.observer.note(work.sync, f"goes on with the sync of {last.started_at:%Y-%m-%d %H:%M:%S} UTC")
        _settle(work, _deliver(work, work.log(last, status="running", error=None)))
    else:
        work.job.observer.note(
            work.sync,
            "its mapping has changed since the last sync was cut short: what that one had not delivered is staged anew",
        )
        work.tables.abandon(last, work.finished(last, "canceled", "the mapping has changed"))


def _stage(work: _Work) -> SyncState:
    """Freeze what has changed; the state returned is `running`, or `blocked` where a guard objects."""
    sync, now = work.sync, work.job.now()
    is_first = not work.tables.has_records()
    before = work.state.last_sync(sync.id)
    staging = work.log(
        SyncState(
            sync_id=new_sync_id(),
            revision=0,
            mapping_id=sync.id,
            model=sync.model.unique_id,
            mapping=sync.name,
            destination=sync.destination,
            action=sync.mapping.action,
            sync_mode="" if is_first and sync.mapping.first_sync == "baseline" else ",".join(sync.mapping.sync_mode),
            status="staging",
            definition=sync.definition,
            signature=work.source.signature,
            invocation_id=work.job.invocation_id,
            dbt_invocation_id=work.job.dbt_invocation_id,
            started_at=now,
            saved_at=now,
        )
    )
    work.tables.stage(sync, work.source)
    counted = _count(work, staging)
    if reason := _objection(work, counted):
        work.tables.drop_outbox()
        return work.log(counted, status="blocked", finished_at=work.job.now(), error=reason)
    _announce(work, before, counted)
    if counted.unidentified:
        work.tables.discard_repeated(counted)
    return work.log(counted, status="running")


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


def _objection(work: _Work, state: SyncState) -> str | None:
    if work.sync.name in work.job.allow_guarded:
        return None
    known = work.tables.known()
    reasons = objections(
        work.sync.mapping.guards,
        known=known,
        present=known - state.deleted + state.added + state.unidentified,
        to_send=state.to_send,
        updated=state.updated,
        deleted=state.deleted,
    )
    text = "; ".join(reasons)
    return f"{text}. Nothing was sent. If this is meant, run with --allow-guarded {work.sync.name}" if text else None


def _announce(work: _Work, before: SyncState | None, state: SyncState) -> None:
    """Say it before records are sent again for no change of their data."""
    if before and before.signature != state.signature and state.updated and "updated" in state.sync_mode:
        work.job.observer.note(
            work.sync,
            f"the columns that it uses have changed: {state.updated:,} known records are sent again",
        )


def _deliver(work: _Work, state: SyncState) -> SyncState:
    """Send what is behind the watermark; what cannot be sent now stays in the outbox."""
    destination = work.destination
    make_call = CallMaker(
        work.sync,
        work.source.columns,
        write_key=destination.target.write_key,
        sync_id=state.sync_id,
        started_at=state.started_at,
    )
    notify = partial(work.job.observer.note, work.sync)
    with Delivery(destination, start_after=state.watermark, stop=work.job.stop, notify=notify) as delivery:
        ledger = _Ledger(work, state, delivery)
        try:
            for portion in _portions(work, state):
                _send(portion, make_call, delivery)
                ledger.save_when_due()
            delivery.finish()
        except Canceled:
            delivery.close()  # what is in flight counts, too
            ledger.save(status="canceled")
            raise
        except SegconnError as error:
            delivery.close()
            ledger.save(status="failed", error=str(error))
            raise
        return ledger.save(status="settling")


def _portions(work: _Work, state: SyncState) -> Iterator[Sequence[Row]]:
    """Read the outbox from the watermark on, a page at a time."""
    kinds = state.sync_mode.split(",")
    waiting = [changes for kind, changes in work.tables.count().items() if kind in kinds]
    if not waiting:
        return
    after = max(state.watermark, min(changes.first for changes in waiting) - 1)
    last = max(changes.last for changes in waiting)
    for low in range(after, last, PAGE):
        page = work.tables.read(work.source.columns, kinds, low, min(low + PAGE, last))
        for at in range(0, len(page), PORTION):
            yield page[at : at + PORTION]


def _send(changes: Sequence[Row], make_call: CallMaker, delivery: Delivery) -> None:
    numbers, record_ids, calls = [], [], []
    for change in changes:
        try:
            calls.append(make_call(change))
        except RecordError as error:
            delivery.refuse(change[0], change[2], str(error))
        else:
            numbers.append(change[0])
            record_ids.append(change[2])
    delivery.send(numbers, record_ids, calls)


class _Ledger:
    """Writes down how far a delivery has come: watermark, counts and discards together.

    Only discards at or below the watermark are written; those behind it are met again by a resume.
    """

    def __init__(self, work: _Work, state: SyncState, delivery: Delivery) -> None:
        self._work = work
        self._state = state
        self._delivery = delivery
        self._refusals: list[Refusal] = []
        self._before = state.confirmed
        self._settled = 0
        self._saved_at = work.job.clock()

    def save_when_due(self) -> None:
        progress = self._progress()
        done = self._before + progress.confirmed
        self._work.job.observer.progress(self._work.sync, done, self._state.to_send)
        if self._work.job.clock() - self._saved_at >= SAVE_SECONDS:
            self.save(status="running")

    def _progress(self) -> Progress:
        progress = self._delivery.progress()
        self._refusals.extend(progress.refusals)
        return progress

    def save(self, **changes: Any) -> SyncState:
        progress = self._progress()
        due = [refusal for refusal in self._refusals if refusal.change_number <= progress.watermark]
        self._refusals = [refusal for refusal in self._refusals if refusal.change_number > progress.watermark]
        now = self._work.job.now()
        self._state = self._state.next(
            now,
            watermark=progress.watermark,
            confirmed=self._state.confirmed + progress.settled - self._settled - len(due),
            discarded=self._state.discarded + len(due),
            **changes,
        )
        with self._work.state.transaction():
            self._work.state.append(self._work.state.discards, self._discards(due, now))
            self._work.state.append(self._work.state.log, [self._state])
        self._work.logged.append(self._state)
        self._settled = progress.settled
        self._saved_at = self._work.job.clock()
        return self._state

    def _discards(self, refusals: Sequence[Refusal], now: datetime) -> list[Discard]:
        described = self._work.tables.describe([refusal.change_number for refusal in refusals])
        state = self._state
        return [
            Discard(
                sync_id=state.sync_id,
                mapping_id=state.mapping_id,
                mapping=state.mapping,
                definition=state.definition,
                record_id=refusal.record_id,
                kind=described[refusal.change_number][0],
                checksum=described[refusal.change_number][1],
                reason=refusal.reason,
                discarded_at=now,
            )
            for refusal in refusals
        ]


def _settle(work: _Work, state: SyncState) -> None:
    """Make the outbox's changes the new records; from here on the sync is history."""
    final = work.finished(state, "partial" if state.discarded else "success", _discards_of(state))
    work.tables.settle(state, final)
    work.logged.append(final)


def _discards_of(state: SyncState) -> str | None:
    if not state.discarded:
        return None
    records = "1 record was" if state.discarded == 1 else f"{state.discarded:,} records were"
    return f"{records} discarded; `dbt-segconn status --discards` says why"
