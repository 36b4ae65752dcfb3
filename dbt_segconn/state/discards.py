"""Discards: each sync retries a discarded record with its latest values. After a limit it is given up until it changes.

The limit is Segment's: 5 syncs or 14 days (https://segment.com/docs/connections/reverse-etl/ ).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dbt_segconn.state.diff import Diff
from dbt_segconn.state.tables import DISCARD_COLUMNS, DiscardRow, HistoryRow, State
from dbt_segconn.warehouse.session import Row

RETRY_SYNCS = 5
RETRY_DAYS = 14
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


_RETRY_LIMITS = {"retry_syncs": RETRY_SYNCS, "retry_days": RETRY_DAYS}
