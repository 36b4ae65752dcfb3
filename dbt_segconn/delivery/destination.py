"""A destination: its configuration, its access tokens, its token bucket and its state, shared by all syncs of a run."""

from __future__ import annotations

import math
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from dbt_segconn.delivery.answers import (
    Answer,
    Confirmed,
    Throttled,
    Unknown,
    Unusable,
    classify,
    classify_error,
    http_date,
)
from dbt_segconn.delivery.connection import Connection, NoResponseError, Response
from dbt_segconn.errors import ConfigurationError, DeliveryError
from dbt_segconn.project.settings import DestinationSettings, Settings

# A token bucket of one second
BURST_SECONDS = 1.0
# Halved by each 429 down to SLOWEST, multiplied by RECOVERY with each confirmed batch
SLOWEST = 0.05
RECOVERY = 1.05
# Segment accepts assertions that are valid for up to 60 seconds; its SDKs also backdate them a little
ASSERTION_SECONDS = 60
BACKDATED_SECONDS = 5
APPLICATION_REJECTED = frozenset({400, 401, 403, 415})
# An assertion tolerates a smaller clock skew
SKEW_SECONDS = 3
# Renew a token at this fraction of its lifetime, like Segment's SDKs; retry a failed renewal after this many seconds
RENEWED_AFTER = 0.5
RENEWED_AGAIN_SECONDS = 30.0
# Do not send a token shortly before it expires: the request takes time to arrive
SPARE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class OAuth:
    """An OAuth application of Segment: `private_key` is PEM text, `token_url` the full URL for tokens."""

    client_id: str
    key_id: str
    private_key: str = field(repr=False)
    token_url: str
    scope: str


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """Where and how to send: `concurrency` limits requests in flight, `events_per_second` None is unlimited."""

    name: str
    write_key: str = field(repr=False)
    endpoint: str
    # 12 keep 90% of the speed at 50 ms of latency per request; 8 were too few
    concurrency: int = 12
    events_per_second: float | None = 1000  # Segment's limit for a workspace
    gzip: bool = False
    oauth: OAuth | None = None

    def __str__(self) -> str:
        return f"destination {self.name} ({self.endpoint})"


class Destination:
    """A destination in use, shared by all threads of the syncs that deliver to it."""

    def __init__(
        self,
        config: DestinationConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.config = config
        self.clock = clock
        self.limiter = RateLimiter(config.events_per_second, clock)
        self.tokens = Tokens(config.oauth, clock) if config.oauth else None
        self.jitter = jitter
        # if it was never set, the address is probably wrong: fewer attempts
        self.answered = threading.Event()
        self._unusable: str | None = None
        self._guard = threading.Lock()
        self._rejections = 0

    def fail(self, reason: str) -> None:
        """Stop all syncs of this destination: no request to it can succeed."""
        self._unusable = self._unusable or reason  # the first reason explains the others

    def check(self) -> None:
        """Raise DeliveryError if the destination is unusable."""
        if self._unusable:
            raise DeliveryError(
                f"{self.config}: {self._unusable}. Undelivered changes stay in the outbox; fix the destination and "
                "run again."
            )

    def confirmed(self) -> None:
        """Count a confirmed batch."""
        self.answered.set()
        self.limiter.recover()
        self._rejections = 0  # several in a row have a cause outside of the records

    def rejected(self) -> int:
        """Count a rejected call; return the number of them since the last confirmed batch."""
        with self._guard:
            self._rejections += 1
            return self._rejections


def build_destinations(settings: Settings) -> dict[str, Destination]:
    """Return the destinations of segconn.yml; syncs with the same one share its rate."""
    return {name: Destination(build_config(name, one)) for name, one in settings.destinations.items()}


def build_config(name: str, settings: DestinationSettings) -> DestinationConfig:
    """Return the configuration of one destination of segconn.yml."""
    is_unlimited = math.isinf(settings.events_per_second)
    return DestinationConfig(
        name=name,
        write_key=settings.write_key.get_secret_value(),
        endpoint=settings.base_url,
        concurrency=settings.concurrency,
        events_per_second=None if is_unlimited else settings.events_per_second,
        gzip=settings.gzip,
        oauth=_build_oauth(settings),
    )


def _build_oauth(settings: DestinationSettings) -> OAuth | None:
    given = settings.oauth
    if given is None or not settings.enabled:  # a disabled destination needs no packages for OAuth
        return None
    _check_installed()
    return OAuth(
        client_id=given.client_id,
        key_id=given.key_id,
        private_key=given.private_key.get_secret_value(),
        token_url=settings.token_url,
        scope=given.scope,
    )


def _check_installed() -> None:
    """Raise ConfigurationError if the packages for OAuth are not installed."""
    try:
        import cryptography  # noqa: F401
        import jwt  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "segconn.yml: `oauth` of a destination needs more packages: pip install 'dbt-segconn[oauth]'"
        ) from None


