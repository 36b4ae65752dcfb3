"""Limits of CPU time and memory for rendering text that a user wrote, if the platform supports them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Only Linux has this file
_STATM = Path("/proc/self/statm")


class TimeLimitExceeded(Exception):  # noqa: N818  an outcome, not an error
    """Raised inside the block when its CPU time limit is exceeded."""


@contextmanager
def limit_resources(cpu_seconds: float, more_bytes: int) -> Iterator[None]:
    """Raise TimeLimitExceeded after `cpu_seconds` of CPU time, and MemoryError after `more_bytes` of additional memory.

    CPU time is limited in the main thread only, because Python runs signal handlers there. Memory is limited on Linux
    only.
    """
    with _memory(more_bytes), _cpu_time(cpu_seconds):
        yield


@contextmanager
def _memory(more_bytes: int) -> Iterator[None]:
    if not _STATM.exists():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    most = int(_STATM.read_text().split()[0]) * resource.getpagesize() + more_bytes
    if before[0] != resource.RLIM_INFINITY and before[0] <= most:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _cpu_time(seconds: float) -> Iterator[None]:
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    import signal

    def expire(*_: Any) -> None:
        raise TimeLimitExceeded

    before = signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
