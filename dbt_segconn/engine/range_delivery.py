"""The delivery of an outbox by workers: this process submits ranges to them, and keeps one watermark for all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dbt_segconn.delivery import Canceled, Discard, Progress
from dbt_segconn.engine.ranges import Range, RangeResult, Workers
from dbt_segconn.engine.sync import Sync
from dbt_segconn.errors import SyncError

if TYPE_CHECKING:
    from typing_extensions import Self

# A worker reports a range only when it ends. With a rate limit, ranges are so small that each takes about this long
RANGE_SECONDS = 5
SMALLEST_RANGE, LARGEST_RANGE = 1_000, 100_000
# The delivery fails if this many workers have died while they delivered the same range: it may be the cause
MOST_LOSSES = 3
TICK_SECONDS = 0.5


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
    """Delivers an outbox through workers, with the methods of a Delivery. Use it as a context manager.

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, report: Callable[[], None]) -> None:
        """Submit the ranges until all are delivered. Call `report` after each range, and every TICK_SECONDS."""
        while (self._waiting or self._running) and not self._is_stopped():
            # one range more than workers: the next one is ready when a worker ends its range
            while len(self._running) <= self.workers.count and (one := self._next()):
                self._hand_out(one)
            self._wait(TICK_SECONDS)
            report()

    def finish(self) -> None:
        """Raise SyncError or Canceled if the delivery ended early."""
        if self._failure:
            raise SyncError(self._failure)
        if self.sync.run.stop.is_set():
            raise Canceled

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

    def _hand_out(self, one: _Assignment) -> None:
        self._running[self.workers.submit(one.changes)] = one

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
