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

# Seconds between two saved watermarks: what the next run may send again after a crash
SAVE_SECONDS = 1.0
# Saving takes at most 1/SAVE_SHARE of the time: a slow warehouse saves less often. On Databricks, each save is a file
SAVE_SHARE = 20


class Delivering(Protocol):
    """A delivery that is running, in this process or in workers."""

    def progress(self) -> Progress:
        """Return how far it is. Each discard is returned once."""


class ProgressWriter:
    """Saves the progress of one delivery.

    It saves only discards at or below the watermark: a resumed delivery finds the others again. `is_resumed`: an
    earlier run staged the outbox.
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
        """The number of calls of this sync that were confirmed so far, in this run or before."""
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
            # Segment has answered confirmed calls, and discarded ones that it refused
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
    """Send the changes above the watermark, and return the `settling` row.

    After an error or an interrupt, the progress is saved, and the rest stays in the outbox for the next run.
    """
    with sync.timed_step("deliver"):
        delivery, send_all = _delivery(sync, unsent(sync, row))
        with delivery:
            writer = ProgressWriter(sync, row, delivery, is_resumed=row.run_id != sync.run.run_id)

            def report() -> None:
                sync.run.listener.progress(sync.mapping, writer.confirmed, row.to_send)
                writer.save_when_due()

            try:
                send_all(report)
                delivery.finish()
                if sync.violations.found:
                    sync.note(sync.violations.line())
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
    """Return the delivery, in this process or by workers, and the function that sends all changes through it."""
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
        observe=sync.observe,
    )
    calls = calls_of(unsent, sync.mapping, destination.config.write_key, sync.violations)
    return delivery, partial(send, unsent, calls, sync.tables, sync.lock, delivery)


def unsent(sync: Sync, row: HistoryRow) -> Range:
    """Return the changes above the watermark as one range."""
    mapping = sync.mapping
    change_types = tuple(row.sync_mode.split(","))
    waiting = {one: changes for one, changes in sync.tables.count().items() if one in change_types}
    # changes that are not sent may have the first and last numbers: skip their pages
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
        # the record ids of known records have the columns of the former identifier, if it has changed
        keeps_identifiers="deleted" in waiting and not _former_identifier(sync),
        integrations=mapping.run_integrations,
        observes_requests=sync.observe is not None,
    )


def _former_identifier(sync: Sync) -> str | None:
    return former_identifier(sync.mapping, sync.made_records(), sync.tables.known())


def settle(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Apply the outbox to the records, drop it, and return the last row of the sync."""
    final = sync.ended(row, "partial" if row.discarded else "success", _discards_of(row))
    with sync.timed_step("settle"):
        sync.save(final, lambda: _settle(sync, row, final))
    return final


def _settle(sync: Sync, row: HistoryRow, final: HistoryRow) -> None:
    with_hashes = sync.mapping.meta.changed_columns
    # first the log, which compares the outbox with the former records
    sync.tables.deliveries.log(row, final.saved_at, sync.source if with_hashes else None)
    sync.tables.settle(row, final, with_hashes=with_hashes)


def _discards_of(row: HistoryRow) -> str | None:
    if not row.discarded:
        return None
    verb = "was" if row.discarded == 1 else "were"
    return f"{counted(row.discarded, 'record')} {verb} discarded; `dbt-segconn status --discards` shows the reasons"
