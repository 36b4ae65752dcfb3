"""What an earlier sync has left behind: delivered, given up, or missed, before anything new is staged."""

from __future__ import annotations

from dbt_segconn.engine.transfer import deliver, settle
from dbt_segconn.engine.work import Sync
from dbt_segconn.errors import SyncError
from dbt_segconn.state.tables import RESET, HistoryRow


def forget(work: Sync) -> None:
    """Start as if there had been no sync before."""
    last = work.book.state.last_sync(work.mapping.id)
    with work.book.state.transaction():
        work.tables.forget(last, work.new_state().as_reset(work.job.now()))
        work.tables.create_records()


def resume(work: Sync) -> HistoryRow | None:
    """Finish what an earlier sync has begun: its outbox is delivered before anything new is staged.

    Return the last sync where nothing was left to finish, so that the history need not be read again.
    """
    last = work.book.state.last_sync(work.mapping.id)
    has_records, has_outbox = work.tables.present()
    if last is None or last.status == RESET:
        if has_outbox:
            raise _by_hand(work, f"{work.tables.outbox} is there, but the history knows no sync that left it")
        work.tables.create_records()  # before the first row of the log: from then on, its absence means something
    elif not has_records:
        raise _by_hand(work, f"{work.tables.records} is missing; it held the records of earlier syncs")
    elif has_outbox and last.finished_at is not None:
        work.tables.drop_outbox()
    elif has_outbox:
        _go_on(work, last)
    elif last.finished_at is None:
        _close(work, last)
    else:
        return last
    return None


def _by_hand(work: Sync, what: str) -> SyncError:
    name = work.mapping.name
    return SyncError(
        f"{what}. Was it altered by hand? What Segment has cannot be told any more: `dbt-segconn reset {name}` lets "
        f"the next run send every record, `dbt-segconn baseline {name}` remembers the model as it is and sends none"
    )


def _go_on(work: Sync, last: HistoryRow) -> None:
    if last.status == "staging":
        work.tables.drop_outbox()  # perhaps half made; nothing of it was sent
        _close(work, last)
    elif last.status != "abandoning" and _fits(work, last):
        work.note(f"goes on with the sync of {last.started_at:%Y-%m-%d %H:%M:%S} UTC")
        work.job.budget.resume(max(0, last.to_send - last.confirmed))
        settle(work, deliver(work, work.book.log(last, status="running", error=None)))
    else:
        work.note(
            "its mapping has changed since the last sync was cut short: what that one had not delivered is staged anew"
        )
        last = work.book.log(last, status="abandoning")
        final = work.book.finished(last, *_ENDS["abandoning"])
        with work.book.state.transaction():
            work.book.lock.confirm()
            work.tables.abandon(last, final)
        work.book.logged.append(final)


def _fits(work: Sync, last: HistoryRow) -> bool:
    """Say whether the calls of an outbox would be made as they were when it was staged."""
    return (last.definition, last.signature) == (work.mapping.definition, work.source.signature)


# What a sync was doing that ended when its outbox was gone already, where nothing else can be told
_ENDS = {
    "staging": ("failed", "ended while staging; nothing was sent"),
    "settling": ("success", None),
    "abandoning": ("canceled", "the mapping has changed"),
}


def _close(work: Sync, last: HistoryRow) -> None:
    """Finish the history of a sync that has left no outbox."""
    if last.status not in _ENDS:
        raise _by_hand(
            work,
            f"{work.tables.outbox} is missing; it held what the sync of {last.started_at:%Y-%m-%d %H:%M:%S} UTC had "
            f"not delivered ({last.confirmed:,} of {last.to_send:,} calls were confirmed)",
        )
    status, error = _ENDS[last.status]
    work.book.log(last, status=status, finished_at=work.job.now(), error=error)