class RateLimiter:
    """A token bucket of `rate` calls a second; None is unlimited.

    A batch is sent whole, so the bucket may go into debt. A 429 pauses all senders and halves the rate, which
    recovers with each confirmed batch.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._guard = threading.Lock()
        self._free_at = clock() - BURST_SECONDS
        self._paused_until = self._free_at
        self._speed = 1.0

    def reserve(self, calls: int) -> float:
        """Reserve the next free time for these calls; return the seconds until then."""
        with self._guard:
            now = self._clock()
            start = max(self._free_at, now - BURST_SECONDS)
            self._free_at = start + calls / (self._rate * self._speed) if self._rate else start
            return max(0.0, start - now)

    def throttle(self, seconds: float) -> None:
        """Pause all senders, then halve the rate.

        A 429 during a pause answers a batch that was already in flight, so it does not halve the rate again.
        """
        with self._guard:
            now = self._clock()
            if now >= self._paused_until:
                self._speed = max(SLOWEST, self._speed / 2)
            self._paused_until = max(self._paused_until, now + seconds)
            self._free_at = max(self._free_at, self._paused_until)

    def is_paused(self) -> bool:
        """Return whether a pause holds now, also for reservations made before it."""
        return self._clock() < self._paused_until

    def recover(self) -> None:
        """Raise a reduced rate a little."""
        if self._speed < 1:
            with self._guard:
                self._speed = min(1.0, self._speed * RECOVERY)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, with the times (of the clock) to renew it and to stop using it."""

    text: str = field(repr=False)
    renewed_at: float
    used_until: float

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that authorize a request."""
        return {"Authorization": f"Bearer {self.text}"}


class Tokens:
    """The tokens of one destination, shared by its senders. `clock` counts seconds."""

    def __init__(self, oauth: OAuth, clock: Callable[[], float]) -> None:
        self._oauth = oauth
        self._clock = clock
        self._skew = 0.0  # seconds by which Segment's clock is ahead
        self._token: Token | None = None
        self._renewals = 0
        self._answer: Answer = Unknown("no access token yet")
        self._guard = threading.Lock()

    def get(self) -> Token | Answer:
        """Return a valid token, or the failed answer to the request for one."""
        token, renewals = self._token, self._renewals
        if token and self._clock() < token.renewed_at:
            return token
        usable = token if token and self._clock() < token.used_until else None
        if isinstance(self._answer, Unusable):  # another request would fail, too
            return usable or self._answer
        # with a usable token, senders go on while one of them renews it
        if not self._guard.acquire(blocking=usable is None):
            return usable or self._answer  # another sender is renewing it
        try:
            if self._renewals == renewals:  # else another sender renewed it while this one waited
                self._renew(usable)
            return self._token or self._answer
        finally:
            self._guard.release()

    def discard(self, token: Token) -> None:
        """Stop using a token that the API rejected."""
        with self._guard:
            if self._token and self._token.text == token.text:
                self._token = None

    def _renew(self, usable: Token | None) -> None:
        """Request a new token; on failure, keep the old one while it is usable."""
        answer = self._request()
        if isinstance(answer, Token):
            self._token, self._answer = answer, Unknown("the access token was rejected")
        else:
            self._answer = answer
            self._token = usable and replace(usable, renewed_at=self._clock() + RENEWED_AGAIN_SECONDS)
        self._renewals += 1

    def _request(self) -> Token | Answer:
        """Send one request, and a second one if the clock skew had to be corrected."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            with closing(Connection(self._oauth.token_url, headers)) as connection:
                response = connection.post(self._form())
                if response.status in {400, 401} and self._correct_clock(response.headers.get("Date")):
                    response = connection.post(self._form())
        except NoResponseError as error:
            return self._explained(classify_error(error))
        answer = classify(response.status, response.headers)
        if isinstance(answer, Confirmed):
            return self._token_of(response)
        return self._explained(answer, response.status)

    def _form(self) -> bytes:
        return urlencode(
            {
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._assertion(),
                "scope": self._oauth.scope,
            }
        ).encode()

    def _assertion(self) -> str:
        import jwt

        issued_at = int(time.time() + self._skew) - BACKDATED_SECONDS
        # `iss` is optional in Segment's document; its SDKs send the client id. `aud` is the server without a path
        claims = {
            "iss": self._oauth.client_id,
            "sub": self._oauth.client_id,
            "aud": self._oauth.token_url.removesuffix("/token"),
            "iat": issued_at,
            "exp": issued_at + ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._oauth.private_key, algorithm="RS256", headers={"kid": self._oauth.key_id})

    def _correct_clock(self, date: str | None) -> bool:
        """Set the skew from the server's time; return whether it changed enough to matter."""
        server = http_date(date)
        if server is None:
            return False
        before, self._skew = self._skew, server.timestamp() - time.time()
        return abs(self._skew - before) > SKEW_SECONDS

    def _token_of(self, response: Response) -> Token | Answer:
        try:
            body: Any = response.json()
            text, seconds = body["access_token"], float(body["expires_in"])
        except (ValueError, TypeError, LookupError):
            text, seconds = None, 0.0
        if not isinstance(text, str) or not text:
            return self._explained(Unknown("no access token in the answer"))
        now = self._clock()
        return Token(text, now + seconds * RENEWED_AFTER, now + max(seconds - SPARE_SECONDS, seconds * RENEWED_AFTER))

    def _explained(self, answer: Answer, status: int | None = None) -> Answer:
        """Add the URL and what to check to a failed answer; no text that was sent or received: it may be secret."""
        place = f"no access token from {self._oauth.token_url}"
        if isinstance(answer, Throttled):
            return answer
        if isinstance(answer, Unknown):
            return replace(answer, reason=f"{place}: {answer.reason}")
        if status is None and isinstance(answer, Unusable):
            return Unusable(f"{place}: {answer.reason}")
        if status not in APPLICATION_REJECTED:
            return Unusable(f"{place}: unexpected HTTP status {status}; check `token_url` and `region` in segconn.yml")
        return Unusable(
            f"{place}: the OAuth application was rejected with HTTP status {status}. Check `client_id`, `key_id`, "
            "`scope` and `region` in segconn.yml, that `private_key` belongs to this `key_id`, that the application "
            "is not revoked in Segment, and the clock of this machine"
        )
