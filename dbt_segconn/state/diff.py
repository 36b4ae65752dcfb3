"""The arguments of a diff: one value for all macros of `sql/changes.sql`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dbt_segconn.state.checkpoint import Window
from dbt_segconn.warehouse.source import Column


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

    def over_all_rows(self) -> Diff:
        """Return the same diff over all rows of the model."""
        return replace(self, window=None)

    def over_candidates(self) -> Diff:
        """Return the same diff over the candidates. `segconn_candidate_ctes` writes the CTEs with these names."""
        model_id = Column("model_id", "model_id", "text", "", "text")
        return replace(
            self,
            whole=self,
            model="model_candidates",
            identifier=(model_id,),
            columns=tuple(replace(one, name=f"raw_{one.alias}") for one in self.columns),
            order=tuple(replace(one, name=f"raw_order_{at}") for at, one in enumerate(self.order, start=1)),
            current=(),  # the CTEs have filtered the current rows already
        )
