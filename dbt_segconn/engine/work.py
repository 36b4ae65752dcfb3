"""What the steps of a sync share: the job of its run, and the sync under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from dbt_segconn.delivery import Destination
from dbt_segconn.engine.budget import Budget
from dbt_segconn.engine.progress import Book
from dbt_segconn.engine.ranges import Workers
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.state.locks import Locks
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, new_state
from dbt_segconn.timings import Timings
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source


class Observer(Protocol):
    """Who watches a sync: a terminal, a log, nobody."""

    def note(self, mapping: Mapping, text: str) -> None:
        """Hear of something that the user should know before the sync ends."""

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Hear how many of the changes to send are done."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all syncs of one invocation share. `now` is the warehouse's time in UTC, `clock` counts seconds.

    `mapping_ids` are those of all mappings of the project, to tell which of the history are gone. `baseline`
    settles every change without sending it, `retry` takes up given-up records again; `workers`, where there are
    any, deliver in place of this process.
    """

    warehouse: Warehouse
    settings: StateSettings
    locks: Locks
    observer: Observer
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


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync under way."""

    mapping: Mapping
    source: Source
    destination: Destination
    job: RunContext
    book: Book
    timings: Timings = field(default_factory=Timings)

    @property
    def tables(self) -> MappingTables:
        """The mapping's records and outbox."""
        return self.book.tables

    def note(self, text: str) -> None:
        """Tell whoever watches."""
        self.job.observer.note(self.mapping, text)

    def new_state(self, sync_mode: str = "") -> HistoryRow:
        """Return the first row of a sync, not yet logged."""
        state = new_state(self.mapping, self.job.now(), sync_mode=sync_mode, run_id=self.job.run_id, source=self.source)
        return replace(state, dbt_invocation_id=self.job.dbt_invocation_of(self.mapping.model.unique_id))
