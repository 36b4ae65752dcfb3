"""The last steps of a sync: deliver the outbox to Segment, then settle it as the new records."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dbt_segconn.delivery import Canceled, Delivery
from dbt_segconn.engine.calls import message_id_prefix, order_of
from dbt_segconn.engine.guards import former_identifier
from dbt_segconn.engine.progress import ProgressWriter
from dbt_segconn.engine.range_delivery import RangeDelivery
from dbt_segconn.engine.ranges import Range, calls_of, send
from dbt_segconn.engine.sync import Sync
from dbt_segconn.errors import LockedError, counted, message_of
from dbt_segconn.state.tables import HistoryRow


def deliver(sync: Sync, row: HistoryRow) -> HistoryRow:
    """Send the changes above the watermark, and return the `settling` row. What cannot be sent stays in the outbox."""
    with sync.timings.measure("deliver"):
        delivery, send_all = _delivery(sync, _unsent(sync, row))
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


def _unsent(sync: Sync, row: HistoryRow) -> Range:
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
        sync.save(final, lambda: sync.tables.settle(row, final, with_hashes=sync.mapping.meta.changed_columns))
    return final


def _discards_of(row: HistoryRow) -> str | None:
    if not row.discarded:
        return None
    verb = "was" if row.discarded == 1 else "were"
    return f"{counted(row.discarded, 'record')} {verb} discarded; `dbt-segconn status --discards` shows the reasons"
