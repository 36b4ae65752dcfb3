"""How syncs and runs ended."""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass, field
from datetime import datetime

from dbt_segconn.engine.gate import Skip
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.tables import HistoryRow
from dbt_segconn.timings import Spent


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How one sync ended. `row` is its last row in the history.

    `confirmed` counts the calls that this run has confirmed. `resumed` counts those of them that an earlier run had
    left in its outbox; `resumed_row` is the last row of that sync. `spent` holds seconds by step.
    """

    mapping: Mapping
    status: str
    seconds: float
    message: str | None = None
    row: HistoryRow | None = None
    confirmed: int = 0
    resumed: int = 0
    resumed_row: HistoryRow | None = None
    spent: abc.Mapping[str, Spent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `started_at` is in UTC. `warnings` are failures beside the syncs."""

    run_id: str
    started_at: datetime
    seconds: float
    results: tuple[SyncResult, ...]
    skipped: tuple[Skip, ...]
    warnings: tuple[str, ...] = ()

    @property
    def success(self) -> bool:
        """Whether every sync delivered every record, and dbt failed no model of a mapping."""
        return all(one.status == "success" for one in self.results) and not any(
            skip.is_failure for skip in self.skipped
        )
