"""The last steps of a sync: deliver the outbox to Segment, here or by workers; then settle it as the new records."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dbt_segconn.delivery import Canceled, Delivery, Discard, Progress
from dbt_segconn.engine.calls import message_id_prefix, order_of
from dbt_segconn.engine.ranges import Range, RangeResult, Workers, calls_of, send
from dbt_segconn.engine.sync import Sync, timed_step
from dbt_segconn.errors import LockedError, SyncError, counted, message_of
from dbt_segconn.state.tables import DiscardRow, HistoryRow

# Seconds between two saved watermarks: what the next run may send again after a crash
SAVE_SECONDS = 1.0
# Saving takes at most 1/SAVE_SHARE of the time: a slow warehouse saves less often. On Databricks, each save is a file
SAVE_SHARE = 20
# A worker reports a range only when it ends. With a rate limit, ranges are so small that each takes about this long
RANGE_SECONDS = 5
SMALLEST_RANGE, LARGEST_RANGE = 1_000, 100_000
# The delivery fails if this many workers have died while they delivered the same range: it may be the cause
MOST_LOSSES = 3
TICK_SECONDS = 0.5


@timed_step
def deliver(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Send the changes above the watermark, and return the `settling` row.

    After an error or an interrupt, the progress is saved, and the rest stays in the outbox for the next run.
    """
    delivery, send_all = _delivery(sync, unsent(sync, row))
    with closing(delivery):
        writer = ProgressWriter(sync, row, delivery, is_resumed=row.run_id != sync.run.run_id)

        def report() -> None:
            sync.run.listener.progress(sync.mapping, writer.confirmed, row.to_send)
            writer.save_when_due()

        try:
            send_all(report)
            delivery.finish()
            if sync.violations.found:
                sync.note(sync.violations.line())
        except Canceled:
            delivery.close()  # calls in flight are confirmed first
            writer.save(status="canceled")
            raise
        except LockedError:
            raise  # the process that holds the lock now writes the history
        except Exception as error:
            delivery.close()
            writer.save(status="failed", error=message_of(error))
            raise
        return writer.save(status="settling")


def _delivery(sync: Sync, unsent: Range) -> tuple[Delivery | RangeDelivery, Callable[[Callable[[], None]], None]]:
    """Return the delivery, in this process or by workers, and the function that sends all changes through it."""
    run, destination = sync.run, sync.destination
    if run.workers:
        by_workers = RangeDelivery(sync, run.workers, unsent)
        return by_workers, by_workers.run
    delivery = Delivery(
        destination,
        start_after=unsent.after,
        stop=run.stop,
        order=order_of(sync.mapping),
        notify=sync.note,
        timings=sync.timings,
        observe=sync.observe,
    )
    calls = calls_of(unsent, sync.mapping, destination.config.write_key, sync.violations)
    # dbt opens as many connections as the profile has threads. Each may ask for a login, or only one may be allowed
    open_tables = sync.open_tables if run.warehouse.threads > 1 else None
    return delivery, partial(send, unsent, calls, sync.tables, sync.lock, delivery, open_tables=open_tables)


def unsent(sync: Sync, row: HistoryRow) -> Range:
    """Return the changes above the watermark as one range."""
    mapping = sync.mapping
    waiting = {one: changes for one, changes in sync.tables.count().items() if one in row.change_types}
    # changes that are not sent may have the first and last numbers: skip their pages
    after = max([row.watermark, *([min(changes.first for changes in waiting.values()) - 1] if waiting else [])])
    return Range(
        run_id=sync.run.run_id,
        mapping_id=mapping.id,
        sync_id=row.sync_id,
        started_at=row.started_at,
        definition=mapping.definition,
        fingerprint=message_id_prefix(sync.destination.config.write_key, row.sync_id),
        change_types=tuple(row.change_types),
        columns=sync.source.columns,
        token=sync.lock.token,
        after=after,
        upto=max([after, *(changes.last for changes in waiting.values())]),
        # the record ids of known records have the columns of the former identifier, if it has changed
        keeps_identifiers="deleted" in waiting and not sync.former_identifier(),
        integrations=mapping.run_integrations,
        observes_requests=sync.observe is not None,
    )


