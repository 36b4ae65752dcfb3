"""The last steps of a sync: deliver the outbox to Segment, then settle it as the new records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from dbt_segconn.delivery import Canceled, Delivery, Discard, Progress
from dbt_segconn.engine.calls import message_id_prefix, order_of
from dbt_segconn.engine.guards import former_identifier
from dbt_segconn.engine.range_delivery import RangeDelivery
from dbt_segconn.engine.ranges import Range, calls_of, send
from dbt_segconn.engine.sync import Sync
from dbt_segconn.errors import LockedError, counted, message_of
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


def deliver(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Send the changes above the watermark, and return the `settling` row. What cannot be sent stays in the outbox."""
    with sync.timings.measure("deliver"):
        delivery, send_all = _delivery(sync, unsent(sync, row))
        with delivery:
            writer = ProgressWriter(sync, row, delivery, is_resumed=row.run_id != sync.run.run_id)

            def report() -> None:
                sync.run.listener.progress(sync.mapping, writer.confirmed, row.to_send)
                writer.save_when_due()

            try:
                send_all(report)
                delivery.finish()
            except Canceled:
                delivery.close()  # calls in flight are confirmed first
                writer.save(status="canceled")
                raise
            except LockedError:
                raise  # the process that holds the lock now writes the history
            except Exception as error:
                delivery.close()
                writer.save(status="failed", error=message_of(error))
                raise
            return writer.save(status="settling")


def _delivery(sync: Sync, unsent: Range) -> tuple[Delivery | RangeDelivery, Callable[[Callable[[], None]], None]]:
    """Return the delivery, in this process or by workers, and the function that sends all of it."""
    run, destination = sync.run, sync.destination
    if run.workers:
        by_workers = RangeDelivery(sync, run.workers, unsent)
        return by_workers, by_workers.run
    delivery = Delivery(
        destination,
        start_after=unsent.after,
        stop=run.stop,
        order=order_of(sync.mapping),
        notify=sync.note,
        timings=sync.timings,
    )
    calls = calls_of(unsent, sync.mapping, destination.config.write_key)
    return delivery, partial(send, unsent, calls, sync.tables, sync.lock, delivery)


def unsent(sync: Sync, row: HistoryRow) -> Range:
    """Return the changes above the watermark as one range."""
    mapping = sync.mapping
    change_types = tuple(row.sync_mode.split(","))
    waiting = {one: changes for one, changes in sync.tables.count().items() if one in change_types}
    after = max([row.watermark, *([min(changes.first for changes in waiting.values()) - 1] if waiting else [])])
    return Range(
        run_id=sync.run.run_id,
        mapping_id=mapping.id,
        sync_id=row.sync_id,
        started_at=row.started_at,
        definition=mapping.definition,
        fingerprint=message_id_prefix(sync.destination.config.write_key, row.sync_id),
        change_types=change_types,
        columns=sync.source.columns,
        token=sync.lock.token,
        after=after,
        upto=max([after, *(changes.last for changes in waiting.values())]),
        keeps_identifiers="deleted" in waiting and not _former_identifier(sync),
    )


def _former_identifier(sync: Sync) -> str | None:
    return former_identifier(sync.mapping, sync.made_records(), sync.tables.known())


def settle(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Apply the outbox to the records, drop it, and return the last row of the sync."""
    final = sync.ended(row, "partial" if row.discarded else "success", _discards_of(row))
    with sync.timings.measure("settle"):
        sync.save(final, lambda: _settle(sync, row, final))
    return final


def _settle(sync: Sync, row: HistoryRow, final: HistoryRow) -> None:
    with_hashes = sync.mapping.meta.changed_columns
    sync.tables.deliveries.log(row, final.saved_at, sync.source if with_hashes else None)
    sync.tables.settle(row, final, with_hashes=with_hashes)


def _discards_of(row: HistoryRow) -> str | None:
    if not row.discarded:
        return None
    verb = "was" if row.discarded == 1 else "were"
    return f"{counted(row.discarded, 'record')} {verb} discarded; `dbt-segconn status --discards` shows the reasons"
