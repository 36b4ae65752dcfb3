"""What the steps of a sync share: the job of its run, and the sync under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from dbt_segconn.delivery import Destination
from dbt_segconn.project.plan import Sync
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.state.locks import Locks
from dbt_segconn.state.outbox import MappingState
from dbt_segconn.state.tables import SyncState, new_state
from dbt_segconn.syncs.budget import Budget
from dbt_segconn.syncs.ledger import Book
from dbt_segconn.syncs.shares import Workers
from dbt_segconn.timings import Timings
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source


class Observer(Protocol):
    """Who watches a sync: a terminal, a log, nobody."""

    def note(self, sync: Sync, text: str) -> None:
        """Hear of something that the user should know before the sync ends."""

    def progress(self, sync: Sync, done: int, total: int) -> None:
        """Hear how many of the changes to send are done."""


@dataclass(frozen=True, slots=True)
class Job:
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
    invocation_id: str
    dbt_invocation_of: Callable[[str], str | None]
    budget: Budget
    mapping_ids: Collection[str] = ()
    full_refresh: bool = False
    baseline: bool = False
    retry: bool = False
    allow_guarded: Collection[str] = ()
    workers: Workers | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One sync under way."""

    sync: Sync
    source: Source
    destination: Destination
    job: Job
    book: Book
    timings: Timings = field(default_factory=Timings)

    @property
    def tables(self) -> MappingState:
        """The mapping's records and outbox."""
        return self.book.tables

    def note(self, text: str) -> None:
        """Tell whoever watches."""
        self.job.observer.note(self.sync, text)

    def new_state(self, sync_mode: str = "") -> SyncState:
        """Return the first row of a sync, not yet logged."""
        state = new_state(
            self.sync, self.job.now(), sync_mode=sync_mode, invocation_id=self.job.invocation_id, source=self.source
        )
        return replace(state, dbt_invocation_id=self.job.dbt_invocation_of(self.sync.model.unique_id))
