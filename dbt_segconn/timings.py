"""Where the time of a sync goes: seconds, and seconds of CPU, by step."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds, and seconds of CPU, of the threads that took a step; side by side, they may exceed the clock's."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Timings:
    """Adds up what steps take, from any thread. The CPU of a warehouse that runs in its own threads is not seen."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._spent: dict[str, Spent] = {}

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the block to a step."""
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add({step: Spent(time.perf_counter() - began, time.thread_time() - cpu)})

    def add(self, spent: Mapping[str, Spent]) -> None:
        """Add what was measured elsewhere."""
        with self._guard:
            for step, more in spent.items():
                before = self._spent.get(step, Spent())
                self._spent[step] = Spent(before.seconds + more.seconds, before.cpu_seconds + more.cpu_seconds)

    def spent(self) -> Mapping[str, Spent]:
        """Return what each step took, in the order in which they first ended."""
        with self._guard:
            return dict(self._spent)
