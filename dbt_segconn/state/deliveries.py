"""The delivery log: a row for each confirmed call, written when its sync is settled; and the past of one record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dbt_segconn.state.column_hashes import ColumnHashes
from dbt_segconn.state.tables import DELIVERY_COLUMNS, HistoryRow, State
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Source

PAST_COLUMNS = ("at", "record_id", "change_type", "outcome", "changed", "reason", "message_id", "sync_id")


class Deliveries:
    """The rows of one mapping in the delivery log. Nothing is written if the log is off."""

    def __init__(self, state: State, hashes: ColumnHashes, tables: Mapping[str, Any]) -> None:
        self._state = state
        self._hashes = hashes
        self._tables = tables

    def log(self, row: HistoryRow, at: datetime, source: Source | None = None, *, upto: int | None = None) -> None:
        """Log the confirmed calls of a sync's outbox. With `upto`, log only changes up to this change number.

        With the `source` of a mapping that keeps column hashes, log changed columns, too. Call this before the outbox
        is applied to the records: they are compared. A second call logs nothing twice.
        """
        # a sync without a sync mode is a baseline, which sends nothing
        if self._state.keep_deliveries is None or not row.sync_mode or upto == 0:
            return
        compared = source if source and self._hashes.are_complete() else None
        self._state.session.run(
            "segconn_log_deliveries",
            deliveries=self._state.deliveries,
            columns=list(DELIVERY_COLUMNS),
            **self._tables,
            sync_id=row.sync_id,
            started_at=row.started_at,
            prefix=row.message_prefix,
            change_types=row.change_types,
            upto=upto,
            at=at,
            names=compared.names if compared else None,
            # members of a JSON array: SQL joins those of changed columns and removes the first comma
            members=[f",{json.dumps(column.key)}" for column in compared.columns] if compared else [],
        )


def prune_deliveries(state: State, before: datetime) -> None:
    """Delete the rows of all mappings that were logged before a time."""
    # a Spark table cannot delete rows: whole days are dropped, partitions such as settled_on=2026-01-31
    days = state.session.rows("segconn_delivery_days", deliveries=state.deliveries)
    old = sorted(day for (name, *_) in days if (day := str(name).rpartition("=")[2]) < f"{before:%Y-%m-%d}")
    state.session.run("segconn_prune_deliveries", deliveries=state.deliveries, before=before, days=old)


def past_of(state: State, mapping_id: str, record_id: str) -> list[dict[str, Any]]:
    """Return the confirmed calls and the discards of a record with PAST_COLUMNS, oldest first. Times are UTC.

    `changed` is None if the changed columns are not known. `message_id` is None for a discard, and for a mapping that
    makes its own messageIds.
    """
    # there is no table if the log was never switched on
    has_log = bool(state.present(state.deliveries) & {state.deliveries.identifier.lower()})
    rows = state.session.rows(
        "segconn_past_of_record",
        deliveries=state.deliveries if has_log else None,
        syncs=state.syncs,
        discards=state.discards,
        mapping_id=mapping_id,
        record_id=record_id,
    )
    return [_past(row) for row in rows]


def _past(row: Row) -> dict[str, Any]:
    found = dict(zip(PAST_COLUMNS, row, strict=True))
    return {**found, "changed": None if found["changed"] is None else json.loads(found["changed"])}
