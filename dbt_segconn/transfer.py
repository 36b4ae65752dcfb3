"""An outbox → Segment → the records: what is behind the watermark is sent, and all of it settled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dbt_segconn.calls import CallMaker
from dbt_segconn.delivery import Canceled, Delivery
from dbt_segconn.errors import LockedError, SegconnError
from dbt_segconn.ledger import Ledger
from dbt_segconn.state import SyncState
from dbt_segconn.warehouse.session import Row
from dbt_segconn.work import Work

# Changes read from the outbox at once: many enough for the warehouse, few enough for memory
PAGE = 20_000
# Changes handed to delivery at once; between two portions the watermark may be saved
PORTION = 1_000


def deliver(work: Work, state: SyncState) -> SyncState:
    """Send what is behind the watermark; what cannot be sent now stays in the outbox."""
    destination = work.destination
    calls = CallMaker(
        work.sync,
        work.source.columns,
        write_key=destination.target.write_key,
        sync_id=state.sync_id,
        started_at=state.started_at,
    )
    is_resumed = state.invocation_id != work.job.invocation_id
    with Delivery(destination, start_after=state.watermark, stop=work.job.stop, notify=work.note) as delivery:
        ledger = Ledger(work.book, state, delivery, work.job.clock, is_resumed=is_resumed)
        try:
            for portion in _portions(work, state):
                made = calls.many(portion, delivery.refuse)
                delivery.send(made.numbers, made.record_ids, made.calls, are_checked=made.are_checked)
                work.job.observer.progress(work.sync, ledger.confirmed, state.to_send)
                ledger.save_when_due()
            delivery.finish()
        except Canceled:
            delivery.close()  # what is in flight counts, too
            ledger.save(status="canceled")
            raise
        except LockedError:
            raise  # whoever holds the lock now writes the log
        except SegconnError as error:
            delivery.close()
            ledger.save(status="failed", error=str(error))
            raise
        return ledger.save(status="settling")


def _portions(work: Work, state: SyncState) -> Iterator[Sequence[Row]]:
    """Read the outbox from the watermark on, a page at a time, as long as the lock is ours."""
    kinds = state.sync_mode.split(",")
    waiting = [changes for kind, changes in work.tables.count().items() if kind in kinds]
    if not waiting:
        return
    after = max(state.watermark, min(changes.first for changes in waiting) - 1)
    last = max(changes.last for changes in waiting)
    for low in range(after, last, PAGE):
        page = work.tables.read(work.source.columns, kinds, low, min(low + PAGE, last))
        work.book.lock.confirm()  # after reading: another's outbox may stand under the same name
        for at in range(0, len(page), PORTION):
            yield page[at : at + PORTION]


def settle(work: Work, state: SyncState) -> None:
    """Make the outbox's changes the new records; from here on the sync is history."""
    final = work.book.finished(state, "partial" if state.discarded else "success", _discards_of(state))
    with work.book.state.transaction():
        work.book.lock.confirm()
        work.tables.settle(state, final)
    work.book.logged.append(final)


def _discards_of(state: SyncState) -> str | None:
    if not state.discarded:
        return None
    records = "1 record was" if state.discarded == 1 else f"{state.discarded:,} records were"
    return f"{records} discarded; `dbt-segconn status --discards` says why"
