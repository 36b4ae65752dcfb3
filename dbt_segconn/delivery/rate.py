"""How fast events may go: one limiter for all syncs of a destination."""

from __future__ import annotations

import threading
from collections.abc import Callable

# Unused time that may be made up for
BURST_SECONDS = 1.0
SLOWEST = 0.05
RECOVERY = 1.05


class RateLimiter:
    """Hands out moments to send at, `rate` events a second in the long run; None has no limit.

    A batch goes out whole, and up to BURST_SECONDS of unused time are made up for. After a 429 nobody
    sends for a while, then at half speed, which recovers with every confirmed batch.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._guard = threading.Lock()
        self._free_at = clock() - BURST_SECONDS
        self._paused_until = self._free_at
        self._speed = 1.0

    def reserve(self, events: int) -> float:
        """Take the next moment for so many events; returns the seconds until then."""
        with self._guard:
            now = self._clock()
            start = max(self._free_at, now - BURST_SECONDS)
            self._free_at = start + events / (self._rate * self._speed) if self._rate else start
            return max(0.0, start - now)

    def throttle(self, seconds: float) -> None:
        """Let nobody send for a while, and everybody slower after it.

        A 429 within a pause answers a batch that was already in flight: it does not slow down once more.
        """
        with self._guard:
            now = self._clock()
            if now >= self._paused_until:
                self._speed = max(SLOWEST, self._speed / 2)
            self._paused_until = max(self._paused_until, now + seconds)
            self._free_at = max(self._free_at, self._paused_until)

    def is_paused(self) -> bool:
        """Say whether nobody may send now, not even whose moment has come."""
        return self._clock() < self._paused_until

    def recover(self) -> None:
        """Speed up a little, up to the full rate."""
        if self._speed < 1:
            with self._guard:
                self._speed = min(1.0, self._speed * RECOVERY)
