"""Which syncs go now, and why the others do not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dbt_segconn.project.artifacts import Outcome, RunResults
from dbt_segconn.project.plan import Sync
from dbt_segconn.project.settings import Settings


@dataclass(frozen=True, slots=True)
class Skip:
    """A sync that does not go now. `is_failure`: because dbt failed, not because somebody wants it so."""

    sync: Sync
    reason: str
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The syncs that go, those that are skipped, and those whose models dbt has not touched."""

    chosen: tuple[Sync, ...]
    skipped: tuple[Skip, ...]
    untouched: tuple[Sync, ...]


def choose(
    syncs: Iterable[Sync],
    settings: Settings,
    results: RunResults | None,
    *,
    selected: Collection[str] | None = None,
    ignore_tests: bool = False,
    only_refreshed: bool = True,
) -> Choice:
    """Gate syncs on what dbt did to their models: `results`, or None to take models as they are.

    `selected` are unique ids of models, or None for all. Without `only_refreshed`, models that dbt has not
    touched go, too.
    """
    wanted = [sync for sync in syncs if selected is None or sync.model.unique_id in selected]
    built = results.outcomes if results and only_refreshed else {sync.model.unique_id for sync in wanted}
    untouched = [sync for sync in wanted if sync.model.unique_id not in built]
    touched = [sync for sync in wanted if sync not in untouched]
    skips = {sync.id: _skip(sync, settings, results, ignore_tests=ignore_tests) for sync in touched}
    return Choice(
        chosen=tuple(sync for sync in touched if skips[sync.id] is None),
        skipped=tuple(skip for skip in skips.values() if skip is not None),
        untouched=tuple(untouched),
    )


def _skip(sync: Sync, settings: Settings, results: RunResults | None, *, ignore_tests: bool) -> Skip | None:
    if not sync.mapping.enabled:
        return Skip(sync, "the mapping is disabled")
    if not settings.destinations[sync.destination].enabled:
        return Skip(sync, f"the destination {sync.destination} is disabled")
    outcome = results.outcomes.get(sync.model.unique_id) if results else None
    reason = _failure(outcome, ignore_tests=ignore_tests) if outcome else None
    return Skip(sync, reason, is_failure=True) if reason else None


def _failure(outcome: Outcome, *, ignore_tests: bool) -> str | None:
    if not outcome.refreshed:
        return {
            "error": "dbt failed to build the model",
            "skipped": "dbt skipped the model",
        }.get(outcome.status, f"dbt did not refresh the model (status {outcome.status})")
    if outcome.failed_tests and not ignore_tests:
        tests = ", ".join(outcome.failed_tests)
        return f"the model failed its dbt tests: {tests} (--ignore-tests syncs it all the same)"
    return None
