"""How far a delivery has come, written down: watermark, counts and discards together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from dbt_segconn.delivery import Discard, Progress
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import DiscardRow, HistoryRow, State

SAVE_SECONDS = 1.0
# Where the warehouse is slow, saving takes at most one part in so many of the time
SAVE_SHARE = 20


@dataclass(frozen=True, slots=True)
class Book:
    """Where one mapping's syncs are written down; `logged` is what was written so far. `now` is UTC."""

    state: State
    tables: MappingTables
    lock: Lock
    now: Callable[[], datetime]
    logged: list[HistoryRow]

    def log(self, state: HistoryRow, **changes: Any) -> HistoryRow:
        """Write the sync's next row."""
        logged = state.next(self.now(), **changes)
        self.state.append(self.state.log, [logged])
        self.logged.append(logged)
        return logged

    def finished(self, state: HistoryRow, status: str, error: str | None = None) -> HistoryRow:
        """Return, without writing it, the sync's last row."""
        now = self.now()
        return state.next(now, status=status, finished_at=now, error=error)


class Delivering(Protocol):
    """A delivery under way, in this process or by workers."""

    def progress(self) -> Progress:
        """Say how far it has come."""


class ProgressWriter:
    """Writes one delivery down.

    Only discards at or below the watermark are written; those behind it are met again by a resume.
    `is_resumed`: whether the delivery goes on with what an earlier run has left.
    """

    def __init__(
        self, book: Book, state: HistoryRow, delivery: Delivering, clock: Callable[[], float], *, is_resumed: bool
    ) -> None:
        self._book = book
        self._state = state
        self._delivery = delivery
        self._clock = clock
        self._is_resumed = is_resumed
        self._discards: list[Discard] = []
        self._before = state.confirmed
        self._settled = 0
        self._save_at = clock() + SAVE_SECONDS

    @property
    def confirmed(self) -> int:
        """The calls of this sync that were ever confirmed, as the last look at the delivery had it."""
        return self._before + self._progress().confirmed

    def save_when_due(self) -> None:
        """Save, unless that was done a moment ago."""
        if self._clock() >= self._save_at:
            self.save(status="running")

    def save(self, **changes: Any) -> HistoryRow:
        """Write the next row of the sync's log, with the discards that it counts. Raises LockedError."""
        began = self._clock()
        progress = self._progress()
        due = [discard for discard in self._discards if discard.change_number <= progress.watermark]
        state = self._next(progress, due, **changes)
        with self._book.state.transaction():
            self._book.lock.confirm()
            self._book.tables.discards.append(self._rows(due, state))
            self._book.state.append(self._book.state.log, [state])
        # only now: what could not be saved is saved with the next attempt
        self._discards = [discard for discard in self._discards if discard.change_number > progress.watermark]
        self._settled = progress.settled
        self._state = state
        self._book.logged.append(state)
        self._save_at = self._clock() + max(SAVE_SECONDS, SAVE_SHARE * (self._clock() - began))
        return state

    def _next(self, progress: Progress, due: Sequence[Discard], **changes: Any) -> HistoryRow:
        confirmed = progress.settled - self._settled - len(due)
        return self._state.next(
            self._book.now(),
            watermark=progress.watermark,
            sent=self._state.sent + confirmed + sum(discard.by_segment for discard in due),
            confirmed=self._state.confirmed + confirmed,
            resumed=self._state.resumed + (confirmed if self._is_resumed else 0),
            discarded=self._state.discarded + len(due),
            **changes,
        )

    def _progress(self) -> Progress:
        progress = self._delivery.progress()
        self._discards.extend(progress.discards)
        return progress

    def _rows(self, discards: Sequence[Discard], state: HistoryRow) -> list[DiscardRow]:
        changes = self._book.tables.describe([discard.change_number for discard in discards])
        return [
            DiscardRow(
                sync_id=state.sync_id,
                mapping_id=state.mapping_id,
                mapping=state.mapping,
                definition=state.definition,
                change_type=changes[discard.change_number].change_type,
                record_id=changes[discard.change_number].record_id,
                checksum=changes[discard.change_number].checksum,
                reason=discard.reason,
                discarded_at=state.saved_at,
                # what an earlier run may have sent before it ended, Segment may have taken
                doubtful=int(discard.by_segment and (self._is_resumed or discard.is_repeated)),
            )
            for discard in discards
        ]
