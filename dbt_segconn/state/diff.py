"""The diff of a model with the records of the last settled sync, and the columns that changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dbt_segconn.state.checkpoint import Window
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.source import Column, Source

COLUMN_HASHES = "column_hashes"
# Characters of the hash of the column names, and of each column's hash; `sql/column_hashes.sql` has the same width
_WIDTH = 8
# Columns that the message of a guard names
SHOWN_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class ResendChoice:
    """The records to send again, chosen in one of three ways: by id, by the sync that delivered them, or by `where`.

    `where` is a condition in the SQL of the warehouse on the columns of the model.
    """

    record_ids: tuple[str, ...] = ()
    sync_id: str | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """A model compared with the records of the last settled sync. Tables are dbt relations."""

    # The rows of the model to read; None for all rows. Deleted records are detected only if all rows are read
    window: Window | None
    # The table of discards: a window includes the rows of its records
    window_discards: Any
    # The table of records, and its columns (text, number or time); with None, every row is added
    records: Any | None
    record_columns: Mapping[str, str]
    model: Any
    # Whether the model is a table: reading it several times is cheaper than copying it
    is_stored: bool
    # The columns of the identifier
    identifier: tuple[Column, ...]
    # The columns that calls use; checksums cover them
    columns: tuple[Column, ...]
    # The columns of `order_by`
    order: tuple[Column, ...]
    # The columns that mark the current rows of a snapshot, and dbt's SQL for "still valid" if it is not null
    current: tuple[Column, ...]
    valid_to_current: str | None
    # A hash of the columns' names; each checksum covers it
    signature: str
    # The change type of records with an unknown state at Segment
    type_if_unknown: str
    mapping_id: str
    # A hash of the mapping: discards of another definition are retried
    definition: str
    # The consent columns, if the sync skips records without any consent value; else empty
    consent: tuple[Column, ...]
    # Whether to leave out records without any consent value if they were never sent
    holds_back: bool
    # The table of discards, and its columns. Given-up records are left out; with None they are changes, too
    discards: Any | None
    discard_columns: Mapping[str, str]
    # A discarded record is given up after this many syncs or days
    retry_syncs: int
    retry_days: int
    # Whether to store column hashes, and whether to stage unchanged records without hashes
    keeps_hashes: bool
    fills_hashes: bool = False
    # Whether the outbox has fingerprints
    fingerprints: bool = False
    # Known records that count as updated even if they are unchanged, and the tables to find those of a sync
    resent: ResendChoice | None = None
    deliveries: Any = None
    syncs: Any = None
    # The diff over all rows, if this one compares only candidates: rows and records whose fingerprints differ
    whole: Diff | None = None
    # The number of records that it compares with
    known_records: int = 0

    def over_all_rows(self) -> Diff:
        """Return the same diff over all rows of the model."""
        return replace(self, window=None)

    def over_candidates(self, known_records: int) -> Diff:
        """Return the same diff over the candidates. `segconn_candidate_ctes` writes the CTEs with these names."""
        model_id = Column("model_id", "model_id", "text", "", "text")
        return replace(
            self,
            whole=self,
            known_records=known_records,
            model="model_candidates",
            identifier=(model_id,),
            columns=tuple(replace(one, name=f"raw_{one.alias}") for one in self.columns),
            order=tuple(replace(one, name=f"raw_order_{at}") for at, one in enumerate(self.order, start=1)),
            current=(),  # the CTEs have filtered the current rows already
        )


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
        return "; ".join(parts) or "no column differs"


class ColumnHashes:
    """The column hashes in the records and the outbox of one mapping, which `changed_columns: true` switches on.

    A short hash of each column is compared with the hash that was last sent; a text in the table of records holds all
    hashes of a record. Records without hashes, or with hashes of other columns, are counted as unknown. It is off by
    default: staging takes about a sixth longer with it.
    """

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
