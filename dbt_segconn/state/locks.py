"""A mapping is synced by one process at a time.

A lock is a claim: a row that anyone who comes later sees. Whoever sees another's live claim after
writing their own withdraws, so two processes never both hold one; both may withdraw, and try again.
A live claim is one that was heard of in the last EXPIRY seconds and whose process, if it ran on this
machine, still runs.
"""

from __future__ import annotations

import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dbt_segconn.errors import LockedError, WarehouseError
from dbt_segconn.state.tables import State

BEAT_SECONDS = 15
EXPIRY_SECONDS = 120
# A claim younger than this may be withdrawn in a moment, as ours would be
FRESH_SECONDS = 10
TRIES = 4


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody's claim of a mapping: `age` seconds old, last heard of `silent` seconds ago."""

    token: str
    holder: str
    since: datetime
    age: int
    silent: int

    @property
    def live(self) -> bool:
        """Whether its process may still be at work."""
        return self.silent < EXPIRY_SECONDS and not _is_dead(self.holder)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that this process has acquired, and may lose to one that breaks it."""

    state: State
    mapping_id: str
    name: str
    token: str

    def confirm(self) -> None:
        """Raise LockedError where the lock is ours no more: nothing may be written then."""
        claims = [Claim(*row) for row in self.state.claims(self.mapping_id)]
        if not any(claim.token == self.token for claim in claims):
            taker = f"; {claims[0].holder} has taken it over" if claims else ""
            raise LockedError(
                f"{self.name}: the lock of this sync was broken{taker}. Nothing more is sent or written; what was "
                "confirmed meanwhile keeps its messageIds, so that no call counts twice"
            )


class Locks:
    """The locks that this process holds; a thread of its own keeps them alive."""

    def __init__(self, *, break_locks: bool = False, sleep: Callable[[float], None] = time.sleep) -> None:
        self._break = break_locks
        self._sleep = sleep
        self._held: set[str] = set()
        self._guard = threading.Lock()

    @contextmanager
    def hold(self, state: State, mapping_id: str, name: str) -> Iterator[Lock]:
        """Hold the mapping's lock; raises LockedError that says who has it, and since when."""
        token = self._acquire(state, mapping_id, name)
        with self._guard:
            self._held.add(token)
        try:
            yield Lock(state, mapping_id, name, token)
        finally:
            with self._guard:
                self._held.discard(token)
            with suppress(WarehouseError):  # it expires by itself, and the block's own error is the one to tell
                state.release([token])

    def beat(self, state: State) -> None:
        """Let the others know that the held locks are alive."""
        with self._guard:
            held = sorted(self._held)
        if held:
            state.beat(held)

    def _acquire(self, state: State, mapping_id: str, name: str) -> str:
        token, holder = uuid.uuid4().hex, _this_process()
        for tries_left in reversed(range(TRIES)):
            state.claim(mapping_id, token, holder)
            others = [Claim(*row) for row in state.claims(mapping_id) if row[0] != token]
            dead = [claim.token for claim in others if self._break or not claim.live]
            rivals = [claim for claim in others if claim.token not in dead]
            if dead:
                state.release(dead)
            if not rivals:
                return token
            state.release([token])
            if not tries_left or rivals[0].age > FRESH_SECONDS:
                raise _locked(name, rivals[0])
            self._sleep(random.uniform(0.1, 1))  # noqa: S311  not a secret
        raise AssertionError


def _locked(name: str, claim: Claim) -> LockedError:
    return LockedError(
        f"{name} is being synced by {claim.holder} since {claim.since:%Y-%m-%d %H:%M:%S} UTC. Wait for it to "
        f"finish, or use --break-lock if you are sure that it is gone (a lock that is silent for "
        f"{EXPIRY_SECONDS} seconds expires by itself)."
    )


def _this_process() -> str:
    return f"{_machine()} process {os.getpid()}"


def _machine() -> str:
    """Name this machine; containers of one name are told apart by their process namespace."""
    namespace = Path("/proc/self/ns/pid")
    return f"{platform.node()}/{namespace.readlink()}" if namespace.exists() else platform.node()


def _is_dead(holder: str) -> bool:
    """Say whether the holder certainly runs no more: only of this machine's processes can that be known."""
    machine, _, process = holder.rpartition(" process ")
    if machine != _machine() or os.name == "nt":  # on Windows, os.kill would end the process
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False


@contextmanager
def heartbeat(beat: Callable[[], None], every: float = BEAT_SECONDS) -> Iterator[None]:
    """Call `beat` every few seconds from a thread of its own, until the block ends."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(every):
            try:
                beat()
            except WarehouseError:
                continue  # a lock outlives some missed beats, and the sync itself will meet the same fault

    thread = threading.Thread(target=run, name="segconn-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
