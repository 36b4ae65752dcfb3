"""How far a delivery is, saved to the history: watermark, counts and discards in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dbt_segconn.delivery import Discard, Progress
from dbt_segconn.engine.sync import Sync
from dbt_segconn.state.tables import DiscardRow, HistoryRow

SAVE_SECONDS = 1.0
# In a slow warehouse, saving takes at most one part in SAVE_SHARE of the time
SAVE_SHARE = 20


class Delivering(Protocol):
    """A delivery under way, in this process or in workers."""

    def progress(self) -> Progress:
        """Return how far it is."""


class ProgressWriter:
    """Saves the progress of one delivery.

    It saves only discards at or below the watermark: a resumed delivery meets the others again. `is_resumed` says
    that the outbox is of an earlier run.
    """

    def __init__(self, sync: Sync, row: HistoryRow, delivery: Delivering, *, is_resumed: bool) -> None:
        self._sync = sync
        self._row = row
        self._delivery = delivery
        self._clock = sync.run.clock
        self._is_resumed = is_resumed
        self._discards: list[Discard] = []
        self._before = row.confirmed
        self._settled = 0
        self._save_at = self._clock() + SAVE_SECONDS

    @property
    def confirmed(self) -> int:
        """The calls of this sync that were confirmed by any run so far."""
        return self._before + self._progress().confirmed

    def save_when_due(self) -> None:
        """Save, unless the last save is recent."""
        if self._clock() >= self._save_at:
            self.save(status="running")

    def save(self, **changes: Any) -> HistoryRow:
        """Write the next row of the sync, with the discards that it counts. Raise LockedError if the lock was lost."""
        began = self._clock()
        progress = self._progress()
        due = [discard for discard in self._discards if discard.change_number <= progress.watermark]
        row = self._next(progress, due, **changes)
        rows = self._rows_of(due, row)
        self._sync.save(row, lambda: self._sync.tables.discards.append(rows))
        # after the commit: the next save repeats what this one could not write
        self._discards = [discard for discard in self._discards if discard.change_number > progress.watermark]
        self._settled = progress.settled
        self._row = row
        self._save_at = self._clock() + max(SAVE_SECONDS, SAVE_SHARE * (self._clock() - began))
        return row

    def _next(self, progress: Progress, due: Sequence[Discard], **changes: Any) -> HistoryRow:
        row, confirmed = self._row, progress.settled - self._settled - len(due)
        return row.next(
            self._sync.run.now(),
            watermark=progress.watermark,
            sent=row.sent + confirmed + sum(discard.by_segment for discard in due),
            confirmed=row.confirmed + confirmed,
            resumed=row.resumed + (confirmed if self._is_resumed else 0),
            discarded=row.discarded + len(due),
            **changes,
        )

    def _progress(self) -> Progress:
        progress = self._delivery.progress()
        self._discards.extend(progress.discards)
        return progress

    def _rows_of(self, discards: Sequence[Discard], row: HistoryRow) -> list[DiscardRow]:
        changes = self._sync.tables.describe([discard.change_number for discard in discards])
        return [
            DiscardRow(
                sync_id=row.sync_id,
                mapping_id=row.mapping_id,
                mapping=row.mapping,
                definition=row.definition,
                change_type=changes[discard.change_number].change_type,
                record_id=changes[discard.change_number].record_id,
                checksum=changes[discard.change_number].checksum,
                reason=discard.reason,
                discarded_at=row.saved_at,
                # Segment may have accepted the call when an earlier run sent it
                doubtful=int(discard.by_segment and (self._is_resumed or discard.is_repeated)),
            )
            for discard in discards
        ]
