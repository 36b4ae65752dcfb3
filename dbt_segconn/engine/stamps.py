"""Updates of nearly all records by a column that has one value in all rows, such as the time of a build."""

from __future__ import annotations

from collections.abc import Sequence

from dbt_segconn.engine.guards import changed_in
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.column_hashes import ChangedColumns

# Without a guard of its own, a mapping refuses such updates of more than this share of its records…
MOST_PERCENT = 90
# …unless they are as few as this
FEW_RECORDS = 100


def may_be_stamped(mapping: Mapping, *, known: int, updated: int) -> bool:
    """Check whether so many records are updated that a build may be the only reason, and no guard says otherwise."""
    is_unguarded = mapping.meta.guards.max_updated_percent is None and "updated" in mapping.meta.sync_mode
    return is_unguarded and updated > FEW_RECORDS and 100 * updated > MOST_PERCENT * known


def one_value(stamps: Sequence[str]) -> str:
    """Return a sentence on columns that have the same value in all rows."""
    verb = "have" if len(stamps) > 1 else "has"
    return f"{' and '.join(stamps)} {verb} one value in all rows, as the time of a build has"


def stamped(stamps: Sequence[str], *, known: int, updated: int, changed: ChangedColumns | None) -> str:
    """Object to updates that these columns may have caused alone."""
    return (
        f"{updated:,} of {known:,} records were updated{changed_in(changed)}, and {one_value(stamps)}. Leave such "
        "columns out of `fields` (in place of $*, map columns by name), or set guards.max_updated_percent: 100"
    )
