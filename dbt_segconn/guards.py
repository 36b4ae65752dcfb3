"""Guards: changes too large to be meant are held back before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator

from dbt_segconn.meta import Guards

# Without a guard of its own, a mapping refuses to see more than half of its records deleted…
DEFAULT_DELETED_PERCENT = 50
# …unless they are as few as this and others are left
DEFAULT_DELETED_RECORDS = 100


def objections(guards: Guards, *, known: int, present: int, to_send: int, updated: int, deleted: int) -> Iterator[str]:
    """Say what speaks against a sync. Counts are records: known before, present in the model now.

    The deleted are guarded whatever the mapping sends: forgetting them would send them all again as
    added once the model is whole again.
    """
    if guards.max_records is not None and to_send > guards.max_records:
        yield f"{to_send:,} records are to be sent, more than max_records {guards.max_records:,}"
    if known and guards.max_updated_percent is not None:
        percent = 100 * updated / known
        if percent > guards.max_updated_percent:
            limit = f"max_updated_percent {guards.max_updated_percent:g}"
            yield f"{updated:,} of {known:,} records were updated, more than {limit}"
    if known and deleted:
        yield from _deleted(guards, known, present, deleted)


def _deleted(guards: Guards, known: int, present: int, deleted: int) -> Iterator[str]:
    percent = 100 * deleted / known
    if guards.max_deleted_percent is not None:
        if percent > guards.max_deleted_percent:
            limit = f"max_deleted_percent {guards.max_deleted_percent:g}"
            yield f"{deleted:,} of {known:,} records were deleted, more than {limit}"
    elif not present:
        yield f"the model is empty, and all {known:,} records would count as deleted"
    elif deleted > DEFAULT_DELETED_RECORDS and percent > DEFAULT_DELETED_PERCENT:
        yield f"{deleted:,} of {known:,} records were deleted, more than half of them"
