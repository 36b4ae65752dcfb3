"""One batch to Segment's Tracking API: send it, classify the answer, retry until it is confirmed or rejected."""

from __future__ import annotations

import base64
import gzip
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from dbt_segconn.delivery.answers import (
    Answer,
    Confirmed,
    Rejected,
    Throttled,
    Unauthorized,
    Unknown,
    Unusable,
    classify,
    classify_error,
)
from dbt_segconn.delivery.batches import Batch
from dbt_segconn.delivery.connection import Connection, NoResponseError
from dbt_segconn.delivery.destination import Destination, DestinationConfig, Token, Tokens
from dbt_segconn.errors import DeliveryError

MAX_ATTEMPTS = 10
# If the endpoint has never answered, the address is more likely wrong than the server busy
FIRST_ATTEMPTS = 5
BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 60.0
# A throttled batch is retried for this long after its first 429
PATIENCE_SECONDS = 900.0
# How often a waiting sender checks whether its destination is still usable
WAKE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Request:
    """A request with a batch, without its content.

    `started_at` is in seconds since 1970. `attempt` counts from 1. `status` is the HTTP status; without a response,
    `error` is the class of the exception, or `timeout`.
    """

    started_at: float
    seconds: float
    calls: int
    attempt: int
    status: int | None
    error: str | None


class Stop(Protocol):
    """A request to stop: a threading.Event, or an event that several processes share."""

    def is_set(self) -> bool:
        """Return whether to stop."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds; return whether to stop."""


class Canceled(Exception):  # noqa: N818  not an error: the user asked for it
    """The delivery was stopped on request; batches in flight are done."""


class TrackingApiClient:
    """A connection of one thread to the endpoint /v1/batch of a destination.

    With `tokens`, the header has an access token and the body the write key, as in Segment's SDKs. `observe` receives
    each request after its end. Raise ValueError for an invalid endpoint or write key.
    """

    def __init__(
        self,
        config: DestinationConfig,
        tokens: Tokens | None = None,
        observe: Callable[[Request], None] | None = None,
    ) -> None:
        self._tokens = tokens
        self._observe = observe
        self._batch = (1, 1)  # calls and attempt, for `observe`
        self._gzip = config.gzip
        headers = {"Content-Type": "application/json"}
        if config.gzip:
            headers["Content-Encoding"] = "gzip"
        if not tokens:
            headers["Authorization"] = f"Basic {base64.b64encode(f'{config.write_key}:'.encode()).decode()}"
        # A batch does not count these bytes; it leaves 25 KB up to the limit at which Segment rejects a request
        self._opening = f'{{"writeKey":{json.dumps(config.write_key, ensure_ascii=False)},'.encode() if tokens else b"{"
        self._connection = Connection(f"{config.endpoint}/v1/batch", headers)

    def post(self, body: bytes, calls: int = 1, attempt: int = 1) -> Answer:
        """Send one batch, a JSON object."""
        self._batch = (calls, attempt)
        data = self._opening + body[1:] if self._tokens else body
        if self._gzip:
            data = gzip.compress(data, compresslevel=5)
        return self._send_authorized(data, self._tokens) if self._tokens else self._send(data)

    def abort(self) -> None:
        """Cancel the request in flight and all later ones; called from another thread."""
        self._connection.abort()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send_authorized(self, data: bytes, tokens: Tokens) -> Answer:
        """Send with an access token; if the API rejects it, retry once with a new one."""
        for _ in range(2):
            token = tokens.get()
            if not isinstance(token, Token):
                return token
            answer = self._send(data, token)
            if not isinstance(answer, Unauthorized):
                return answer
            tokens.discard(token)
        return Unusable(
            "two access tokens were rejected, the second one new; connect the OAuth application in Segment to the "
            "source of this write key, with the `scope` of segconn.yml"
        )

    def _send(self, data: bytes, token: Token | None = None) -> Answer:
        began = time.monotonic()
        try:
            response = self._connection.post(data, token.headers if token else None)
        except NoResponseError as error:
            self._report(began, error="timeout" if error.is_late else type(error.cause).__name__)
            return classify_error(error)
        self._report(began, status=response.status)
        return classify(response.status, response.headers)

    def _report(self, began: float, *, status: int | None = None, error: str | None = None) -> None:
        if self._observe:
            seconds = time.monotonic() - began
            self._observe(Request(time.time() - seconds, seconds, *self._batch, status, error))


