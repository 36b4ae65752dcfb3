"""Refused records of one mapping: tried again in their latest form, then given up until they change.

https://segment.com/docs/connections/reverse-etl/ : failed records are tried again in 5 syncs or 14 days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dbt_segconn.state.tables import DISCARD_COLUMNS, DiscardRow, HistoryRow, State
from dbt_segconn.warehouse.session import Row

RETRY_SYNCS = 5
RETRY_DAYS = 14
# Rows that are not unique by their identifier are all counted; so many of them are kept by name
KEPT_REPEATED = 1000
CLOSED = "closed"

REASON_COLUMNS = ("sync_id", "change_type", "reason", "refused")
REFUSED_COLUMNS = ("sync_id", "record_id", "change_type", "reason")
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
    """Return the refusals that stand, newest first, with OPEN_COLUMNS."""
    return state.session.rows("segconn_open_discards", discards=state.discards, limit=limit, **_PATIENCE)


def reasons(state: State, limit: int) -> list[Row]:
    """Return how many records each sync refused for which reason, newest syncs first, with REASON_COLUMNS."""
    return state.session.rows("segconn_reasons", discards=state.discards, limit=limit)


def refusals(state: State, limit: int) -> list[Row]:
    """Return the records that syncs refused, whether or not that still stands, newest first, with REFUSED_COLUMNS."""
    return state.session.rows("segconn_refused", discards=state.discards, limit=limit)


class Discards:
    """The refused records of one mapping."""

    def __init__(self, state: State, mapping_id: str) -> None:
        self._state = state
        self._mapping_id = mapping_id

    def table(self) -> Any | None:
        """Return the table of discards; None where there is none yet."""
        return self._state.discards if self._state.exists() else None

    def count(self) -> int:
        """Count the records whose refusal stands, given up or not."""
        rows = self._state.session.rows(
            "segconn_count_discards", discards=self._state.discards, mapping_id=self._mapping_id
        )
        return int(rows[0][0])

    def append(self, discards: Sequence[DiscardRow]) -> None:
        """Write refusals down."""
        self._state.append(self._state.discards, discards)

    def append_repeated(self, outbox: Any, state: HistoryRow) -> None:
        """Write down the records of an outbox whose identifier is null or not unique."""
        self._run("segconn_discard_repeated", state, outbox=outbox, at=state.saved_at, limit=KEPT_REPEATED)

    def close_settled(self, outbox: Any, state: HistoryRow) -> None:
        """Close what a sync has not refused again, though it was tried again or has changed."""
        self._run("segconn_close_settled", state, outbox=outbox, at=state.saved_at, closed=CLOSED, **_PATIENCE)

    def close_all(self, state: HistoryRow) -> None:
        """Close every refusal, so that given-up records are tried again, too, and counted anew."""
        self._run("segconn_close_all", state, at=state.saved_at, closed=CLOSED)

    def take_over(self, mapping_id: str, changed: Mapping[str, str]) -> None:
        """Copy the refusals of another mapping, under this one's id and name."""
        self._state.session.run(
            "segconn_adopt_discards",
            discards=self._state.discards,
            columns=list(DISCARD_COLUMNS),
            old=mapping_id,
            changed=dict(changed),
        )

    def _run(self, macro: str, state: HistoryRow, **arguments: Any) -> None:
        self._state.session.run(
            macro,
            discards=self._state.discards,
            columns=list(DISCARD_COLUMNS),
            sync_id=state.sync_id,
            mapping_id=self._mapping_id,
            mapping=state.mapping,
            definition=state.definition,
            **arguments,
        )


_PATIENCE = {"retry_syncs": RETRY_SYNCS, "retry_days": RETRY_DAYS}
