"""One sync of a mapping: what its steps read, write to the history, and report."""

from __future__ import annotations

import threading
from collections import abc
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial, wraps
from typing import Any, Protocol

from dbt_segconn.delivery import Destination, Request
from dbt_segconn.engine.calls import message_id_prefix
from dbt_segconn.engine.gate import Choice, RunResult, SyncResult
from dbt_segconn.engine.guards import Budget, former_identifier
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.ranges import Workers
from dbt_segconn.errors import SegconnError
from dbt_segconn.process_tuning import Timings
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.run_results import RunResults
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.project.tracking_plan import ViolationCounts
from dbt_segconn.state.locks import Lock, Locks
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, State, new_row, open_state
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source


class Listener:
    """Base class for run listeners. Every method is a no-op. Syncs call it from their own threads.

    If a method raises an exception, the run warns of it and continues. The text of a SegconnError becomes the warning.
    """

    observes_requests = False
    """Whether `request` is called."""

    def open(self, project: Project, run_id: str) -> None:
        """Receive the run, before its warehouse is opened."""

    def connect(self, warehouse: Warehouse, sources: abc.Mapping[str, Source]) -> None:
        """Receive the open warehouse, and the source of each mapping to sync, by mapping id."""

    def begin(self, project: Project, choice: Choice) -> None:
        """Receive the mappings that will be synced, before the first sync starts."""

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Receive the start of a sync: `number` of `total`."""

    def enter(self, mapping: Mapping, step: str) -> None:
        """Receive the start of a step: resume, apply, stage, deliver or settle. The first two may contain others."""

    def leave(self, mapping: Mapping, step: str, error: BaseException | None) -> None:
        """Receive the end of a step, with the exception that ended it."""

    def request(self, mapping: Mapping, request: Request) -> None:
        """Receive a request of a sync after its end, from any thread."""

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Receive the result of a sync."""

    def finish(self, outcome: RunResult | Exception) -> None:
        """Receive the result of the run, or the exception with which it ended before its syncs."""

    def note(self, mapping: Mapping, text: str) -> None:
        """Receive a text that the user should read before the sync ends."""

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Receive the number of confirmed calls (`done`), of `total` calls to send."""

    def warn(self, text: str) -> None:
        """Receive a failure outside of the syncs, such as an alert that was not sent."""


def _forwarding(name: str) -> Callable[..., None]:
    def forward(self: ShieldedListener, *arguments: Any) -> None:
        self.forward(name, *arguments)

    return forward


class ShieldedListener(Listener):
    """Forwards to other listeners. An exception of a listener becomes a warning and stops no delivery."""

    def __init__(self, listeners: Collection[Listener]) -> None:
        self._listeners = listeners
        self.observes_requests = any(one.observes_requests for one in listeners)
        self._warnings: dict[str, None] = {}  # a dict, because it keeps the order

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings so far, each once."""
        return tuple(self._warnings)

    open = _forwarding("open")
    connect = _forwarding("connect")
    begin = _forwarding("begin")
    start = _forwarding("start")
    enter = _forwarding("enter")
    leave = _forwarding("leave")
    request = _forwarding("request")
    end = _forwarding("end")
    finish = _forwarding("finish")
    note = _forwarding("note")
    progress = _forwarding("progress")

    def warn(self, text: str) -> None:
        """Keep the warning and forward it."""
        self._warnings[text] = None
        self.forward("warn", text)

    def forward(self, name: str, *arguments: Any) -> None:
        """Call a method of the other listeners."""
        for listener in self._listeners:
            try:
                getattr(listener, name)(*arguments)
            except Exception as error:  # noqa: BLE001  a listener must not stop a sync
                self._report(name, error)

    def _report(self, name: str, error: Exception) -> None:
        """Warn of an exception, once."""
        # only its type: the text of an unexpected exception may have values of rows
        text = f"the listener's method {name} raised {type(error).__name__}"
        text = str(error) if isinstance(error, SegconnError) else text
        if name == "warn":  # warning the same listener again would not end
            self._warnings[text] = None
        elif text not in self._warnings:
            self.warn(text)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all syncs of a run share. `now` returns the warehouse's time in UTC, `clock` returns seconds.

    `results` are those of dbt, if they gate the run. `mapping_ids` are the ids of all mappings of the project: other
    ids in the history belong to mappings that were removed. `baseline` settles changes without sending them. `retry`
    sends given-up records again. `workers` deliver instead of this process. With a `plan`, syncs end once they are
    staged. `applied`: mapping id → id of the planned sync to deliver; nothing is staged then.
    """

    warehouse: Warehouse
    settings: StateSettings
    locks: Locks
    listener: Listener
    stop: threading.Event
    now: Callable[[], datetime]
    clock: Callable[[], float]
    run_id: str
    results: RunResults | None
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
    """Receives each sync once it is staged; it is not delivered then. `PlanFile` is one."""

    def add(self, sync: Sync, row: HistoryRow) -> None:
        """Receive a sync whose outbox is staged. Its session is open. Syncs call it from their own threads."""


def first_row(mapping: Mapping, source: Source, run: RunContext) -> HistoryRow:
    """Return the first row of a new sync. It is not written yet."""
    row = new_row(mapping, run.now(), run_id=run.run_id, source=source)
    # without results, models are taken as they are. Later steps, and the sync of the rest, may use the same results
    if run.results is None or source.step:
        return row
    return replace(row, dbt_invocation_id=run.results.invocation_of(mapping.model.unique_id))


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync of a mapping, from lock to settle. `rows` are the history rows that it has written, in order."""

    mapping: Mapping
    source: Source
    destination: Destination
    run: RunContext
    state: State
    tables: MappingTables
    lock: Lock
    rows: list[HistoryRow]
    timings: Timings = field(default_factory=Timings)
    violations: ViolationCounts = field(default_factory=ViolationCounts)
    # what `last_row` has read: a list, because the class is frozen
    _read: list[HistoryRow | None] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Report something that the user should know before the sync ends."""
        self.run.listener.note(self.mapping, text)

    def message_prefix(self, sync_id: str) -> str | None:
        """Return the prefix of the messageIds of a sync; None if the mapping may make its own."""
        # a mapping may be one directive instead of fields, and that may make one, too
        makes_own = any(name == "message_id" or name.startswith("@") for name in self.mapping.fields)
        return None if makes_own else message_id_prefix(self.destination.config.write_key, sync_id)

    @contextmanager
    def open_tables(self) -> Iterator[MappingTables]:
        """Open the tables of the mapping in a further session, for the thread that calls this."""
        with open_state(self.run.warehouse, self.run.settings, self.mapping.id) as state:
            yield MappingTables(state, self.mapping.id)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Report the start and the end of a step to the listener."""
        self.run.listener.enter(self.mapping, name)
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            self.run.listener.leave(self.mapping, name, failure)

    @property
    def observe(self) -> Callable[[Request], None] | None:
        """The function that receives the requests of this sync; None if no listener observes them."""
        listener = self.run.listener
        return partial(listener.request, self.mapping) if listener.observes_requests else None

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
        """Return the newest row of the mapping in the history; None if there is none."""
        # read once: on a long history, this query costs more than all others of a sync without changes
        if not self.rows and not self._read:
            self._read.append(self.state.last_sync(self.mapping.id))
        return self.rows[-1] if self.rows else self._read[0]

    def made_records(self) -> HistoryRow | None:
        """Return the sync that last changed the mapping's records."""
        return self.state.made_records(self.mapping.id, filter(None, (*reversed(self.rows), *self._read)))

    def former_identifier(self) -> str | None:
        """Return the unique identifier of the mapping's records if it is another one now."""
        return former_identifier(self.mapping, self.made_records(), self.tables.known())


Step = Callable[[Sync, HistoryRow], HistoryRow]
"""Takes the row that the step before it has written, and returns its own.

A row with `finished_at` is the last one: the remaining steps are left out.
"""


def timed_step(function: Step) -> Step:
    """Report each call of a step to the listener, under the name of the function, and measure its time."""
    name = function.__name__

    @wraps(function)
    def step(sync: Sync, row: HistoryRow) -> HistoryRow:
        with sync.step(name), sync.timings.measure(name):
            return function(sync, row)

    return step
