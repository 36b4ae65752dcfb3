"""What has changed, frozen as an outbox, unless a guard objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from dbt_segconn.engine.guards import former_identifier
from dbt_segconn.engine.work import Sync
from dbt_segconn.errors import WarehouseError
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.state.checkpoint import Window
from dbt_segconn.state.discards import KEPT_REPEATED
from dbt_segconn.state.tables import RESET, HistoryRow
from dbt_segconn.syncs.block_reasons import before_staging, of_changes
from dbt_segconn.wording import counted


def stage(work: Sync) -> HistoryRow:
    """Freeze what has changed; the state returned is `running`, or `blocked` where a guard objects."""
    with work.timings.measure("stage"):
        return _stage(work)


def _stage(work: Sync) -> HistoryRow:
    state = work.book.state
    before = state.last_sync(work.mapping.id)
    is_baseline = work.job.baseline or (
        work.mapping.meta.first_sync == "baseline" and not state.has_settled(work.mapping.id)
    )
    staging = work.new_state("" if is_baseline else ",".join(work.mapping.meta.sync_mode))
    ids, known = work.job.mapping_ids, work.tables.known()
    if reason := _meant(work, before_staging(work.mapping, state, staging, known=known, mapping_ids=ids)):
        return _blocked(work, staging, before, reason)
    window = _window(work)
    staging = work.book.log(staging)
    if work.job.retry:
        work.tables.discards.close_all(staging)
    counted = _freeze(work, staging, window)
    if reason := _meant(work, _objections(work, counted)) or _over_budget(work, counted):
        work.tables.drop_outbox()
        return _blocked(work, counted, before, reason)
    _announce(work, before, counted)
    _announce_lost(work, counted)
    _announce_held_back(work, counted)
    if counted.unidentified:
        work.tables.discards.append_repeated(work.tables.outbox, counted)
    return work.book.log(counted, status="running")


def _window(work: Sync) -> Window | None:
    """Choose the rows to read, and say so: who asks to begin anew, or to try all again, means the whole model."""
    if work.source.checkpoint is None:
        return None
    window = None if work.job.retry or work.job.baseline else work.tables.window(work.mapping, work.source)
    if window is None:
        work.note("reads the whole model: there is no checkpoint of it as it is now mapped")
    else:
        work.note(f"reads rows that are new by {window.column.name}; does not look for deleted ones")
    return window


def _blocked(work: Sync, state: HistoryRow, before: HistoryRow | None, reason: str) -> HistoryRow:
    """Log a sync that has changed nothing: the next one is compared with what the last before it has read."""
    read = {name: getattr(before, name) for name in ("relation", "identifier", "signature")} if before else {}
    return work.book.log(state, status="blocked", finished_at=work.job.now(), error=reason, **read)


def _freeze(work: Sync, staging: HistoryRow, window: Window | None) -> HistoryRow:
    try:
        checkpoint = work.tables.checkpoint(work.mapping, work.source, window, staging.started_at)
        is_baseline = not staging.sync_mode
        work.tables.stage(work.mapping, work.source, window, is_baseline=is_baseline)
        held_back = 0 if is_baseline else work.tables.count_held_back(work.mapping, work.source)
        return replace(_count(work, replace(staging, checkpoint=checkpoint)), held_back=held_back)
    except WarehouseError as error:
        with suppress(WarehouseError):  # the first error is the one to tell
            work.tables.drop_outbox()
            work.book.log(staging, status="failed", finished_at=work.job.now(), error=str(error))
        raise


def _meant(work: Sync, reasons: Iterable[str]) -> str | None:
    """Join what speaks against a sync, unless the user has said that it is meant."""
    return None if _is_allowed(work) else _refusal(work, "; ".join(reasons))


def _is_allowed(work: Sync) -> bool:
    return work.job.baseline or work.mapping.name in work.job.allow_guarded


def _refusal(work: Sync, text: str | None) -> str | None:
    return f"{text}. Nothing was sent. If this is meant, run with --allow-guarded {work.mapping.name}" if text else None


def _over_budget(work: Sync, state: HistoryRow) -> str | None:
    """Take the sync's calls from the budget of this run and month, or say why that is too many."""
    spent = partial(work.book.state.spent, besides=work.job.run_id)
    taken = work.job.budget.take(state.to_send, state.started_at, spent, is_allowed=_is_allowed(work))
    return _refusal(work, taken)


def _count(work: Sync, staging: HistoryRow) -> HistoryRow:
    counts = {change_type: changes.count for change_type, changes in work.tables.count().items()}
    change_types = {change_type: counts.get(change_type, 0) for change_type in CHANGE_TYPES}
    unidentified = counts.get("null_identifier", 0) + counts.get("duplicate_identifier", 0)
    to_send = sum(count for change_type, count in change_types.items() if change_type in staging.sync_mode.split(","))
    return replace(
        staging,
        # refused rows are read again by name; where there are more than are kept, only the whole model has them all
        checkpoint=staging.checkpoint if unidentified <= KEPT_REPEATED else None,
        added=change_types["added"],
        updated=change_types["updated"],
        deleted=change_types["deleted"],
        unidentified=unidentified,
        discarded=unidentified,
        to_send=to_send,
        left_out=sum(change_types.values()) - to_send,
    )


def _objections(work: Sync, counted: HistoryRow) -> Iterator[str]:
    made, known = work.book.state.made_records(work.mapping.id), work.tables.known()
    yield from of_changes(work.mapping, work.source, work.tables, made=made, counted=counted, known=known)


def _announce_held_back(work: Sync, state: HistoryRow) -> None:
    if state.held_back:
        records = "1 record says" if state.held_back == 1 else f"{state.held_back:,} records say"
        work.note(f"{records} nothing of consent: held back until a category has a value (consent.without_value: skip)")


def _announce_lost(work: Sync, state: HistoryRow) -> None:
    if lost := work.tables.count_lost(work.source, state.sync_mode.split(",")):
        work.note(f"{counted(lost, 'value')} that JSON cannot hold (NaN, infinity): sent as null")


def _announce(work: Sync, before: HistoryRow | None, state: HistoryRow) -> None:
    """Say it before records are sent again for no change of their data."""
    if before is None or before.status == RESET:
        return
    if former := former_identifier(work.mapping, work.book.state.made_records(work.mapping.id), work.tables.known()):
        work.note(
            f"its unique identifier was {former} and is {state.identifier} now: {state.added:,} records count as added "
            f"and {state.deleted:,} as deleted"
        )
    elif before.signature != state.signature and state.updated and "updated" in state.sync_mode:
        same_names = before.signature.split("-")[0] == state.signature.split("-")[0]
        what = "types of the columns" if same_names else "columns"
        work.note(f"the {what} that it uses have changed: {state.updated:,} known records are sent again")
