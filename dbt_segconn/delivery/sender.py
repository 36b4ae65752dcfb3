"""The delivery of one sync: calls are batched, sent by a few threads until confirmed or rejected, and counted."""

from __future__ import annotations

import queue
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from dbt_segconn.delivery.answers import Confirmed
from dbt_segconn.delivery.batches import CHUNK, Batch, Batcher, Chunk
from dbt_segconn.delivery.destination import Destination
from dbt_segconn.delivery.tracking_api import Canceled, Request, Retrier, Stop, TrackingApiClient
from dbt_segconn.errors import DeliveryError
from dbt_segconn.limits import BATCH_CALLS
from dbt_segconn.process_tuning import Timings

if TYPE_CHECKING:
    from typing_extensions import Self

_LAST = attrgetter("last")
# Rejected calls in a row that mean a wrong destination, not wrong records
MAX_REJECTIONS = 20
# How often a waiting thread checks whether a stop or a failure ends the delivery
POLL_SECONDS = 0.1
# After a stop, requests in flight may take this long; after twice as long, their threads are abandoned
GRACE_SECONDS = 1.0

Order = Callable[[dict[str, Any]], Hashable]
"""Return the key of a call; calls with equal keys arrive in the order of their change numbers."""


@dataclass(frozen=True, slots=True)
class Discard:
    """A change that makes no call, with its reason. `by_segment`: Segment rejected its call.

    `is_repeated`: an earlier attempt had no answer, so Segment may have accepted that one.
    """

    change_number: int
    reason: str
    by_segment: bool = False
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a delivery.

    `settled` counts the changes up to the watermark, `confirmed` all confirmed calls, also those above it. `discards`
    has only those that were not reported before.
    """

    watermark: int
    settled: int
    confirmed: int
    discards: tuple[Discard, ...]


@dataclass(slots=True)
class _Interval:
    """`count` changes up to the number `last`, of which `waiting` are not done."""

    last: int
    count: int
    waiting: int


class Watermark:
    """The number up to which every change is done.

    Intervals of changes are opened in ascending order; the changes in them are done in any order. Not thread-safe.
    """

    def __init__(self, start: int) -> None:
        self.value = start
        self.settled = 0
        self._intervals: list[_Interval] = []

    def is_waiting(self) -> bool:
        """Return whether any change is not done."""
        return bool(self._intervals)

    def open(self, last: int, count: int) -> None:
        """Open an interval of `count` changes up to the number `last`."""
        self._intervals.append(_Interval(last, count, count))
        self._advance()

    def done_in(self, last: int, count: int) -> None:
        """Mark `count` changes of one open interval as done; `last` is any change number in it."""
        self._intervals[bisect_left(self._intervals, last, key=_LAST)].waiting -= count
        self._advance()

    def done(self, numbers: Sequence[int]) -> None:
        """Mark changes of open intervals as done; `numbers` ascend."""
        if not numbers:
            return
        at, done = bisect_left(self._intervals, numbers[0], key=_LAST), 0
        while done < len(numbers):
            interval = self._intervals[at]
            upto = bisect_right(numbers, interval.last, done)
            interval.waiting -= upto - done
            at, done = at + 1, upto
        self._advance()

    def _advance(self) -> None:
        """Move the watermark to the end of the intervals that are done without a gap."""
        passed = 0
        for interval in self._intervals:
            if interval.waiting:
                break
            self.value = interval.last
            self.settled += interval.count
            passed += 1
        del self._intervals[:passed]  # at once: removing the first item of a list moves all others


class Tracker:
    """The account of one delivery, written by all its threads.

    A discard is recorded before the watermark can pass its change, so each Progress has all discards up to it.
    """

    def __init__(self, start_after: int) -> None:
        self._watermark = Watermark(start_after)
        self._guard = threading.Lock()
        self._opened = start_after
        self._confirmed = 0
        self._unreported: list[Discard] = []
        self._without_call: list[int] = []  # discarded changes that belong to no interval yet
        self._invalid: list[int] = []  # discarded calls that belong to no interval yet
        self._late = 0  # discards in open intervals

    def discard(self, change_number: int, reason: str) -> None:
        """Record a change that makes no call."""
        self._discard(change_number, reason, self._without_call)

    def discard_call(self, change_number: int, reason: str) -> None:
        """Record a call that violates a limit; its change is part of the next interval, or of an open one."""
        self._discard(change_number, reason, self._invalid)

    def _discard(self, change_number: int, reason: str, waiting: list[int]) -> None:
        with self._guard:
            self._unreported.append(Discard(change_number, reason))
            if change_number <= self._opened:  # the warehouse has written the other calls of its interval
                self._late += 1
                self._watermark.done_in(change_number, 1)
            else:
                waiting.append(change_number)

    def open_written(self, last: int, count: int) -> None:
        """Open the interval of `count` changes up to the number `last`, of which some may be discarded later."""
        with self._guard:
            self._opened = last
            self._watermark.open(last, count)

    def open(self, numbers: Sequence[int]) -> int:
        """Open the interval of these calls and of the changes without a call up to the last of them.

        Without calls, the interval has all changes without a call. Return the number of discards in it. Calls of open
        intervals open none.
        """
        with self._guard:
            late, self._late = self._late, 0
            last = numbers[-1] if numbers else max(self._without_call, default=0)
            if last <= self._opened:
                return late
            without_call = [number for number in self._without_call if number <= last]
            self._without_call[:] = [number for number in self._without_call if number > last]
            invalid = [*self._invalid]
            self._invalid.clear()
            if numbers or without_call:
                self._opened = last
                self._watermark.open(last, len(numbers) + len(without_call))
                self._watermark.done(sorted(without_call + invalid))
        return late + len(without_call) + len(invalid)

    def confirm(self, calls: int) -> None:
        """Count confirmed calls."""
        with self._guard:
            self._confirmed += calls

    def reject(self, discard: Discard) -> None:
        """Record a call that Segment rejected."""
        with self._guard:
            self._unreported.append(discard)

    def done(self, chunks: Iterable[Chunk]) -> None:
        """Mark the changes of these calls as confirmed or rejected."""
        with self._guard:
            for chunk in chunks:
                if chunk.numbers is None:
                    self._watermark.done_in(chunk.last, chunk.count)
                else:
                    self._watermark.done(chunk.numbers)

    def is_waiting(self) -> bool:
        """Return whether any change of an open interval is not done."""
        return self._watermark.is_waiting()

    def report(self) -> Progress:
        """Return the progress, with the discards since the last report."""
        with self._guard:
            discards, self._unreported = tuple(self._unreported), []
            return Progress(self._watermark.value, self._watermark.settled, self._confirmed, discards)


@dataclass(slots=True)
class _Lane:
    """A queue of batches, sent by `width` threads; each thread has one request in flight."""

    batcher: Batcher
    width: int
    queue: queue.Queue[Batch | None]
    threads: list[threading.Thread] = field(default_factory=list)


class Delivery:
    """Deliver calls with many requests in flight; a context manager.

    With `order`, calls with equal keys share a lane of one thread and arrive in the order of their change numbers.
    Without it, batches arrive in any order. `send` and `finish` raise DeliveryError if the destination is unreachable
    or unusable, and Canceled once `stop` is set. All threads end with the block, except those with a request that a
    stop has to abandon; the next run sends it again.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        start_after: int,
        stop: Stop,
        order: Order | None = None,
        notify: Callable[[str], None] = lambda _: None,
        timings: Timings | None = None,
        observe: Callable[[Request], None] | None = None,
    ) -> None:
        self.timings = timings or Timings()
        self._destination = destination
        self._stop = stop
        self._order = order
        self._notify = notify
        self._observe = observe
        self._tracker = Tracker(start_after)
        # two requests in flight may arrive in any order, so a lane with `order` has one
        lanes, width = (destination.config.concurrency, 1) if order else (1, destination.config.concurrency)
        # queues are bounded: memory does not grow with the model
        self._lanes = [_Lane(Batcher(self._tracker.discard_call), width, queue.Queue(width)) for _ in range(lanes)]
        self._discarded = 0  # since the last flush
        self._failure: BaseException | None = None
        self._ended = threading.Event()  # start no further batch
        self._clients: list[TrackingApiClient] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Start no further batch, and wait for the batches in flight."""
        self._ended.set()
        self._join()

    def send(self, numbers: Sequence[int], calls: Sequence[dict[str, Any]]) -> None:
        """Send calls with ascending change numbers; wait while the queue is full."""
        self._check()
        full: list[tuple[_Lane, Batch]] = []
        step = CHUNK * len(self._lanes)
        with self.timings.measure("serialise"):
            for at in range(0, len(numbers), step):
                some = slice(at, at + step)
                for lane, lane_numbers, lane_calls in self._distribute(numbers[some], calls[some]):
                    batches = lane.batcher.add(lane_numbers, lane_calls)
                    full += [(lane, batch) for batch in batches]
                self._discarded += self._tracker.open(numbers[some])
            self._discarded += self._tracker.open(())
            if self._discarded >= BATCH_CALLS:  # if most changes are discarded, batches never fill
                full += self._flush()
        for lane, batch in full:
            self._enqueue(lane, batch)

    def send_written(self, last: int, changes: int, calls: int, text: bytes) -> None:
        """Send calls that the warehouse has written: those of a group of `changes` up to the number `last`.

        The other changes of the group follow by `send` and `discard`. Not for deliveries with `order`.
        """
        self._check()
        with self.timings.measure("serialise"):
            self._tracker.open_written(last, changes)
            (lane,) = self._lanes
            full = [*lane.batcher.add_chunk(Chunk(text, calls, last))] if calls else []
        for batch in full:
            self._enqueue(lane, batch)

    def discard(self, change_number: int, reason: str) -> None:
        """Record a change that makes no call."""
        self._tracker.discard(change_number, reason)

    def progress(self) -> Progress:
        """Return the progress, with the discards since the last call of this method."""
        return self._tracker.report()

    def finish(self) -> None:
        """Send the open batches, and wait until all calls are confirmed or rejected."""
        self._discarded += self._tracker.open(())
        for lane, batch in self._flush():
            self._enqueue(lane, batch)
        self._join()
        self._check()
        if self._tracker.is_waiting():  # the caller settles the outbox after this method
            raise DeliveryError(f"{self._destination.config}: a batch ended without an answer")

    def _flush(self) -> list[tuple[_Lane, Batch]]:
        """Return the open batches of all lanes."""
        self._discarded = 0
        return [(lane, batch) for lane in self._lanes for batch in lane.batcher.flush()]

    def _check(self) -> None:
        if self._failure:
            raise self._failure
        if self._stop.is_set():
            raise Canceled

    def _distribute(
        self, numbers: Sequence[int], calls: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[_Lane, Sequence[int], Sequence[dict[str, Any]]]]:
        """Yield the calls of each lane; calls with equal keys are in the same lane."""
        if self._order is None:
            yield self._lanes[0], numbers, calls
            return
        shares: list[tuple[list[int], list[dict[str, Any]]]] = [([], []) for _ in self._lanes]
        for number, call in zip(numbers, calls, strict=True):
            # hashes of texts differ between processes, but a key needs the same lane only within one delivery
            lane_numbers, lane_calls = shares[hash(self._order(call)) % len(shares)]
            lane_numbers.append(number)
            lane_calls.append(call)
        for lane, share in zip(self._lanes, shares, strict=True):
            yield lane, *share

    def _enqueue(self, lane: _Lane, batch: Batch) -> None:
        if len(lane.threads) < lane.width:
            thread = threading.Thread(target=self._work, args=[lane], name="segconn-sender", daemon=True)
            thread.start()
            lane.threads.append(thread)
        while True:
            self._check()
            try:
                return lane.queue.put(batch, timeout=POLL_SECONDS)
            except queue.Full:
                continue

    def _join(self) -> None:
        """Wait for all threads to end: once their queues are empty, or soon after a stop."""
        unending = [lane for lane in self._lanes for _ in lane.threads]  # threads without a None in their queue
        stopped_at: float | None = None
        while threads := [thread for lane in self._lanes for thread in lane.threads if thread.is_alive()]:
            if unending:
                with suppress(queue.Full):
                    unending[-1].queue.put(None, timeout=POLL_SECONDS)
                    unending.pop()
            else:
                threads[0].join(POLL_SECONDS)
            if self._stop.is_set():
                stopped_at = stopped_at or time.monotonic()
                if self._give_up(time.monotonic() - stopped_at):
                    break
        for lane in self._lanes:
            lane.threads = []

    def _give_up(self, waited: float) -> bool:
        """Abort the requests in flight after the grace period; return whether to abandon their threads."""
        if waited > GRACE_SECONDS:
            for client in self._clients:
                client.abort()
        return waited > 2 * GRACE_SECONDS

    def _work(self, lane: _Lane) -> None:
        """Send the batches of a lane, one after the other, until its queue ends."""
        try:
            with closing(self._connect()) as client:
                self._clients.append(client)
                retrier = Retrier(client, self._destination, self._stop, self._notify)
                while (batch := lane.queue.get()) is not None:
                    if not (self._ended.is_set() or self._stop.is_set() or self._failure):
                        self._deliver(retrier, batch)
                        self._tracker.done(batch.chunks)
        except Canceled:
            self._ended.set()
        except BaseException as error:  # noqa: BLE001  send() and finish() raise it
            self._failure = self._failure or error
            self._ended.set()

    def _connect(self) -> TrackingApiClient:
        with suppress(ValueError):  # its text and traceback may contain the write key
            return TrackingApiClient(self._destination.config, self._destination.tokens, self._observe)
        self._destination.fail("`endpoint`, `write_key` or the proxy of the environment is not valid")
        self._destination.check()
        raise AssertionError("an unusable destination does not pass its check")

    def _deliver(self, retrier: Retrier, batch: Batch) -> None:
        """Send a batch; if it is rejected, split it until each rejected call is alone."""
        with self.timings.measure("post"):
            answer = retrier.send(batch)
        if isinstance(answer, Confirmed):
            self._destination.confirmed()
            self._tracker.confirm(len(batch))
        elif len(batch) == 1:
            self._reject(batch, answer.reason)
        else:
            for half in batch.split():
                self._deliver(retrier, half)

    def _reject(self, batch: Batch, reason: str) -> None:
        if self._destination.rejected() >= MAX_REJECTIONS:
            self._destination.fail(f"{MAX_REJECTIONS} calls in a row were rejected, the last one with: {reason}")
            self._destination.check()
        self._tracker.reject(Discard(next(batch.calls()).last, reason, by_segment=True, is_repeated=batch.is_repeated))
