"""Updates of nearly all records by a column that has one value in all rows, such as the time of a build."""

from __future__ import annotations

from collections.abc import Iterator

from dbt_segconn.project.plan import Sync
from dbt_segconn.state.outbox import MappingState
from dbt_segconn.warehouse.source import Source

# Without a guard of its own, a mapping refuses such updates of more than this share of its records…
MOST_PERCENT = 90
# …unless they are as few as this
FEW_RECORDS = 100


def stamped_updates(sync: Sync, source: Source, tables: MappingState, *, known: int, updated: int) -> Iterator[str]:
    """Object to updates that a build alone may have caused; the model is asked only where there are that many."""
    if sync.mapping.guards.max_updated_percent is not None or "updated" not in sync.mapping.sync_mode:
        return
    if updated <= FEW_RECORDS or 100 * updated <= MOST_PERCENT * known:
        return
    if stamps := tables.stamps(source):
        names = f"{' and '.join(stamps)} {'have' if len(stamps) > 1 else 'has'}"
        yield (
            f"{updated:,} of {known:,} records were updated, and {names} one value in all rows, as the time of a build "
            "has. Leave such columns out of `fields` (in place of $*, map columns by name), or set "
            "guards.max_updated_percent: 100"
        )
