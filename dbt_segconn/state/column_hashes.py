"""The changed columns of updated records: a short hash of each column is compared with the hash that was last sent.

With `changed_columns: true`, a text in the table of records holds all hashes of a record. Records without hashes, or
with hashes of other columns, are counted as unknown. It is off by default: staging takes about a sixth longer with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dbt_segconn.state.diff import Diff
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.source import Source

COLUMN_HASHES = "column_hashes"
# Characters of the hash of the column names, and of each column's hash; `sql/column_hashes.sql` has the same width
_WIDTH = 8
# Columns that the message of a guard names
SHOWN_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class ChangedColumns:
    """Counts of `updated` records by changed column, the most frequent first. `unknown` records have no hashes."""

    updated: int
    columns: Mapping[str, int]
    unknown: int

    def summary(self, most: int | None = None) -> str:
        """Return the columns with their counts, such as `email 40, plan 25`; at most `most` columns."""
        shown = [f"{name} {count:,}" for name, count in self.columns.items()]
        others = [f"{len(shown) - most:,} other columns"] if most is not None and len(shown) > most else []
        parts = [", ".join([*shown[:most], *others])] if shown else []
        if self.unknown:
            parts.append(f"not known of {self.unknown:,}, last sent without hashes of these columns")
        return "; ".join(parts) or "no column"


class ColumnHashes:
    """The column hashes in the records and the outbox of one mapping."""

    def __init__(self, session: Session, records: Any, outbox: Any) -> None:
        self._session = session
        self._records = records
        self._outbox = outbox

    def prepare(self) -> None:
        """Add the column to the records if it is missing: `changed_columns` may be new."""
        if not self.are_kept():
            self._session.run("segconn_add_column", relation=self._records, name=COLUMN_HASHES, column_type="text")

    def are_kept(self) -> bool:
        """Return whether the table of records has the column."""
        return self._are_in(self._records)

    def are_complete(self) -> bool:
        """Return whether records and outbox have the column. A sync without `changed_columns` stages none."""
        return self._are_in(self._outbox) and self.are_kept()

    def count(self, source: Source, updated: int, diff: Diff | None = None) -> ChangedColumns:
        """Count the changed columns of the updated records, in the outbox or in a diff."""
        if not updated or not self.are_kept():
            return ChangedColumns(updated, {}, updated)
        arguments = {"outbox": self._outbox, "diff": diff, "records": self._records, "names": source.names}
        ((known, *counts),) = self._session.rows(
            "segconn_count_changed_columns", **arguments, columns=[column.key for column in source.columns]
        )
        found = {column.key: int(count) for column, count in zip(source.columns, counts, strict=True) if count}
        most_first = dict(sorted(found.items(), key=lambda item: -item[1]))
        return ChangedColumns(updated, most_first, updated - int(known))

    def of_records(self, source: Source, record_ids: Collection[str], diff: Diff) -> dict[str, tuple[str, ...]]:
        """Return the changed columns of updated records, by record id. Records without hashes are left out."""
        if not record_ids or not self.are_kept():
            return {}
        arguments = {"diff": diff, "records": self._records, "names": source.names, "record_ids": list(record_ids)}
        rows = self._session.rows("segconn_changed_records", **arguments)
        return {record_id: tuple(_differing(source, latest, former)) for record_id, latest, former in rows}

    def _are_in(self, relation: Any) -> bool:
        return COLUMN_HASHES in (name.lower() for name in self._session.columns(relation))


def _differing(source: Source, latest: str, former: str) -> list[str]:
    """Return the columns with different hashes."""
    # the first hash is that of the column names
    places = range(_WIDTH, len(latest), _WIDTH)
    return [
        column.key
        for column, at in zip(source.columns, places, strict=True)
        if latest[at : at + _WIDTH] != former[at : at + _WIDTH]
    ]