@timed_step
def settle(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Apply the outbox to the records, drop it, and return the last row of the sync."""
    final = sync.ended(row, "partial" if row.discarded else "success", _discards_of(row))
    sync.save(final, lambda: _settle(sync, row, final))
    return final


def _settle(sync: Sync, row: HistoryRow, final: HistoryRow) -> None:
    with_hashes = sync.mapping.meta.changed_columns
    # first the log, which compares the outbox with the former records
    sync.tables.deliveries.log(row, final.saved_at, sync.source if with_hashes else None)
    sync.tables.settle(row, final, with_hashes=with_hashes)


def _discards_of(row: HistoryRow) -> str | None:
    if not row.discarded:
        return None
    verb = "was" if row.discarded == 1 else "were"
    return f"{counted(row.discarded, 'record')} {verb} discarded; `dbt-segconn status --discards` shows the reasons"


class ProgressWriter:
    """Saves the progress of one delivery.

    It saves only discards at or below the watermark: a resumed delivery finds the others again. `is_resumed`: an
    earlier run staged the outbox.
    """

    def __init__(self, sync: Sync, row: HistoryRow, delivery: Delivery | RangeDelivery, *, is_resumed: bool) -> None:
        self._sync = sync
        self._row = row
        self._delivery = delivery
        self._clock = sync.run.clock
        self._is_resumed = is_resumed
        self._discards: list[Discard] = []
        self._before = row.confirmed
        self._settled = 0
        self._save_at = self._clock() + SAVE_SECONDS

    @property
    def confirmed(self) -> int:
        """The number of calls of this sync that were confirmed so far, in this run or before."""
        return self._before + self._progress().confirmed

    def save_when_due(self) -> None:
        """Save, unless the last save is recent."""
        if self._clock() >= self._save_at:
            self.save(status="running")

    def save(self, **changes: Any) -> HistoryRow:
        """Write the next row of the sync, with the discards that it counts. Raise LockedError if the lock was lost."""
        began = self._clock()
        progress = self._progress()
        due = [discard for discard in self._discards if discard.change_number <= progress.watermark]
        row = self._next(progress, due, **changes)
        rows = self._rows_of(due, row)
        self._sync.save(row, lambda: self._sync.tables.discards.append(rows))
        # after the commit: the next save repeats what this one could not write
        self._discards = [discard for discard in self._discards if discard.change_number > progress.watermark]
        self._settled = progress.settled
        self._row = row
        self._save_at = self._clock() + max(SAVE_SECONDS, SAVE_SHARE * (self._clock() - began))
        return row

    def _next(self, progress: Progress, due: Sequence[Discard], **changes: Any) -> HistoryRow:
        row, confirmed = self._row, progress.settled - self._settled - len(due)
        return row.next(
            self._sync.run.now(),
            watermark=progress.watermark,
            # Segment has answered confirmed calls, and discarded ones that it refused
            sent=row.sent + confirmed + sum(discard.by_segment for discard in due),
            confirmed=row.confirmed + confirmed,
            resumed=row.resumed + (confirmed if self._is_resumed else 0),
            discarded=row.discarded + len(due),
            **changes,
        )

    def _progress(self) -> Progress:
        progress = self._delivery.progress()
        self._discards.extend(progress.discards)
        return progress

    def _rows_of(self, discards: Sequence[Discard], row: HistoryRow) -> list[DiscardRow]:
        changes = self._sync.tables.describe([discard.change_number for discard in discards])
        return [
            DiscardRow(
                sync_id=row.sync_id,
                mapping_id=row.mapping_id,
                mapping=row.mapping,
                definition=row.definition,
                **changes[discard.change_number]._asdict(),
                reason=discard.reason,
                discarded_at=row.saved_at,
                # Segment may have accepted the call when an earlier run sent it
                doubtful=int(discard.by_segment and (self._is_resumed or discard.is_repeated)),
            )
            for discard in discards
        ]


@dataclass(slots=True)
class _Assignment:
    """A range and its result. With `order_by`, `after` must be delivered first: it has earlier calls of its users."""

    changes: Range
    after: _Assignment | None = None
    result: RangeResult | None = None
    losses: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the whole range is delivered."""
        return self.result is not None and self.result.is_whole


@dataclass(slots=True)
class RangeDelivery:
    """Delivers an outbox through workers, with the methods of a Delivery.

    With `order_by`, each range of numbers is given to all workers as parts; each part has the calls of other users.
    """

    sync: Sync
    workers: Workers
    whole: Range
    _ranges: list[list[_Assignment]] = field(default_factory=list)
    _waiting: deque[_Assignment] = field(default_factory=deque)
    _running: dict[Future[RangeResult], _Assignment] = field(default_factory=dict)
    _unreported: list[Discard] = field(default_factory=list)
    _failure: str | None = None

    def __post_init__(self) -> None:
        whole, among = self.whole, self.workers.count
        is_ordered = self.sync.mapping.meta.order_by is not None
        parts = among if is_ordered else 1
        size = parts * _size(whole, self.sync.destination.config.events_per_second, among)
        before: list[_Assignment | None] = [None] * parts
        for low in range(whole.after, whole.upto, size):
            changes = replace(whole, after=low, upto=min(low + size, whole.upto), among=among, parts=parts)
            made = [_Assignment(replace(changes, part=part), before[part]) for part in range(parts)]
            self._ranges.append(made)
            before = [*made] if is_ordered else before
        self._waiting.extend(part for parts in self._ranges for part in parts)

    def run(self, report: Callable[[], None]) -> None:
        """Submit the ranges until all are delivered. Call `report` after each range, and every TICK_SECONDS."""
        while (self._waiting or self._running) and not self._is_stopped():
            # one range more than workers: the next one is ready when a worker ends its range
            while len(self._running) <= self.workers.count and (one := self._next()):
                self._running[self.workers.submit(one.changes)] = one
            self._wait(TICK_SECONDS)
            report()

    def finish(self) -> None:
        """Raise SyncError or Canceled if the delivery ended early."""
        if self._failure:
            raise SyncError(self._failure)
        if self.sync.run.stop.is_set():
            raise Canceled
        if not all(part.is_whole for parts in self._ranges for part in parts):  # the caller settles the outbox
            raise SyncError("a worker ended its changes early, without a reason. The next run delivers the rest")

    def close(self) -> None:
        """Submit no more ranges, and wait for those that are running."""
        self._waiting.clear()
        while self._running:
            if self.sync.run.stop.is_set():
                self.workers.stop()
            self._wait(TICK_SECONDS)

    def progress(self) -> Progress:
        """Return how far the delivery is. The watermark is the end of the last range before the first gap."""
        reported, self._unreported = tuple(self._unreported), []
        watermark, settled = self.whole.after, 0
        for parts in self._ranges:
            if all(part.is_whole for part in parts):
                watermark = parts[0].changes.upto
                settled += sum(part.result.progress.settled for part in parts if part.result)
                continue
            # parts have different watermarks, so only a range without parts counts before its end
            if len(parts) == 1 and (result := parts[0].result):
                watermark, settled = result.progress.watermark, settled + result.progress.settled
                if watermark == parts[0].changes.upto:  # interrupted after its last call was confirmed
                    continue
            break
        results = [part.result for parts in self._ranges for part in parts if part.result]
        return Progress(watermark, settled, sum(one.progress.confirmed for one in results), reported)

    def _next(self) -> _Assignment | None:
        """Return the next range that may be delivered now."""
        for part in self._waiting:
            if part.after is None or part.after.is_whole:
                self._waiting.remove(part)
                return part
        return None

    def _is_stopped(self) -> bool:
        return self._failure is not None or self.sync.run.stop.is_set()

    def _wait(self, seconds: float) -> None:
        """Wait up to this many seconds for ranges to end, and read their results."""
        done = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done
        if reason := self.workers.are_gone():
            self._failure = self._failure or reason
            self._running.clear()
            return
        for future in done:
            one = self._running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                self._accept(one, future.result())
            elif self.workers.is_lost(error):
                self._lose(one)
            elif reason := self.workers.are_gone():  # meanwhile
                self._failure = self._failure or reason
            else:
                raise error

    def _lose(self, one: _Assignment) -> None:
        """Submit a range again after its worker died. Its calls have the same messageIds."""
        one.losses += 1
        changes = one.changes
        if one.losses >= MOST_LOSSES:
            self._failure = (
                f"{one.losses} workers have died while they delivered the changes {changes.after + 1} to {changes.upto}"
            )
        elif not self._is_stopped():
            self.sync.note(f"a worker has died; another delivers its changes {changes.after + 1:,} to {changes.upto:,}")
            self._waiting.appendleft(one)

    def _accept(self, assignment: _Assignment, result: RangeResult) -> None:
        assignment.result = result
        # Segment may have accepted a call from a worker that died, before it refused the repeated one
        is_repeated = assignment.losses > 0 or self.workers.may_repeat
        for one in result.progress.discards:
            self._unreported.append(replace(one, is_repeated=one.is_repeated or (one.by_segment and is_repeated)))
        for note in result.notes:
            self.sync.note(note)
        for request in result.requests:
            self.sync.run.listener.request(self.sync.mapping, request)
        self.sync.timings.add(result.spent)
        self.sync.violations.add_all(result.violations)
        self._failure = self._failure or result.failure


def _size(whole: Range, events_per_second: float | None, workers: int) -> int:
    """Return the number of changes in a range: about four ranges for each worker, and a report every RANGE_SECONDS."""
    even = -(-(whole.upto - whole.after) // (4 * workers))
    timely = LARGEST_RANGE if events_per_second is None else int(events_per_second / workers * RANGE_SECONDS)
    return max(SMALLEST_RANGE, min(even, timely, LARGEST_RANGE))
