"""Python's garbage collector, held off where it would search much and find nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_gc() -> Iterator[None]:
    """Do without it while much comes to stay, a manifest or dbt's modules, and keep that from being searched later."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def with_rare_gc() -> Iterator[None]:
    """Let it seldom search while calls are made, which hold no cycles; afterwards all is searched as before."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
