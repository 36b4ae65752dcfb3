"""The watermark: the highest change number below which every change is confirmed or refused."""

from __future__ import annotations

import threading
from collections import deque


class _Stretch:
    """Changes up to `last`, `count` of them, that are done together."""

    __slots__ = ("count", "done", "last")

    def __init__(self, last: int, count: int) -> None:
        self.last = last
        self.count = count
        self.done = False


class Watermark:
    """Stretches are opened in the order of their numbers, and done in any order."""

    def __init__(self, start: int) -> None:
        self.value = start
        self.settled = 0
        self._stretches: deque[_Stretch] = deque()
        self._guard = threading.Lock()

    def read(self) -> tuple[int, int]:
        """Return the watermark and how many changes are settled at it, both of the same moment."""
        with self._guard:
            return self.value, self.settled

    def is_waiting(self) -> bool:
        """Say whether any stretch is not done yet."""
        return bool(self._stretches)

    def open(self, last: int, count: int) -> _Stretch:
        """Begin a stretch of `count` changes that ends with the number `last`."""
        with self._guard:
            stretch = _Stretch(last, count)
            self._stretches.append(stretch)
            return stretch

    def done(self, stretch: _Stretch) -> None:
        """End a stretch: the watermark moves over all that are done without a gap."""
        with self._guard:
            stretch.done = True
            while self._stretches and self._stretches[0].done:
                first = self._stretches.popleft()
                self.value = first.last
                self.settled += first.count
