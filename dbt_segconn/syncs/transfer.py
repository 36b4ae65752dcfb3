"""An outbox → Segment → the records: what is behind the watermark is sent, and all of it settled."""

from __future__ import annotations

from collections.abc import Iterator

from dbt_segconn.delivery import Canceled, Delivery
from dbt_segconn.errors import LockedError, message_of
from dbt_segconn.state.tables import SyncState
from dbt_segconn.syncs.calls import message_id_prefix, order_of
from dbt_segconn.syncs.guards import former_identifier
from dbt_segconn.syncs.ledger import Ledger
from dbt_segconn.syncs.shares import Share, calls_of, send
from dbt_segconn.syncs.sharing import SharedDelivery
from dbt_segconn.syncs.work import Work


def deliver(work: Work, state: SyncState) -> SyncState:
    """Send what is behind the watermark; what cannot be sent now stays in the outbox."""
    with work.timings.measure("deliver"):
        return _deliver(work, state)


def _deliver(work: Work, state: SyncState) -> SyncState:
    is_resumed = state.invocation_id != work.job.invocation_id
    delivery, steps = _delivery(work, _unsent(work, state))
    with delivery:
        ledger = Ledger(work.book, state, delivery, work.job.clock, is_resumed=is_resumed)
        try:
            for _ in steps:
                work.job.observer.progress(work.sync, ledger.confirmed, state.to_send)
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


def _delivery(work: Work, unsent: Share) -> tuple[Delivery | SharedDelivery, Iterator[None]]:
    """Return the delivery, here or by workers, with the steps that make it."""
    if work.job.workers:
        shared = SharedDelivery(work, work.job.workers, unsent)
        return shared, shared.steps()
    target = work.destination.target
    calls = calls_of(unsent, work.sync, target.write_key)
    delivery = Delivery(
        work.destination,
        start_after=unsent.after,
        stop=work.job.stop,
        order=order_of(work.sync),
        notify=work.note,
        timings=work.timings,
    )
    return delivery, send(unsent, calls, work.tables, work.book.lock, delivery)


def _unsent(work: Work, state: SyncState) -> Share:
    """Return what is to be sent behind the watermark, as one share."""
    kinds = tuple(state.sync_mode.split(","))
    waiting = {kind: changes for kind, changes in work.tables.count().items() if kind in kinds}
    after = max([state.watermark, *([min(changes.first for changes in waiting.values()) - 1] if waiting else [])])
    return Share(
        invocation_id=work.job.invocation_id,
        mapping_id=work.sync.id,
        sync_id=state.sync_id,
        started_at=state.started_at,
        definition=work.sync.definition,
        fingerprint=message_id_prefix(work.destination.target.write_key, state.sync_id),
        kinds=kinds,
        columns=work.source.columns,
        token=work.book.lock.token,
        after=after,
        upto=max([after, *(changes.last for changes in waiting.values())]),
        keeps_identifiers="deleted" in waiting and not _former_identifier(work),
    )


def _former_identifier(work: Work) -> str | None:
    return former_identifier(work.sync, work.book.state.made_records(work.sync.id), work.tables.known())


def settle(work: Work, state: SyncState) -> None:
    """Make the outbox's changes the new records; from here on the sync is history."""
    final = work.book.finished(state, "partial" if state.discarded else "success", _discards_of(state))
    with work.timings.measure("settle"), work.book.state.transaction():
        work.book.lock.confirm()
        work.tables.settle(state, final)
    work.book.logged.append(final)


def _discards_of(state: SyncState) -> str | None:
    if not state.discarded:
        return None
    records = "1 record was" if state.discarded == 1 else f"{state.discarded:,} records were"
    return f"{records} discarded; `dbt-segconn status --discards` says why"
