"""The watermark: the highest change number below which every change is confirmed or refused."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

_LAST = attrgetter("last")


@dataclass(slots=True)
class _Stretch:
    """`count` changes up to the number `last`, of which `waiting` are not done yet."""

    last: int
    count: int
    waiting: int


class Watermark:
    """Stretches of changes are opened in the order of their numbers; their changes are done in any order."""

    def __init__(self, start: int) -> None:
        self.value = start
        self.settled = 0
        self._stretches: list[_Stretch] = []
        self._guard = threading.Lock()

    def read(self) -> tuple[int, int]:
        """Return the watermark and the number of changes settled at it, both of the same moment."""
        with self._guard:
            return self.value, self.settled

    def is_waiting(self) -> bool:
        """Return whether any change is not done yet."""
        return bool(self._stretches)

    def open(self, last: int, count: int) -> None:
        """Begin a stretch of `count` changes that ends with the number `last`."""
        with self._guard:
            self._stretches.append(_Stretch(last, count, count))
            self._advance()

    def done(self, numbers: Sequence[int]) -> None:
        """Mark changes of open stretches as done; `numbers` ascend."""
        if not numbers:
            return
        with self._guard:
            at, done = bisect_left(self._stretches, numbers[0], key=_LAST), 0
            while done < len(numbers):
                stretch = self._stretches[at]
                upto = bisect_right(numbers, stretch.last, done)
                stretch.waiting -= upto - done
                at, done = at + 1, upto
            self._advance()

    def _advance(self) -> None:
        """Move the watermark over all stretches that are done without a gap."""
        passed = 0
        for stretch in self._stretches:
            if stretch.waiting:
                break
            self.value = stretch.last
            self.settled += stretch.count
            passed += 1
        del self._stretches[:passed]
