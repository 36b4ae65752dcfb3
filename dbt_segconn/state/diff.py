"""What a diff is made of: the one value that the macros of `sql/changes.sql` are given, which read its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dbt_segconn.state.checkpoint import Window
from dbt_segconn.warehouse.values import Column


@dataclass(frozen=True, slots=True)
class Diff:
    """A model against the records of the last settled sync. Tables are relations of dbt."""

    # Which rows of the model are read; None for all: only then can deleted records be detected
    window: Window | None
    # The table of discards: a window also reads the rows of records that stand there
    refusals: Any
    # The table of records, and its columns (text, number or time); None counts every row as added
    records: Any | None
    record_columns: Mapping[str, str]
    model: Any
    # Whether the model is a table, which is cheaper to read several times than to copy
    is_stored: bool
    # The columns that tell records apart
    identifier: tuple[Column, ...]
    # The columns that calls are made of; checksums cover them
    columns: tuple[Column, ...]
    # The columns of `order_by`
    order: tuple[Column, ...]
    # The columns that mark the current rows of a snapshot, and dbt's SQL of "still valid" where that is not null
    current: tuple[Column, ...]
    valid_to_current: str | None
    # A hash of the columns' names, with which checksums begin
    signature: str
    # The change type of a record whose state at Segment is unknown
    unsure_type: str
    mapping_id: str
    # A hash of the mapping: discards of another definition are retried
    definition: str
    # The columns of consent, where the sync skips records without any consent value
    consent: tuple[Column, ...]
    # Whether such a record is left out if it was never sent
    holds_back: bool
    # The table of discards, and its columns; None includes the records that were given up
    discards: Any | None
    discard_columns: Mapping[str, str]
    # After so many syncs, or days, a discarded record is given up
    retry_syncs: int
    retry_days: int
    # Whether column hashes are compared and stored, and whether unchanged records without them are staged
    keeps_hashes: bool
    fills_hashes: bool

    def over_all_rows(self) -> Diff:
        """Return the same diff without its window."""
        return replace(self, window=None)
