"""Measured time of a sync by step: seconds, and seconds of CPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds and CPU seconds of one step, summed over its threads. The sum may exceed the wall clock."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Timings:
    """Sums of the measured time of each step; thread-safe. They exclude the CPU of the warehouse's own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: dict[str, Spent] = {}

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time of the block to a step."""
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add({step: Spent(time.perf_counter() - began, time.thread_time() - cpu)})

    def add(self, spent: Mapping[str, Spent]) -> None:
        """Add the time that another process or object measured."""
        with self._lock:
            for step, more in spent.items():
                before = self._spent.get(step, Spent())
                self._spent[step] = Spent(before.seconds + more.seconds, before.cpu_seconds + more.cpu_seconds)

    def spent(self) -> Mapping[str, Spent]:
        """Return the time of each step, ordered by the first end of each."""
        with self._lock:
            return dict(self._spent)
