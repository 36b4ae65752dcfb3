"""News for a webhook: a mapping has started to fail, still fails, has become stale, or has recovered."""

from __future__ import annotations

import hashlib
from collections import Counter, abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from dbt_segconn.engine.gate import RunResult, Skip, SyncResult
from dbt_segconn.engine.report import as_json
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import AlertSettings
from dbt_segconn.state.tables import SETTLED, AlertRow, LastEnds

# The events of alerts: a new problem, the same problem after `remind_after`, the end of a problem
STARTED, REMINDER, RECOVERED = "started", "reminder", "recovered"
# An event that is saved and not posted: a mapping without any sync, which may become stale `stale_after` later
SEEN = "seen"
# The problem of a mapping without a settled sync for `stale_after`. All other problems are statuses
STALE = "stale"


@dataclass(frozen=True, slots=True)
class Concern:
    """A mapping in an alert: its result in this run, and its `problem` since `since` (UTC).

    `facts` is the result as in the artifact. A recovered mapping keeps its former problem here.
    """

    outcome: SyncResult | Skip
    facts: dict[str, Any]
    since: datetime
    event: str = STARTED
    problem: str = ""

    @property
    def status(self) -> str:
        """The sync's status; a mapping without a sync in this run counts as `skipped`."""
        return str(self.facts["status"])

    @property
    def rate(self) -> float | None:
        """Percent of the records to send that were confirmed; None if there were none to send."""
        counts = self.facts["counts"]
        return 100 * counts["confirmed"] / counts["to_send"] if counts["to_send"] else None

    def row(self, webhook: str, now: datetime) -> AlertRow:
        """Return the row that saves this alert as the last one to a webhook."""
        mapping, has_problem = self.outcome.mapping, self.event in {STARTED, REMINDER}
        problem, since = (self.problem, self.since) if has_problem else ("", now)
        return AlertRow(mapping.id, webhook, mapping.name, problem, since, now)


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of alerts: the last alert by mapping id and webhook id, and the last ends of syncs by mapping id.

    It is empty, and not `is_known`, if the state cannot be read. `now` is the time in UTC.
    """

    now: datetime
    told: abc.Mapping[tuple[str, str], AlertRow]
    ends: abc.Mapping[str, LastEnds]
    is_known: bool = True


def webhook_ids(alerts: Iterable[AlertSettings]) -> list[str]:
    """Return an id for each webhook: a hash, because its URL and key are secrets.

    The conditions of the alert are not part of it, so they can change. Alerts with the same URL and key are numbered:
    each has conditions and a state of its own.
    """
    seen: Counter[str] = Counter()
    return [_webhook_id(alert, seen) for alert in alerts]


def _webhook_id(alert: AlertSettings, seen: Counter[str]) -> str:
    url, key = alert.url.get_secret_value(), alert.routing_key
    secret = f"{url}\x1f{key.get_secret_value() if key else ''}"
    seen[secret] += 1
    digest = hashlib.sha256(f"{secret}\x1f{seen[secret]}".encode()).hexdigest()
    return f"{urlsplit(url).hostname} {digest[:16]}"


def outcomes(run: RunResult, mappings: Sequence[Mapping], now: datetime) -> list[Concern]:
    """Return the result of each enabled mapping. A mapping that this run did not sync counts as skipped."""
    # a mapping that was not chosen may be stale, too, or may have recovered in another run
    failed = [skip for skip in run.skipped if skip.is_failure]
    present = {mapping.id for mapping in mappings_of(run)}
    absent = [Skip(one, "it was not synced by this run") for one in mappings if one.id not in present]
    found = replace(run, skipped=(*failed, *absent))
    ends: list[SyncResult | Skip] = [*found.results, *found.skipped]
    return [Concern(end, facts, now) for end, facts in zip(ends, as_json(found)["results"], strict=True)]


def mappings_of(run: RunResult) -> list[Mapping]:
    """Return all mappings of a run."""
    return [*(one.mapping for one in run.results), *(one.mapping for one in run.skipped)]


def news(alert: AlertSettings, webhook: str, found: Iterable[Concern], memory: Memory) -> Iterator[Concern]:
    """Yield the mappings that are news for a webhook. `found` has the result of each mapping."""
    for one in found:
        mapping = one.outcome.mapping
        is_meant = not alert.mappings or not mapping.names.all.isdisjoint(alert.mappings)
        if is_meant and (concern := _compared(alert, one, memory.told.get((mapping.id, webhook)), memory)):
            yield concern


def _compared(alert: AlertSettings, one: Concern, told: AlertRow | None, memory: Memory) -> Concern | None:
    """Compare the problem of a mapping with the last alert about it (`told`). Return None if it is no news."""
    ends = memory.ends.get(one.outcome.mapping.id)
    before, problem = told.problem if told else "", _problem(alert, one, told, ends, memory.now)
    if not problem:
        if told and before:
            return replace(one, event=RECOVERED, problem=before, since=told.since)
        return replace(one, event=SEEN) if alert.stale_after and not (told or ends) else None
    is_due = told is None or memory.now - told.saved_at >= alert.remind_after
    if problem == before and not is_due:
        return None
    # if one problem follows another, such as failed and partial, both have the start of the first
    began = told.since if told and before else ends.settled if ends and problem == STALE else memory.now
    return replace(one, event=REMINDER if problem == before else STARTED, problem=problem, since=began)


def _problem(alert: AlertSettings, one: Concern, told: AlertRow | None, ends: LastEnds | None, now: datetime) -> str:
    """Return the problem of a mapping, or an empty text. A problem lasts until a good sync in any run."""
    if _is_due(alert, one):
        return one.status
    # a partial sync is good, too, for a webhook whose `when` lacks `partial`
    if isinstance(one.outcome, SyncResult) and one.status in SETTLED:
        return ""
    if told and told.problem:
        # another run, perhaps on another machine, may have succeeded since the alert
        good_at = ends and (ends.settled if told.problem == STALE else ends.succeeded)
        return "" if good_at and good_at > told.saved_at else told.problem
    # without any sync, the time counts from its first alert row (SEEN)
    good_until = ends.settled if ends else told.since if told else now
    return STALE if alert.stale_after and now - good_until >= alert.stale_after else ""


def _is_due(alert: AlertSettings, one: Concern) -> bool:
    # a mapping that was skipped because dbt failed counts as failed
    if isinstance(one.outcome, Skip):
        return one.outcome.is_failure and "failed" in alert.when
    below = alert.delivery_rate_below
    return one.status in alert.when or (below is not None and one.rate is not None and one.rate < below)
