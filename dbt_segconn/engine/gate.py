"""The gate, which chooses by dbt's results the mappings to sync; and the results of syncs and runs."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from dbt_segconn.process_tuning import Spent
from dbt_segconn.project.artifacts import Manifest
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.run_results import RunResults
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.tracking_plan import ViolationCounts
from dbt_segconn.state.tables import COUNTS, PLANNED, HistoryRow

# Statuses of syncs that did all they were asked to do
GOOD = ("success", PLANNED)
# The end of each reason with failed tests: it names the option that syncs the mapping
IGNORED = "--ignore-tests syncs it all the same"


@dataclass(frozen=True, slots=True)
class Skip:
    """A mapping that is not synced. `is_failure`: the reason is a failure of dbt, or another sync with --fail-fast."""

    mapping: Mapping
    reason: str
    is_failure: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """Zero for every count of a `SyncResult`."""
        return SyncResult(self.mapping, "skipped", 0.0).counts


@dataclass(frozen=True, slots=True)
class Choice:
    """The mappings to sync (`chosen`), those that are `skipped`, and those whose models dbt has not refreshed.

    `used` are mappings that were synced before with the same results of dbt, each with the last row of that sync.
    """

    chosen: tuple[Mapping, ...]
    skipped: tuple[Skip, ...]
    untouched: tuple[Mapping, ...]
    used: tuple[tuple[Mapping, HistoryRow], ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides by dbt's results which mappings are synced. Without results, all models count as refreshed.

    `selected` are unique ids of models, or None for all. Without `only_refreshed`, models that dbt has not refreshed
    are synced too.
    """

    settings: Settings
    manifest: Manifest
    results: RunResults | None
    selected: Collection[str] | None = None
    ignore_tests: bool = False
    only_refreshed: bool = True

    def choose(self, mappings: Iterable[Mapping]) -> Choice:
        """Sort the mappings by the results of their models."""
        wanted = [mapping for mapping in mappings if self.selected is None or mapping.model.unique_id in self.selected]
        skips = {mapping.id: skip for mapping in wanted if (skip := self._skip(mapping))}
        others = [mapping for mapping in wanted if mapping.id not in skips]
        return Choice(
            chosen=tuple(mapping for mapping in others if self._is_due(mapping)),
            skipped=tuple(skips.values()),
            untouched=tuple(mapping for mapping in others if not self._is_due(mapping)),
        )

    def _is_due(self, mapping: Mapping) -> bool:
        """Check whether dbt has refreshed or tested the model, or its results do not show which models are fresh."""
        if self.results is None or not self.only_refreshed:
            return True
        if outcome := self.results.outcomes.get(mapping.model.unique_id):
            return outcome.is_fresh
        # results of tests or retries do not show whether another model is fresh
        return not self.results.includes_build or mapping.model.unique_id in self.results.tested

    def _skip(self, mapping: Mapping) -> Skip | None:
        if not mapping.meta.enabled:
            return Skip(mapping, "the mapping is disabled")
        if not self.settings.destinations[mapping.destination].enabled:
            return Skip(mapping, f"the destination {mapping.destination} is disabled")
        reason = self._failure(mapping.model.unique_id)
        return Skip(mapping, reason, is_failure=True) if reason else None

    def _failure(self, model: str) -> str | None:
        """Return why a model is skipped: dbt failed to build it, or a test of it or of an ancestor failed."""
        if self.results is None:
            return None
        outcome = self.results.outcomes.get(model)
        if outcome and outcome.failure:
            return outcome.failure
        if self.ignore_tests or not self.results.failed_tests:
            return None
        if tests := self.results.failed_tests.get(model):
            return f"the model failed its dbt tests: {', '.join(tests)} ({IGNORED})"
        for above, tests in self._failed_above(model):
            return f"{above}, which the model is made of, failed its dbt tests: {', '.join(tests)} ({IGNORED})"
        return None

    def _failed_above(self, model: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the ancestors with failed tests, if dbt only ran tests: `dbt build` skips the model by itself."""
        if self.results and self.results.failed_in_test_runs:
            for above in self.manifest.ancestors(model):
                if above in self.results.failed_in_test_runs:
                    yield above.split(".", 2)[-1], self.results.failed_tests[above]


def without_used(choice: Choice, results: RunResults, newest: Iterable[HistoryRow]) -> Choice:
    """Remove the mappings that succeeded before with the same results of dbt and the same definition.

    `newest` are the last syncs of all mappings. dbt may have failed since without writing results (`--no-write-json`,
    an error in parsing). Then these results do not describe the tables as they are now.
    """
    by_id = {row.mapping_id: row for row in newest}

    def used(mapping: Mapping) -> bool:
        last = by_id.get(mapping.id)
        if last is None or last.status != "success" or last.definition != mapping.definition:
            return False
        return last.dbt_invocation_id == results.invocation_of(mapping.model.unique_id)

    before = tuple((mapping, by_id[mapping.id]) for mapping in choice.chosen if used(mapping))
    return replace(choice, chosen=tuple(mapping for mapping in choice.chosen if not used(mapping)), used=before)


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How one sync ended. `row` is its last row in the history.

    `confirmed` counts the calls that this run has confirmed. `resumed` counts those of them that an earlier run had
    left in its outbox; `resumed_row` is the last row of that sync. `spent` has the time of each step. `violations`
    counts the violations of the tracking plan by the calls of this run.
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
    violations: ViolationCounts = field(default_factory=ViolationCounts)

    @property
    def counts(self) -> dict[str, int]:
        """Counts of records with the names of the history's columns, and of calls that this run has confirmed."""
        return {
            **{name: getattr(self.row, name, 0) for name in COUNTS},
            "confirmed_by_this_run": self.confirmed,
            "resumed_by_this_run": self.resumed,
        }


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `started_at` is in UTC. `warnings` are failures outside of the syncs, such as of an alert."""

    run_id: str
    started_at: datetime
    seconds: float
    results: tuple[SyncResult, ...]
    skipped: tuple[Skip, ...]
    warnings: tuple[str, ...] = ()

    @property
    def success(self) -> bool:
        """Whether every sync delivered or planned every record, and dbt failed no model of a mapping."""
        is_kept_back = any(skip.is_failure for skip in self.skipped)
        return all(one.status in GOOD for one in self.results) and not is_kept_back
