"""One sync of a mapping: what its steps read, write to the history, and report."""

from __future__ import annotations

import threading
from collections import abc
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from dbt_segconn.delivery import Destination
from dbt_segconn.engine.block_reasons import Budget
from dbt_segconn.engine.gate import Choice, SyncResult
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.ranges import Workers
from dbt_segconn.process_tuning import Timings
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.state.locks import Lock, Locks
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, State, new_row
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source


class Listener:
    """Base class for run listeners. Every method is a no-op. Syncs call it from their own threads."""

    def begin(self, project: Project, choice: Choice) -> None:
        """Receive the mappings that will be synced, before the first sync starts."""

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Receive the start of a sync: `number` of `total`."""

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Receive the result of a sync."""

    def note(self, mapping: Mapping, text: str) -> None:
        """Receive what the user should know before the sync ends."""

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Receive how many calls are confirmed, of those to send."""

    def warn(self, text: str) -> None:
        """Receive what failed beside the syncs, such as an alert that was not sent."""


def _forwarding(name: str) -> Callable[..., None]:
    def forward(self: ShieldedListener, *arguments: Any) -> None:
        self.forward(name, *arguments)

    return forward


class ShieldedListener(Listener):
    """Forwards to another listener. An exception of that listener becomes a warning and stops no delivery."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._warnings: dict[str, None] = {}  # a dict, because it keeps the order

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings so far, each once."""
        return tuple(self._warnings)

    begin = _forwarding("begin")
    start = _forwarding("start")
    end = _forwarding("end")
    note = _forwarding("note")
    progress = _forwarding("progress")

    def warn(self, text: str) -> None:
        """Keep the warning and forward it."""
        self._warnings[text] = None
        self.forward("warn", text)

    def forward(self, name: str, *arguments: Any) -> None:
        """Call a method of the other listener."""
        try:
            getattr(self._listener, name)(*arguments)
        except Exception as error:  # noqa: BLE001  a listener must not stop a sync
            self._warnings[f"the listener's method {name} raised {type(error).__name__}"] = None


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all syncs of a run share. `now` returns the warehouse's time in UTC, `clock` counts seconds.

    `mapping_ids` are the ids of all mappings of the project: other ids in the history are of mappings that were
    removed. `baseline` settles changes without sending them. `retry` sends given-up records again. `workers`
    deliver instead of this process. With a `plan`, syncs end once they are staged. `applied`: mapping id → id of the
    planned sync to deliver; nothing is staged.
    """

    warehouse: Warehouse
    settings: StateSettings
    locks: Locks
    listener: Listener
    stop: threading.Event
    now: Callable[[], datetime]
    clock: Callable[[], float]
    run_id: str
    dbt_invocation_of: Callable[[str], str | None]
    budget: Budget
    mapping_ids: Collection[str] = ()
    full_refresh: bool = False
    baseline: bool = False
    retry: bool = False
    allow_guarded: Collection[str] = ()
    workers: Workers | None = None
    plan: Plan | None = None
    applied: abc.Mapping[str, str] | None = None


class Plan(Protocol):
    """Receives what each sync has staged, instead of a delivery."""

    def add(self, sync: Sync, row: HistoryRow) -> None:
        """Receive a sync whose outbox is staged. Its session is open. Syncs call it from their own threads."""


def first_row(mapping: Mapping, source: Source, run: RunContext) -> HistoryRow:
    """Return the first row of a new sync."""
    row = new_row(mapping, run.now(), run_id=run.run_id, source=source)
    return replace(row, dbt_invocation_id=run.dbt_invocation_of(mapping.model.unique_id))


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync under way. `rows` are the history rows that it has written, in order."""

    mapping: Mapping
    source: Source
    destination: Destination
    run: RunContext
    state: State
    tables: MappingTables
    lock: Lock
    rows: list[HistoryRow]
    timings: Timings = field(default_factory=Timings)
    _read: list[HistoryRow | None] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Report something that the user should know before the sync ends."""
        self.run.listener.note(self.mapping, text)

    def new_row(self) -> HistoryRow:
        """Return the first row of a new sync. It is not written yet."""
        return first_row(self.mapping, self.source, self.run)

    def write(self, row: HistoryRow, **changes: Any) -> HistoryRow:
        """Write the next row of a sync to the history, with these columns changed."""
        written = row.next(self.run.now(), **changes)
        self.state.append(self.state.history, [written])
        self.rows.append(written)
        return written

    def end(self, row: HistoryRow, status: str, error: str | None = None, **changes: Any) -> HistoryRow:
        """Write the last row of a sync to the history."""
        return self.write(row, status=status, finished_at=self.run.now(), error=error, **changes)

    def ended(self, row: HistoryRow, status: str, error: str | None = None) -> HistoryRow:
        """Return the last row of a sync. It is not written yet."""
        now = self.run.now()
        return row.next(now, status=status, finished_at=now, error=error)

    def save(self, row: HistoryRow, apply: Callable[[], None]) -> None:
        """Run `apply` and write the row, in one transaction. Raise LockedError if the lock was lost.

        `apply` may run more than once: see `State.together`.
        """

        def save() -> None:
            self.lock.confirm()
            apply()
            self.state.append(self.state.history, [row])

        self.state.together(save)
        self.rows.append(row)

    def last_row(self) -> HistoryRow | None:
        """Return the newest row of the mapping in the history."""
        if not self.rows and not self._read:  # on a long history, the query costs more than an idle sync
            self._read.append(self.state.last_sync(self.mapping.id))
        return self.rows[-1] if self.rows else self._read[0]

    def made_records(self) -> HistoryRow | None:
        """Return the sync that last changed the mapping's records."""
        return self.state.made_records(self.mapping.id)
