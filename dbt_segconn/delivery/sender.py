"""The delivery of one sync: batches go out through a few threads, each until it is confirmed or refused."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbt_segconn.delivery.answers import Confirmed
from dbt_segconn.delivery.attempts import Attempts, Canceled, Stop
from dbt_segconn.delivery.batches import Batch, Batcher
from dbt_segconn.delivery.client import TrackingApi
from dbt_segconn.delivery.destination import Destination
from dbt_segconn.delivery.watermark import Watermark, _Stretch
from dbt_segconn.errors import DeliveryError
from dbt_segconn.limits import BATCH_EVENTS
from dbt_segconn.timings import Timings

if TYPE_CHECKING:
    from typing_extensions import Self

# So many calls refused one after the other speak against the destination, not against the records
LONE_REFUSALS = 20
POLL_SECONDS = 0.1


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


class Delivery:
    """Delivers calls in the order of their change numbers; use it as a context manager.

    At most one change of a record is in a sync, so batches may be in flight side by side. Raises
    DeliveryError from `send` and `finish` once the API cannot be reached or refuses the destination,
    and Canceled once `stop` is set. No thread outlives the block.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        start_after: int,
        stop: Stop,
        notify: Callable[[str], None] = lambda _: None,
        timings: Timings | None = None,
    ) -> None:
        self.timings = timings or Timings()
        self._destination = destination
        self._stop = stop
        self._notify = notify
        self._watermark = Watermark(start_after)
        self._batcher = Batcher(self.refuse)
        self._queue: queue.Queue[tuple[Batch, _Stretch] | None] = queue.Queue(destination.target.concurrency)
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()
        self._confirmed = 0
        self._untold: list[Refusal] = []
        self._refused: list[int] = []  # refused numbers that belong to no stretch yet
        self._last = start_after
        self._failure: BaseException | None = None
        self._ended = threading.Event()  # no further batch is to be started

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
        """Take calls with ascending change numbers; waits while all senders are busy.

        `are_checked`: the calls are known to keep Segment's limits, but for their size.
        """
        self._check()
        with self.timings.measure("serialise"):
            full = list(self._batcher.add(numbers, calls, are_checked=are_checked))
        for batch in full:
            self._start(batch)
        if len(self._refused) >= BATCH_EVENTS:  # where hardly any call is good, no batch ever fills
            for batch in self._batcher.flush():
                self._start(batch)
            self._pass_refused()

    def refuse(self, change_number: int, reason: str) -> None:
        """Take note of a change that its caller could not make a call of."""
        with self._guard:
            self._refused.append(change_number)
            self._untold.append(Refusal(change_number, reason))
            self._last = max(self._last, change_number)

    def progress(self) -> Progress:
        """Say how far it has come."""
        with self._guard:
            told, self._untold = tuple(self._untold), []
            watermark, settled = self._watermark.read()
            return Progress(watermark, settled, self._confirmed, told)

    def finish(self) -> None:
        """Send what is left, and wait until all of it is confirmed or refused."""
        for batch in self._batcher.flush():
            self._start(batch)
        self._join()
        self._check()
        if self._watermark.is_waiting():  # the caller settles on our word alone, so it is not given lightly
            raise DeliveryError(f"destination {self._destination.target.name}: a batch has ended without an answer")
        self._pass_refused()

    def _check(self) -> None:
        if self._failure:
            raise self._failure
        if self._stop.is_set():
            raise Canceled

    def _start(self, batch: Batch) -> None:
        stretch = self._stretch(batch.numbers[-1], len(batch))
        if len(self._threads) < self._destination.target.concurrency:
            thread = threading.Thread(target=self._work, name="segconn-sender", daemon=True)
            thread.start()
            self._threads.append(thread)
        while True:
            self._check()
            try:
                return self._queue.put((batch, stretch), timeout=POLL_SECONDS)
            except queue.Full:
                continue

    def _stretch(self, last: int, count: int) -> _Stretch:
        """Open the stretch up to `last`, with the refused ones that lie in it."""
        with self._guard:
            within = sum(number <= last for number in self._refused)
            self._refused = [number for number in self._refused if number > last]
            self._last = max(self._last, last)
        return self._watermark.open(last, count + within)

    def _pass_refused(self) -> None:
        """Let the watermark over the refused changes that follow the last batch."""
        self._watermark.done(self._stretch(self._last, 0))

    def _join(self) -> None:
        """Let every thread come to its end: after the batches it has, or at once where it should stop."""
        for _ in self._threads:
            while True:
                try:
                    self._queue.put(None, timeout=POLL_SECONDS)
                    break
                except queue.Full:
                    if not any(thread.is_alive() for thread in self._threads):
                        break
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _work(self) -> None:
        """Send one batch after the other, until there are no more."""
        try:
            with closing(self._connect()) as api:
                attempts = Attempts(api, self._destination, self._stop, self._notify)
                while (item := self._queue.get()) is not None:
                    if not self._idle():
                        self._deliver(attempts, item[0])
                        self._watermark.done(item[1])
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
