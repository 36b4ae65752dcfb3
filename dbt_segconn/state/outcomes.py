"""What became of each change: a row in the delivery log for a confirmed call, or a discard, which later syncs retry.

After a limit, a discarded record is given up until it changes. The limit is Segment's: 5 syncs or 14 days
(https://segment.com/docs/connections/reverse-etl/ ).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dbt_segconn.state.diff import ColumnHashes, Diff
from dbt_segconn.state.tables import DELIVERY_COLUMNS, DISCARD_COLUMNS, DiscardRow, HistoryRow, State
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Source

RETRY_SYNCS = 5
RETRY_DAYS = 14
_RETRY_LIMITS = {"retry_syncs": RETRY_SYNCS, "retry_days": RETRY_DAYS}
# All rows with a null or repeated identifier are counted; at most this many are stored
KEPT_REPEATED = 1000
# The change type of a row that closes the earlier discards of its record: rows are appended, never changed
CLOSED = "closed"

REASON_COLUMNS = ("sync_id", "change_type", "reason", "refused")
LISTED_COLUMNS = ("sync_id", "record_id", "change_type", "reason")
OPEN_COLUMNS = (
    "mapping_id",
    "mapping",
    "record_id",
    "change_type",
    "reason",
    "attempts",
    "first_at",
    "last_at",
    "given_up",
)
PAST_COLUMNS = ("at", "record_id", "change_type", "outcome", "changed", "reason", "message_id", "sync_id")


def open_discards(state: State, limit: int) -> list[Row]:
    """Return the discards that are not closed, newest first, with OPEN_COLUMNS."""
    return state.session.rows("segconn_list_open_discards", discards=state.discards, limit=limit, **_RETRY_LIMITS)


def discard_reasons(state: State, limit: int) -> list[Row]:
    """Return the count of discards by sync and reason, newest syncs first, with REASON_COLUMNS."""
    return state.session.rows("segconn_count_discard_reasons", discards=state.discards, limit=limit)


def all_discards(state: State, limit: int) -> list[Row]:
    """Return all discards, open or closed, newest first, with LISTED_COLUMNS."""
    return state.session.rows("segconn_list_discards", discards=state.discards, limit=limit)


class Discards:
    """The discards of one mapping."""

    def __init__(self, state: State, mapping_id: str) -> None:
        self._state = state
        self._mapping_id = mapping_id

    def table(self) -> Any | None:
        """Return the table of discards; None if it does not exist yet."""
        return self._state.discards if self._state.exists() else None

    def count(self) -> int:
        """Count the records with open discards, given up or not."""
        rows = self._state.session.rows(
            "segconn_count_discards", discards=self._state.discards, mapping_id=self._mapping_id
        )
        return int(rows[0][0])

    def append(self, discards: Sequence[DiscardRow]) -> None:
        """Append discards."""
        self._state.append(self._state.discards, discards)

    def append_repeated(self, outbox: Any, row: HistoryRow) -> None:
        """Discard the rows of an outbox with a null or repeated identifier."""
        self._run("segconn_discard_unidentified", row, outbox=outbox, at=row.saved_at, limit=KEPT_REPEATED)

    def close_settled(self, outbox: Any, row: HistoryRow) -> None:
        """Close the discards of records that a sync retried without discarding them again."""
        self._run("segconn_close_settled", row, outbox=outbox, at=row.saved_at, closed=CLOSED, **_RETRY_LIMITS)

    def close_all(self, row: HistoryRow, diff: Diff | None = None) -> None:
        """Close all discards; with a diff, only those of the records that it sends again.

        The next sync retries records that were given up, and counts their attempts from zero.
        """
        self._run("segconn_close_all", row, at=row.saved_at, closed=CLOSED, diff=diff)

    def copy_from(self, mapping_id: str, changed: Mapping[str, str]) -> None:
        """Copy the discards of another mapping, with this mapping's id and name in `changed`."""
        self._state.session.run(
            "segconn_adopt_discards",
            discards=self._state.discards,
            columns=list(DISCARD_COLUMNS),
            old=mapping_id,
            changed=dict(changed),
        )

    def _run(self, macro: str, row: HistoryRow, **arguments: Any) -> None:
        self._state.session.run(
            macro,
            discards=self._state.discards,
            columns=list(DISCARD_COLUMNS),
            sync_id=row.sync_id,
            mapping_id=self._mapping_id,
            mapping=row.mapping,
            definition=row.definition,
            **arguments,
        )


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
