"""The delivery of an outbox by workers: one watermark, whoever delivers which share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dbt_segconn.delivery import Canceled, Discard, Progress
from dbt_segconn.engine.ranges import Range, RangeResult, Workers
from dbt_segconn.engine.work import Sync
from dbt_segconn.errors import SyncError

if TYPE_CHECKING:
    from typing_extensions import Self

# A worker tells of its share when it is done with it: about every so many seconds, where the rate is limited
SHARE_SECONDS = 5
SMALLEST_SHARE, LARGEST_SHARE = 1_000, 100_000
# A share that takes so many workers with it is not given to another
MOST_LOSSES = 3
TICK_SECONDS = 0.5


@dataclass(slots=True)
class _Assignment:
    """A share on its way; `after` must be delivered before it, where calls about its users are ordered."""

    share: Range
    after: _Assignment | None = None
    outcome: RangeResult | None = None
    losses: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of the share is delivered."""
        return self.outcome is not None and self.outcome.is_whole


@dataclass(slots=True)
class RangeDelivery:
    """Delivers an outbox through workers; to its ledger it looks like a Delivery. Use it as a context manager."""

    work: Sync
    workers: Workers
    whole: Range
    _ranges: list[list[_Assignment]] = field(default_factory=list)
    _waiting: deque[_Assignment] = field(default_factory=deque)
    _running: dict[Future[RangeResult], _Assignment] = field(default_factory=dict)
    _unreported: list[Discard] = field(default_factory=list)
    _failure: str | None = None

    def __post_init__(self) -> None:
        whole, among = self.whole, self.workers.count
        is_ordered = self.work.mapping.meta.order_by is not None
        parts = among if is_ordered else 1
        size = parts * _size(whole, self.work.destination.config.events_per_second, among)
        before: list[_Assignment | None] = [None] * parts
        for low in range(whole.after, whole.upto, size):
            share = replace(whole, after=low, upto=min(low + size, whole.upto), among=among, parts=parts)
            made = [_Assignment(replace(share, part=part), before[part]) for part in range(parts)]
            self._ranges.append(made)
            before = [*made] if is_ordered else before
        self._waiting.extend(part for parts in self._ranges for part in parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> Iterator[None]:
        """Hand out one share after the other; yields whenever there may be news."""
        while (self._waiting or self._running) and not self._is_over():
            while len(self._running) <= self.workers.count and (part := self._next()):
                self._hand_out(part)
            self._hear(TICK_SECONDS)
            yield

    def finish(self) -> None:
        """Raise what has ended the delivery early."""
        if self._failure:
            raise SyncError(self._failure)
        if self.work.job.stop.is_set():
            raise Canceled

    def close(self) -> None:
        """Start nothing more, and wait for what is in flight."""
        self._waiting.clear()
        while self._running:
            if self.work.job.stop.is_set():
                self.workers.stop()
            self._hear(TICK_SECONDS)

    def progress(self) -> Progress:
        """Say how far it has come."""
        discards, self._unreported = tuple(self._unreported), []
        watermark, settled = self.whole.after, 0
        for parts in self._ranges:
            if all(part.is_whole for part in parts):
                watermark = parts[0].share.upto
                settled += sum(part.outcome.progress.settled for part in parts if part.outcome)
                continue
            if len(parts) == 1 and (outcome := parts[0].outcome):
                watermark, settled = outcome.progress.watermark, settled + outcome.progress.settled
                if watermark == parts[0].share.upto:  # interrupted when all was done
                    continue
            break
        outcomes = [part.outcome for parts in self._ranges for part in parts if part.outcome]
        return Progress(watermark, settled, sum(one.progress.confirmed for one in outcomes), discards)

    def _next(self) -> _Assignment | None:
        """Return the next share that may be delivered now."""
        for part in self._waiting:
            if part.after is None or part.after.is_whole:
                self._waiting.remove(part)
                return part
        return None

    def _is_over(self) -> bool:
        return self._failure is not None or self.work.job.stop.is_set()

    def _hand_out(self, part: _Assignment) -> None:
        self._running[self.workers.submit(part.share)] = part

    def _hear(self, seconds: float) -> None:
        """Wait so long for the next share to end, and take down how it did."""
        done = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done
        if reason := self.workers.are_gone():
            self._failure = self._failure or reason
            self._running.clear()
            return
        for future in done:
            part = self._running.pop(future)
            error = future.exception()
            if error is None:
                self._take_down(part, future.result())
            elif self.workers.is_lost(error):
                self._lose(part)
            else:
                raise error

    def _lose(self, part: _Assignment) -> None:
        """Give a share whose worker has died to another, which sends the same calls under the same messageIds."""
        part.losses += 1
        share = part.share
        if part.losses >= MOST_LOSSES:
            self._failure = f"a worker has died {part.losses} times over the changes {share.after + 1} to {share.upto}"
        elif not self._is_over():
            self.work.note(f"a worker has died; another delivers its changes {share.after + 1:,} to {share.upto:,}")
            self._waiting.appendleft(part)

    def _take_down(self, part: _Assignment, outcome: RangeResult) -> None:
        part.outcome = outcome
        is_repeated = part.losses > 0 or self.workers.may_repeat
        for one in outcome.progress.discards:
            self._unreported.append(replace(one, is_repeated=one.is_repeated or (one.by_segment and is_repeated)))
        for note in outcome.notes:
            self.work.note(note)
        self.work.timings.add(outcome.spent)
        self._failure = self._failure or outcome.failure


def _size(whole: Range, events_per_second: float | None, workers: int) -> int:
    """Make shares small enough that all workers have some, and that none is long silent."""
    even = -(-(whole.upto - whole.after) // (4 * workers))
    timely = LARGEST_SHARE if events_per_second is None else int(events_per_second / workers * SHARE_SECONDS)
    return max(SMALLEST_SHARE, min(even, timely, LARGEST_SHARE))
