"""An outbox → Segment → the records: what is behind the watermark is sent, and all of it settled."""

from __future__ import annotations

from collections.abc import Iterator

from dbt_segconn.delivery import Canceled, Delivery
from dbt_segconn.engine.calls import message_id_prefix, order_of
from dbt_segconn.engine.guards import former_identifier
from dbt_segconn.engine.progress import ProgressWriter
from dbt_segconn.engine.range_delivery import RangeDelivery
from dbt_segconn.engine.ranges import Range, calls_of, send
from dbt_segconn.engine.work import Sync
from dbt_segconn.errors import LockedError, message_of
from dbt_segconn.state.tables import HistoryRow


def deliver(work: Sync, state: HistoryRow) -> HistoryRow:
    """Send what is behind the watermark; what cannot be sent now stays in the outbox."""
    with work.timings.measure("deliver"):
        return _deliver(work, state)


def _deliver(work: Sync, state: HistoryRow) -> HistoryRow:
    is_resumed = state.run_id != work.job.run_id
    delivery, steps = _delivery(work, _unsent(work, state))
    with delivery:
        ledger = ProgressWriter(work.book, state, delivery, work.job.clock, is_resumed=is_resumed)
        try:
            for _ in steps:
                work.job.observer.progress(work.mapping, ledger.confirmed, state.to_send)
                ledger.save_when_due()
            delivery.finish()
        except Canceled:
            delivery.close()  # what is in flight counts, too
            ledger.save(status="canceled")
            raise
        except LockedError:
            raise  # whoever holds the lock now writes the log
        except Exception as error:
            delivery.close()
            ledger.save(status="failed", error=message_of(error))
            raise
        return ledger.save(status="settling")


def _delivery(work: Sync, unsent: Range) -> tuple[Delivery | RangeDelivery, Iterator[None]]:
    """Return the delivery, here or by workers, with the steps that make it."""
    if work.job.workers:
        shared = RangeDelivery(work, work.job.workers, unsent)
        return shared, shared.steps()
    config = work.destination.config
    calls = calls_of(unsent, work.mapping, config.write_key)
    delivery = Delivery(
        work.destination,
        start_after=unsent.after,
        stop=work.job.stop,
        order=order_of(work.mapping),
        notify=work.note,
        timings=work.timings,
    )
    return delivery, send(unsent, calls, work.tables, work.book.lock, delivery)


def _unsent(work: Sync, state: HistoryRow) -> Range:
    """Return what is to be sent behind the watermark, as one share."""
    change_types = tuple(state.sync_mode.split(","))
    waiting = {
        change_type: changes for change_type, changes in work.tables.count().items() if change_type in change_types
    }
    after = max([state.watermark, *([min(changes.first for changes in waiting.values()) - 1] if waiting else [])])
    return Range(
        run_id=work.job.run_id,
        mapping_id=work.mapping.id,
        sync_id=state.sync_id,
        started_at=state.started_at,
        definition=work.mapping.definition,
        fingerprint=message_id_prefix(work.destination.config.write_key, state.sync_id),
        change_types=change_types,
        columns=work.source.columns,
        token=work.book.lock.token,
        after=after,
        upto=max([after, *(changes.last for changes in waiting.values())]),
        keeps_identifiers="deleted" in waiting and not _former_identifier(work),
    )


def _former_identifier(work: Sync) -> str | None:
    return former_identifier(work.mapping, work.book.state.made_records(work.mapping.id), work.tables.known())


def settle(work: Sync, state: HistoryRow) -> None:
    """Make the outbox's changes the new records; from here on the sync is history."""
    final = work.book.finished(state, "partial" if state.discarded else "success", _discards_of(state))
    with work.timings.measure("settle"), work.book.state.transaction():
        work.book.lock.confirm()
        work.tables.settle(state, final)
    work.book.logged.append(final)


def _discards_of(state: HistoryRow) -> str | None:
    if not state.discarded:
        return None
    records = "1 record was" if state.discarded == 1 else f"{state.discarded:,} records were"
    return f"{records} discarded; `dbt-segconn status --discards` says why"
