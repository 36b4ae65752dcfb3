"""A destination as all syncs of one process share it: its address, its rate, and whether it is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dbt_segconn.delivery.oauth import OAuth, Tokens
from dbt_segconn.delivery.rate import RateLimiter
from dbt_segconn.errors import DeliveryError


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls go, and how: `events_per_second` None is unlimited, `concurrency` counts requests."""

    name: str
    write_key: str = field(repr=False)
    endpoint: str
    concurrency: int = 12
    events_per_second: float | None = 1000
    gzip: bool = False
    oauth: OAuth | None = None


class Destination:
    """Shared by all syncs that deliver to it, from any thread."""

    def __init__(
        self,
        target: Target,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.target = target
        self.clock = clock
        self.limiter = RateLimiter(target.events_per_second, clock)
        self.tokens = Tokens(target.oauth, clock) if target.oauth else None
        self.jitter = jitter
        self.answered = threading.Event()
        self._lost: str | None = None
        self._guard = threading.Lock()
        self._lone_refusals = 0

    def lose(self, reason: str) -> None:
        """Stop all syncs of this destination: nothing that they could send would be taken."""
        self._lost = self._lost or reason

    def check(self) -> None:
        """Raise DeliveryError where the destination is lost."""
        if self._lost:
            raise DeliveryError(
                f"destination {self.target.name} ({self.target.endpoint}): {self._lost}. What is not delivered "
                "stays in the outbox; mend the destination and run again."
            )

    def confirmed(self) -> None:
        """Take note that a batch was confirmed."""
        self.answered.set()
        self.limiter.recover()
        self._lone_refusals = 0

    def refused_alone(self) -> int:
        """Take note that a call was refused by itself; returns how many were since the last confirmed one."""
        with self._guard:
            self._lone_refusals += 1
            return self._lone_refusals
