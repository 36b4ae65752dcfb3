"""How far a delivery is: the watermark, the confirmed calls and the discards."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from dbt_segconn.delivery.batches import Chunk

_LAST = attrgetter("last")


@dataclass(frozen=True, slots=True)
class Discard:
    """A change that makes no call, with its reason. `by_segment`: Segment rejected its call.

    `is_repeated`: an earlier attempt had no answer, so Segment may have accepted that one.
    """

    change_number: int
    reason: str
    by_segment: bool = False
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a delivery.

    `settled` counts the changes up to the watermark, `confirmed` all confirmed calls, also those above it. `discards`
    has only those that were not reported before.
    """

    watermark: int
    settled: int
    confirmed: int
    discards: tuple[Discard, ...]


@dataclass(slots=True)
class _Interval:
    """`count` changes up to the number `last`, of which `waiting` are not done."""

    last: int
    count: int
    waiting: int


class Watermark:
    """The number up to which every change is done.

    Intervals of changes are opened in ascending order; the changes in them are done in any order. Not thread-safe.
    """

    def __init__(self, start: int) -> None:
        self.value = start
        self.settled = 0
        self._intervals: list[_Interval] = []

    def is_waiting(self) -> bool:
        """Return whether any change is not done."""
        return bool(self._intervals)

    def open(self, last: int, count: int) -> None:
        """Open an interval of `count` changes up to the number `last`."""
        self._intervals.append(_Interval(last, count, count))
        self._advance()

    def done_in(self, last: int, count: int) -> None:
        """Mark `count` changes of one open interval as done; `last` is any change number in it."""
        self._intervals[bisect_left(self._intervals, last, key=_LAST)].waiting -= count
        self._advance()

    def done(self, numbers: Sequence[int]) -> None:
        """Mark changes of open intervals as done; `numbers` ascend."""
        if not numbers:
            return
        at, done = bisect_left(self._intervals, numbers[0], key=_LAST), 0
        while done < len(numbers):
            interval = self._intervals[at]
            upto = bisect_right(numbers, interval.last, done)
            interval.waiting -= upto - done
            at, done = at + 1, upto
        self._advance()

    def _advance(self) -> None:
        """Move the watermark to the end of the intervals that are done without a gap."""
        passed = 0
        for interval in self._intervals:
            if interval.waiting:
                break
            self.value = interval.last
            self.settled += interval.count
            passed += 1
        del self._intervals[:passed]  # at once: removing the first item of a list moves all others


class Tracker:
    """The account of one delivery, written by all its threads.

    A discard is recorded before the watermark can pass its change, so each Progress has all discards up to it.
    """

    def __init__(self, start_after: int) -> None:
        self._watermark = Watermark(start_after)
        self._guard = threading.Lock()
        self._opened = start_after
        self._confirmed = 0
        self._unreported: list[Discard] = []
        self._without_call: list[int] = []  # discarded changes that belong to no interval yet
        self._invalid: list[int] = []  # discarded calls that belong to no interval yet
        self._late = 0  # discards in open intervals

    def discard(self, change_number: int, reason: str) -> None:
        """Record a change that makes no call."""
        self._discard(change_number, reason, self._without_call)

    def discard_call(self, change_number: int, reason: str) -> None:
        """Record a call that violates a limit; its change is part of the next interval, or of an open one."""
        self._discard(change_number, reason, self._invalid)

    def _discard(self, change_number: int, reason: str, waiting: list[int]) -> None:
        with self._guard:
            self._unreported.append(Discard(change_number, reason))
            if change_number <= self._opened:  # the warehouse has written the other calls of its interval
                self._late += 1
                self._watermark.done_in(change_number, 1)
            else:
                waiting.append(change_number)

    def open_written(self, last: int, count: int) -> None:
        """Open the interval of `count` changes up to the number `last`, of which some may be discarded later."""
        with self._guard:
            self._opened = last
            self._watermark.open(last, count)

    def open(self, numbers: Sequence[int]) -> int:
        """Open the interval of these calls and of the changes without a call up to the last of them.

        Without calls, the interval has all changes without a call. Return the number of discards in it. Calls of open
        intervals open none.
        """
        with self._guard:
            late, self._late = self._late, 0
            last = numbers[-1] if numbers else max(self._without_call, default=0)
            if last <= self._opened:
                return late
            without_call = [number for number in self._without_call if number <= last]
            self._without_call[:] = [number for number in self._without_call if number > last]
            invalid = [*self._invalid]
            self._invalid.clear()
            if numbers or without_call:
                self._opened = last
                self._watermark.open(last, len(numbers) + len(without_call))
                self._watermark.done(sorted(without_call + invalid))
        return late + len(without_call) + len(invalid)

    def confirm(self, calls: int) -> None:
        """Count confirmed calls."""
        with self._guard:
            self._confirmed += calls

    def reject(self, discard: Discard) -> None:
        """Record a call that Segment rejected."""
        with self._guard:
            self._unreported.append(discard)

    def done(self, chunks: Iterable[Chunk]) -> None:
        """Mark the changes of these calls as confirmed or rejected."""
        with self._guard:
            for chunk in chunks:
                if chunk.numbers is None:
                    self._watermark.done_in(chunk.last, chunk.count)
                else:
                    self._watermark.done(chunk.numbers)

    def is_waiting(self) -> bool:
        """Return whether any change of an open interval is not done."""
        return self._watermark.is_waiting()

    def report(self) -> Progress:
        """Return the progress, with the discards since the last report."""
        with self._guard:
            discards, self._unreported = tuple(self._unreported), []
            return Progress(self._watermark.value, self._watermark.settled, self._confirmed, discards)