class Retrier:
    """Send the batches of one thread, with retries.

    Raise DeliveryError after the last attempt, and Canceled once `stop` is set.
    """

    def __init__(
        self, client: TrackingApiClient, destination: Destination, stop: Stop, notify: Callable[[str], None]
    ) -> None:
        self._client = client
        self._destination = destination
        self._stop = stop
        self._notify = notify

    def send(self, batch: Batch) -> Confirmed | Rejected:
        """Send the same calls, with a new `sentAt`, until the API confirms or rejects them."""
        errors, throttles, give_up_at = 0, 0, math.inf
        while True:
            self._wait_for_rate(len(batch))
            # Segment corrects timestamps by `sentAt`: https://segment.com/docs/connections/spec/common/#timestamps
            body = batch.body(datetime.now(timezone.utc))
            answer = self._client.post(body, len(batch), 1 + errors + throttles)
            if isinstance(answer, (Confirmed, Rejected)):
                return answer
            if isinstance(answer, Unusable):
                self._destination.fail(answer.reason)
            elif isinstance(answer, Throttled):
                throttles += 1
                # counted apart from errors: a 429 shows that the API works
                give_up_at = min(give_up_at, self._destination.clock() + PATIENCE_SECONDS)
                self._throttle(answer, throttles, give_up_at)
            else:
                errors += 1
                batch.is_repeated = True  # the first attempt may have arrived
                if self._stop.is_set():
                    raise Canceled
                self._back_off(answer, errors)

    def _wait_for_rate(self, calls: int) -> None:
        """Wait until the rate permits these calls; a pause that began meanwhile requires a new reservation."""
        limiter = self._destination.limiter
        self._wait(limiter.reserve(calls))
        while limiter.is_paused():
            self._wait(limiter.reserve(calls))

    def _throttle(self, answer: Throttled, throttles: int, give_up_at: float) -> None:
        """Pause all senders, longer each time, even if the API asks for no pause."""
        seconds = max(answer.seconds or 0.0, self._backoff(throttles))
        if self._destination.clock() + seconds > give_up_at:
            raise self._error(
                f"Segment asks for a pause of {seconds:.0f} seconds (HTTP status 429), but a batch waits "
                f"{PATIENCE_SECONDS / 60:.0f} minutes at most"
            )
        self._destination.limiter.throttle(seconds)
        if seconds >= 1:
            self._notify(f"Segment asks for a pause of {seconds:.0f} s (HTTP status 429)")

    def _back_off(self, answer: Unknown, errors: int) -> None:
        answered = self._destination.answered.is_set()
        limit = MAX_ATTEMPTS if answer.reached or answered else FIRST_ATTEMPTS
        if errors >= limit:
            if not answered:
                self._destination.fail(f"{answer.reason}, {errors} times")  # other syncs need not try
                self._destination.check()
            raise self._error(f"{answer.reason}, {errors} times")
        seconds = self._backoff(errors)
        self._notify(f"{answer.reason}; retrying in {seconds:.1f} s (attempt {errors + 1} of {limit})")
        self._wait(seconds)

    def _backoff(self, attempts: int) -> float:
        """Return an exponential backoff with full jitter."""
        return self._destination.jitter(0, min(LONGEST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**attempts))

    def _wait(self, seconds: float) -> None:
        """Sleep until the time is over, a stop is requested or any sync finds the destination unusable."""
        until = self._destination.clock() + seconds
        while True:
            self._destination.check()
            left = max(0.0, until - self._destination.clock())
            if self._stop.wait(min(left, WAKE_SECONDS)):
                raise Canceled
            if left <= WAKE_SECONDS:
                return

    def _error(self, reason: str) -> DeliveryError:
        return DeliveryError(
            f"{self._destination.config}: {reason}. Undelivered changes stay in the outbox; the next run resumes there"
        )
