"""The budget: limits of the calls in a run and in a month, for all mappings that share a state schema."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime

from dbt_segconn.project.settings import BudgetSettings

Spent = Callable[[datetime], int]
"""Counts the calls in the history since a time in UTC, without those of this run."""


class Budget:
    """The part of the budget that one run has taken. It is shared by the threads of the run.

    A sync takes all its calls before the first is sent, so that two of them cannot pass the limit together.
    """

    def __init__(self, settings: BudgetSettings) -> None:
        self._settings = settings
        self._guard = threading.Lock()
        self._taken = 0
        self._resumed = 0

    def resume(self, calls: int) -> None:
        """Take the calls of an outbox that an earlier run has left. That run has checked its budget."""
        with self._guard:
            self._resumed += calls

    def take(self, calls: int, now: datetime, spent: Spent, *, is_allowed: bool = False) -> str | None:
        """Take this number of calls. Return the reason if that exceeds the budget, unless it `is_allowed`."""
        with self._guard:
            reason = None if is_allowed or not calls else "; ".join(self._objections(calls, now, spent))
            self._taken += 0 if reason else calls
            return reason or None

    def _objections(self, calls: int, now: datetime, spent: Spent) -> Iterator[str]:
        run, month = self._settings.max_calls_per_run, self._settings.max_calls_per_month
        if run is not None:
            yield from _objection(calls, self._taken + self._resumed, run, "in this run", "max_calls_per_run")
        if month is not None:
            before = self._taken + spent(month_of(now))
            yield from _objection(calls, before, month, f"in {now:%B}", "max_calls_per_month")


def _objection(calls: int, before: int, limit: int, when: str, name: str) -> Iterator[str]:
    if calls + before > limit:
        others = f" after {before:,} {when}" if before else f" {when}"
        noun = "1 call is" if calls == 1 else f"{calls:,} calls are"
        yield f"{noun} to be sent{others}, more than budget.{name} {limit:,}"


def month_of(now: datetime) -> datetime:
    """Return the start of the month."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
