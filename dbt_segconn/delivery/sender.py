"""The delivery of one sync: batches go out through a few threads, each until it is confirmed or refused."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dbt_segconn.delivery.answers import Confirmed
from dbt_segconn.delivery.attempts import Attempts, Canceled, Stop
from dbt_segconn.delivery.batches import GROUP, Batch, Batcher
from dbt_segconn.delivery.client import TrackingApi
from dbt_segconn.delivery.destination import Destination
from dbt_segconn.delivery.watermark import Watermark
from dbt_segconn.errors import DeliveryError
from dbt_segconn.limits import BATCH_EVENTS
from dbt_segconn.timings import Timings

if TYPE_CHECKING:
    from typing_extensions import Self

# So many calls refused one after the other speak against the destination, not against the records
LONE_REFUSALS = 20
POLL_SECONDS = 0.1
# Requests in flight have so long to end once a stop is asked for; after a second such time, their threads are left
GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change whose call Segment (`by_segment`), or a rule of Segment's, does not take.

    `is_repeated`: an earlier attempt had no answer, so Segment may have taken that one.
    """

    change_number: int
    reason: str
    by_segment: bool = False
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a delivery has come.

    `settled` counts the changes at or below the watermark, `confirmed` the calls taken anywhere;
    `refusals` are those that were not told before.
    """

    watermark: int
    settled: int
    confirmed: int
    refusals: tuple[Refusal, ...]


Order = Callable[[dict[str, Any]], Hashable]
"""Returns what a call is about; calls about the same arrive in the order of their change numbers."""


@dataclass(slots=True)
class _Lane:
    """The batches of some calls, sent by `width` threads; one thread sends one request after the other."""

    batcher: Batcher
    width: int
    queue: queue.Queue[Batch | None]
    threads: list[threading.Thread] = field(default_factory=list)


class Delivery:
    """Delivers calls, many requests at once; use it as a context manager.

    With `order`, calls about the same user (or group) leave in the order of their change numbers, one request
    after the other; without it, batches leave in any order. Raises DeliveryError from `send` and `finish` once
    the API cannot be reached or refuses the destination, and Canceled once `stop` is set. No thread outlives
    the block, unless a stop finds one without an answer: its request is ended, and sent again by the next run.
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
    ) -> None:
        self.timings = timings or Timings()
        self._destination = destination
        self._stop = stop
        self._order = order
        self._notify = notify
        self._watermark = Watermark(start_after)
        lanes, width = (destination.target.concurrency, 1) if order else (1, destination.target.concurrency)
        self._lanes = [_Lane(Batcher(self._drop), width, queue.Queue(width)) for _ in range(lanes)]
        self._guard = threading.Lock()
        self._confirmed = 0
        self._untold: list[Refusal] = []
        self._refused: list[int] = []  # changes without a call that belong to no stretch yet
        self._dropped: list[int] = []  # calls beyond a limit that belong to no stretch yet
        self._passed = 0  # changes without a call since the last flush
        self._failure: BaseException | None = None
        self._ended = threading.Event()  # no further batch is to be started
        self._apis: list[TrackingApi] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Start nothing more, and wait for what is in flight."""
        self._ended.set()
        self._join()

    def send(
        self,
        numbers: Sequence[int],
        calls: Sequence[dict[str, Any]],
        *,
        are_checked: bool = False,
    ) -> None:
        """Send calls with ascending change numbers; waits while all senders are busy.

        `are_checked`: the calls are known to keep Segment's limits, but for their size.
        """
        self._check()
        full: list[tuple[_Lane, Batch]] = []
        step = GROUP * len(self._lanes)
        with self.timings.measure("serialise"):
            for at in range(0, len(numbers), step):
                part = slice(at, at + step)
                for lane, some, theirs in self._spread(numbers[part], calls[part]):
                    full += [(lane, batch) for batch in lane.batcher.add(some, theirs, are_checked=are_checked)]
                self._open_stretch(numbers[part])
            self._open_stretch(())
            if self._passed >= BATCH_EVENTS:  # where hardly any call is good, no batch ever fills
                full += self._flush()
        for lane, batch in full:
            self._start(lane, batch)

    def refuse(self, change_number: int, reason: str) -> None:
        """Note a change that makes no call."""
        with self._guard:
            self._refused.append(change_number)
            self._untold.append(Refusal(change_number, reason))

    def progress(self) -> Progress:
        """Return how far the delivery has come."""
        with self._guard:
            told, self._untold = tuple(self._untold), []
            watermark, settled = self._watermark.read()
            return Progress(watermark, settled, self._confirmed, told)

    def finish(self) -> None:
        """Send what is left, and wait until all of it is confirmed or refused."""
        self._open_stretch(())
        for lane, batch in self._flush():
            self._start(lane, batch)
        self._join()
        self._check()
        if self._watermark.is_waiting():  # the caller settles on this word alone
            raise DeliveryError(f"destination {self._destination.target.name}: a batch has ended without an answer")

    def _flush(self) -> list[tuple[_Lane, Batch]]:
        """Return the open batches, to be sent as they are."""
        self._passed = 0
        return [(lane, batch) for lane in self._lanes for batch in lane.batcher.flush()]

    def _check(self) -> None:
        if self._failure:
            raise self._failure
        if self._stop.is_set():
            raise Canceled

    def _drop(self, change_number: int, reason: str) -> None:
        """Note a call that breaks a limit of Segment's."""
        with self._guard:
            self._dropped.append(change_number)
            self._untold.append(Refusal(change_number, reason))

    def _spread(
        self, numbers: Sequence[int], calls: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[_Lane, Sequence[int], Sequence[dict[str, Any]]]]:
        """Yield the calls of each lane: all calls about the same user go through one lane."""
        if self._order is None:
            yield self._lanes[0], numbers, calls
            return
        parts: list[tuple[list[int], list[dict[str, Any]]]] = [([], []) for _ in self._lanes]
        for number, call in zip(numbers, calls, strict=True):
            theirs = parts[hash(self._order(call)) % len(parts)]
            theirs[0].append(number)
            theirs[1].append(call)
        for lane, (some, theirs_calls) in zip(self._lanes, parts, strict=True):
            yield lane, some, theirs_calls

    def _open_stretch(self, numbers: Sequence[int]) -> None:
        """Open the stretch of these calls, with the changes among them that made none; without calls, of all those."""
        with self._guard:
            last = numbers[-1] if numbers else max(self._refused, default=0)
            within = [number for number in self._refused if number <= last]
            self._refused = [number for number in self._refused if number > last]
            dropped, self._dropped = self._dropped, []
        if numbers or within:
            self._passed += len(within) + len(dropped)
            self._watermark.open(last, len(numbers) + len(within))
            self._watermark.done(sorted(within + dropped))

    def _start(self, lane: _Lane, batch: Batch) -> None:
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
        """Wait for every thread to end: after the batches it has, or soon where it should stop."""
        unasked = [lane for lane in self._lanes for _ in lane.threads]
        stopped_at: float | None = None
        while threads := [thread for lane in self._lanes for thread in lane.threads if thread.is_alive()]:
            if unasked:
                with suppress(queue.Full):
                    unasked[-1].queue.put(None, timeout=POLL_SECONDS)
                    unasked.pop()
            else:
                threads[0].join(POLL_SECONDS)
            if self._stop.is_set():
                stopped_at = stopped_at or time.monotonic()
                if self._give_up(time.monotonic() - stopped_at):
                    break
        for lane in self._lanes:
            lane.threads = []

    def _give_up(self, waited: float) -> bool:
        """End the requests that a stop has waited for long enough; return whether not to wait for their threads."""
        if waited > GRACE_SECONDS:
            for api in self._apis:
                api.abort()
        return waited > 2 * GRACE_SECONDS

    def _work(self, lane: _Lane) -> None:
        """Send one batch of a lane after the other, until there are no more."""
        try:
            with closing(self._connect()) as api:
                self._apis.append(api)
                attempts = Attempts(api, self._destination, self._stop, self._notify)
                while (batch := lane.queue.get()) is not None:
                    if not self._idle():
                        self._deliver(attempts, batch)
                        self._watermark.done(batch.numbers)
        except Canceled:
            self._ended.set()
        except BaseException as error:  # noqa: BLE001  it surfaces in send() or finish()
            self._failure = self._failure or error
            self._ended.set()

    def _connect(self) -> TrackingApi:
        with suppress(ValueError):  # whose text and traceback may hold the write key
            return TrackingApi(self._destination.target, self._destination.tokens)
        self._destination.lose("its endpoint, its write key or the proxy of the environment is not valid")
        self._destination.check()
        raise AssertionError("a lost destination does not pass its check")

    def _idle(self) -> bool:
        """Say whether no further batch is to be started."""
        return self._ended.is_set() or self._stop.is_set() or self._failure is not None

    def _deliver(self, attempts: Attempts, batch: Batch) -> None:
        """Send a batch until it is confirmed, or split down to what is refused."""
        with self.timings.measure("post"):
            answer = attempts.until_known(batch)
        if isinstance(answer, Confirmed):
            self._destination.confirmed()
            with self._guard:
                self._confirmed += len(batch)
        elif len(batch) == 1:
            self._refuse_alone(batch, answer.reason)
        else:
            for half in batch.halves():
                self._deliver(attempts, half)

    def _refuse_alone(self, batch: Batch, reason: str) -> None:
        if self._destination.refused_alone() >= LONE_REFUSALS:
            self._destination.lose(f"it refused {LONE_REFUSALS} calls one after the other, the last with: {reason}")
            self._destination.check()
        refusal = Refusal(batch.numbers[0], reason, by_segment=True, is_repeated=batch.is_repeated)
        with self._guard:
            self._untold.append(refusal)
