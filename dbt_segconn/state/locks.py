"""Locks: only one process syncs a mapping at a time.

To lock a mapping, a process writes a claim (a row), then reads all claims of the mapping. If another claim is live, the
process releases its own claim. So two processes never hold the lock together; both may release their claims and retry.
A claim is live if its last heartbeat is less than EXPIRY_SECONDS old. If its process ran on this machine, the process
must also be running.
"""

from __future__ import annotations

import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap
from pathlib import Path

from dbt_segconn.errors import LockedError, WarehouseError
from dbt_segconn.state.tables import State

# A claim survives seven missed heartbeats
BEAT_SECONDS = 15
EXPIRY_SECONDS = 120
# A younger claim may soon be released: its process may not have read the other claims yet
FRESH_SECONDS = 10
ATTEMPTS = 4
# Claims that this process could not release, such as after a lost connection. The process of an orchestrator lives on,
# and its next run must not wait until they expire
_UNRELEASED: set[str] = set()


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a mapping's lock. `age` and `silent` are the seconds since the claim and since its last heartbeat."""

    mapping_id: str
    token: str
    holder: str
    since: datetime
    age: int
    silent: int

    @property
    def live(self) -> bool:
        """Whether the claim has not expired and its process may still run and hold it."""
        return self.silent < EXPIRY_SECONDS and self.token not in _UNRELEASED and not _is_dead(self.holder)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that this process holds. Another process can break it, so each write confirms it in its transaction."""

    state: State
    mapping_id: str
    name: str
    token: str

    def confirm(self) -> None:
        """Raise LockedError if this process no longer holds the lock: it must not write then."""
        if not self.state.is_claimed(self.token):
            claims = [Claim(*row) for row in self.state.claims([self.mapping_id])]
            holder = f"; {claims[0].holder} holds it now" if claims else ""
            raise LockedError(
                f"{self.name}: the lock of this sync was broken{holder}. This run stops sending and writing for this "
                "mapping. Calls that are sent again keep their messageIds, and Segment removes the duplicates"
            )


class Locks:
    """The locks that this process holds; `heartbeat` keeps them alive."""

    def __init__(self, *, break_locks: bool = False, sleep: Callable[[float], None] = time.sleep) -> None:
        self._break = break_locks
        self._sleep = sleep
        self._held: set[str] = set()
        self._guard = threading.Lock()

    @contextmanager
    def hold(self, state: State, mapping_id: str, name: str) -> Iterator[Lock]:
        """Hold the mapping's lock during the block. Raise LockedError, with holder and time, if it is held."""
        token = self._acquire(state, mapping_id, name)
        with self._guard:
            self._held.add(token)
        try:
            yield Lock(state, mapping_id, name, token)
        finally:
            with self._guard:
                self._held.discard(token)
            _release(state, [token])

    def write(self, state: State, mapping_ids: Collection[str], write: Callable[[Collection[str]], None]) -> None:
        """Claim these mappings for one transaction. Call `write` with the ids of those that no other process claims.

        `write` may run more than once: see `State.together`. Expired claims of other processes count, too: such a
        mapping is left to `hold`.
        """
        tokens = {one: uuid.uuid4().hex for one in mapping_ids}
        state.claim(tokens, _this_process())

        def confirmed() -> None:
            claims = {(claim.mapping_id, claim.token) for claim in starmap(Claim, state.claims(tokens))}
            others = {mapping_id for mapping_id, _ in claims - tokens.items()}
            write({mapping_id for mapping_id, _ in claims} - others)

        try:
            state.together(confirmed)
        finally:
            _release(state, list(tokens.values()))

    def beat(self, state: State) -> None:
        """Write a heartbeat for all held locks."""
        with self._guard:
            held = sorted(self._held)
        if held:
            state.beat(held)

    def _acquire(self, state: State, mapping_id: str, name: str) -> str:
        token, holder = uuid.uuid4().hex, _this_process()
        for attempts_left in reversed(range(ATTEMPTS)):
            state.claim({mapping_id: token}, holder)
            others = [claim for row in state.claims([mapping_id]) if (claim := Claim(*row)).token != token]
            expired = [claim.token for claim in others if self._break or not claim.live]
            live = [claim for claim in others if claim.token not in expired]
            if expired:
                state.release(expired)
            if not live:
                return token
            state.release([token])
            if not attempts_left or live[0].age > FRESH_SECONDS:
                raise _locked(name, live[0])
            # a random time: the other process may have released its claim, too, and tries again
            self._sleep(random.uniform(0.1, 1))  # noqa: S311  not a secret
        raise AssertionError  # the last attempt returns or raises


def _release(state: State, tokens: Sequence[str]) -> None:
    """Release claims. If that fails, they expire: do not hide the error of the caller."""
    try:
        state.release(tokens)
    except WarehouseError:
        _UNRELEASED.update(tokens)


def _locked(name: str, claim: Claim) -> LockedError:
    return LockedError(
        f"{name} is being synced by {claim.holder} since {claim.since:%Y-%m-%d %H:%M:%S} UTC. Wait until it ends. "
        f"If you are sure that the process has ended, use --break-lock; without a heartbeat, a lock expires after "
        f"{EXPIRY_SECONDS} seconds."
    )


def _this_process() -> str:
    return f"{_machine()} process {os.getpid()}"


def _machine() -> str:
    """Return the name of this machine. The PID namespace distinguishes containers with the same name."""
    namespace = Path("/proc/self/ns/pid")
    return f"{platform.node()}/{namespace.readlink()}" if namespace.exists() else platform.node()


def _is_dead(holder: str) -> bool:
    """Return whether the holder has certainly ended. This is known only of processes of this machine."""
    machine, _, process = holder.rpartition(" process ")
    if machine != _machine() or os.name == "nt":  # on Windows, os.kill would end the process
        return False
    try:
        os.kill(int(process), 0)
    except (OSError, ValueError) as error:  # a running process of another user denies the signal
        return isinstance(error, ProcessLookupError)
    return False


@contextmanager
def heartbeat(beat: Callable[[], None], every: float = BEAT_SECONDS) -> Iterator[None]:
    """Call `beat` every `every` seconds in a separate thread, until the block ends."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(every):
            try:
                beat()
            except WarehouseError:
                continue  # a lock survives missed heartbeats, and the sync meets the same error

    thread = threading.Thread(target=run, name="segconn-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
