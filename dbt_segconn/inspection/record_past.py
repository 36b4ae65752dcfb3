"""The past of one record: its confirmed calls from the delivery log, and its discards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dbt_segconn.engine.opening import Options
from dbt_segconn.inspection.overview import opened_state
from dbt_segconn.project.meta import Named, find_mapping
from dbt_segconn.state.deliveries import past_of


@dataclass(frozen=True, slots=True)
class RecordPast:
    """Rows with `deliveries.PAST_COLUMNS`, oldest first, and notes about calls that were not logged."""

    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def record_past(options: Options, name: str, record_id: str) -> RecordPast:
    """Return the past of a record of a mapping, which may be gone from the project.

    Raises ConfigurationError if there is no such mapping.
    """
    with opened_state(options) as (project, state):
        has_state = state.exists()  # a project that was never synced has no state tables
        orphans = state.orphans({mapping.id for mapping in project.mappings}) if has_state else []
        known: list[Named] = [*project.mappings, *orphans]
        mapping_id = find_mapping(name, known).names.id
        rows = past_of(state, mapping_id, record_id) if has_state else []
        keep = state.keep_deliveries
    notes = []
    if keep is None:
        notes.append(
            "The delivery log is off, so confirmed calls are not logged. Set `deliveries: {keep: 90 days}` under "
            "`state` in segconn.yml"
        )
    elif not rows:
        notes.append(f"No call of the record {record_id!r} was logged or discarded in the last {keep.days:,} days")
    return RecordPast(tuple(rows), tuple(notes))
