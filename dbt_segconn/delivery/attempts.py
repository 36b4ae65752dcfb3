"""One batch, as often as it takes: until Segment confirms or refuses it, or patience ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol

from dbt_segconn.delivery.answers import Confirmed, Lost, Refused, Throttled, Unknown
from dbt_segconn.delivery.batches import Batch
from dbt_segconn.delivery.client import TrackingApi
from dbt_segconn.delivery.destination import Destination
from dbt_segconn.errors import DeliveryError

MAX_ATTEMPTS = 10
# Where nobody has ever answered, the address is more likely wrong than busy
FIRST_ATTEMPTS = 5
BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 60.0
# So long after its first 429 a batch is still tried; then the sync gives up until the next run
PATIENCE_SECONDS = 900.0
# So soon a sleeping sender sees that its destination is lost
WAKE_SECONDS = 0.1


class Stop(Protocol):
    """Says whether it is time to stop: an event of this process's threads, or one that several processes share."""

    def is_set(self) -> bool:
        """Say whether it was set."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds for it; returns whether it was set."""


class Canceled(Exception):  # noqa: N818  not an error: the user asked for it
    """Delivery has stopped because it was asked to; what was in flight is done."""


class Attempts:
    """The attempts of one sender. Raises DeliveryError out of patience, and Canceled once `stop` is set."""

    def __init__(self, api: TrackingApi, destination: Destination, stop: Stop, notify: Callable[[str], None]) -> None:
        self._api = api
        self._destination = destination
        self._stop = stop
        self._notify = notify

    def until_known(self, batch: Batch) -> Confirmed | Refused:
        """Send the same bytes, with a fresh `sentAt`, until the answer says what became of them."""
        errors, throttles, give_up_at = 0, 0, math.inf
        while True:
            self._take_turn(len(batch))
            answer = self._api.post(batch.body(datetime.now(timezone.utc)))
            if isinstance(answer, (Confirmed, Refused)):
                return answer
            if isinstance(answer, Lost):
                self._destination.lose(answer.reason)
            elif isinstance(answer, Throttled):
                throttles += 1
                give_up_at = min(give_up_at, self._destination.clock() + PATIENCE_SECONDS)
                self._throttle(answer, throttles, give_up_at)
            else:
                errors += 1
                batch.is_repeated = True
                if self._stop.is_set():
                    raise Canceled
                self._back_off(answer, errors)

    def _take_turn(self, events: int) -> None:
        """Wait for the rate; a pause that began meanwhile holds for those who already had their moment."""
        limiter = self._destination.limiter
        self._wait(limiter.reserve(events))
        while limiter.is_paused():
            self._wait(limiter.reserve(events))

    def _throttle(self, answer: Throttled, throttles: int, give_up_at: float) -> None:
        """Hold all senders back, longer each time: an API that says "now" to everyone is not believed."""
        seconds = max(answer.seconds or 0.0, self._backoff(throttles))
        if self._destination.clock() + seconds > give_up_at:
            raise DeliveryError(
                self._gave_up(
                    f"it asks for a pause of {seconds:.0f} seconds (HTTP status 429), and a batch waits for "
                    f"{PATIENCE_SECONDS / 60:.0f} minutes at most"
                )
            )
        self._destination.limiter.throttle(seconds)
        if seconds >= 1:
            self._notify(f"Segment asks for a pause of {seconds:.0f} s (HTTP status 429)")

    def _back_off(self, answer: Unknown, errors: int) -> None:
        answered = self._destination.answered.is_set()
        limit = MAX_ATTEMPTS if answer.reached or answered else FIRST_ATTEMPTS
        if errors >= limit:
            if not answered:
                self._destination.lose(f"{answer.reason}, {errors} times")  # no other sync need try
                self._destination.check()
            raise DeliveryError(self._gave_up(f"{answer.reason}, {errors} times"))
        seconds = self._backoff(errors)
        self._notify(f"{answer.reason}; trying again in {seconds:.1f} s ({errors + 1} of {limit})")
        self._wait(seconds)

    def _backoff(self, attempts: int) -> float:
        """Exponential, with full jitter."""
        return self._destination.jitter(0, min(LONGEST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**attempts))

    def _wait(self, seconds: float) -> None:
        """Sleep; a stop ends it, and so does the loss of the destination, by whichever sync."""
        until = self._destination.clock() + seconds
        while True:
            self._destination.check()
            left = max(0.0, until - self._destination.clock())
            if self._stop.wait(min(left, WAKE_SECONDS)):
                raise Canceled
            if left <= WAKE_SECONDS:
                return

    def _gave_up(self, why: str) -> str:
        target = self._destination.target
        return (
            f"destination {target.name} ({target.endpoint}): {why}. What is not delivered stays in the outbox; "
            "the next run goes on from there"
        )
