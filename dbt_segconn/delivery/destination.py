"""A destination: its configuration, its token bucket and its state, shared by all syncs of the process."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dbt_segconn.delivery.oauth import OAuth, Tokens, check_installed
from dbt_segconn.errors import DeliveryError
from dbt_segconn.project.settings import DestinationSettings, Settings

# A token bucket of one second
BURST_SECONDS = 1.0
# Halved by each 429 down to SLOWEST, multiplied by RECOVERY with each confirmed batch
SLOWEST = 0.05
RECOVERY = 1.05


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
    check_installed()
    return OAuth(
        client_id=given.client_id,
        key_id=given.key_id,
        private_key=given.private_key.get_secret_value(),
        token_url=settings.token_url,
        scope=given.scope,
    )
