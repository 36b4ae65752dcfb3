"""Alerts: the news about mappings, posted to each webhook in its format, then saved.

After a crash in between, or if a webhook does not answer, the next run posts the alert again. No alert is lost.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from dbt_segconn.delivery.answers import classify_error
from dbt_segconn.delivery.connection import Connection, NoResponseError
from dbt_segconn.engine.gate import RunResult, Skip, SyncResult
from dbt_segconn.engine.report import as_json
from dbt_segconn.errors import SegconnError, counted, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import AlertSettings
from dbt_segconn.state.tables import SETTLED, AlertRow, LastEnds, State

# The events of alerts: a new problem, the same problem after `remind_after`, the end of a problem
STARTED, REMINDER, RECOVERED = "started", "reminder", "recovered"
# An event that is saved and not posted: a mapping without any sync, which may become stale `stale_after` later
SEEN = "seen"
# The problem of a mapping without a settled sync for `stale_after`. All other problems are statuses
STALE = "stale"
# Syncs in a text message. Slack cuts a message at 40,000 characters
SHOWN = 20
# Characters of one reason: the text of a database's error may be long
MESSAGE_CHARACTERS = 500
# PagerDuty's limits: https://developer.pagerduty.com/docs/send-alert-event
SUMMARY_CHARACTERS, KEY_CHARACTERS = 1024, 255

# Problem → what to do about it, in addition to the message
_ADVICE = {
    "failed": "Fix the cause and run again.",
    "partial": "These records are offered again by the next syncs.",
    "blocked": "Look at the model before you let it through.",
    "skipped": "Fix the cause, then run dbt and dbt-segconn again.",
    "canceled": "The next run resumes it.",
    STALE: "Check that dbt refreshes the model, and that dbt-segconn runs after it.",
}
# Seconds that each webhook has for all its requests. The syncs have ended, and the run waits only for this
TIMEOUT_SECONDS = 10.0

OpenState = Callable[[], AbstractContextManager[State]]


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
class Known:
    """What earlier runs saved: the last alert by mapping id and webhook id, and the last ends of syncs by mapping id.

    It is empty, and not `is_known`, if the state cannot be read. `now` is the time in UTC.
    """

    now: datetime
    last_alerts: abc.Mapping[tuple[str, str], AlertRow]
    ends: abc.Mapping[str, LastEnds]
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """The name of the dbt project and the target of a run."""

    project: str
    target: str


@dataclass(frozen=True, slots=True)
class Body:
    """The body of one request, and the mappings that it is about."""

    content: bytes
    concerns: tuple[Concern, ...] = ()


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


def news(alert: AlertSettings, webhook: str, found: Iterable[Concern], known: Known) -> Iterator[Concern]:
    """Yield the mappings that are news for a webhook. `found` has the result of each mapping."""
    for one in found:
        mapping = one.outcome.mapping
        is_meant = not alert.mappings or not mapping.names.all.isdisjoint(alert.mappings)
        if is_meant and (concern := _compared(alert, one, known.last_alerts.get((mapping.id, webhook)), known)):
            yield concern


def _compared(alert: AlertSettings, one: Concern, last: AlertRow | None, known: Known) -> Concern | None:
    """Compare the problem of a mapping with the last alert about it (`last`). Return None if it is no news."""
    ends = known.ends.get(one.outcome.mapping.id)
    before, problem = last.problem if last else "", _problem(alert, one, last, ends, known.now)
    if not problem:
        if last and before:
            return replace(one, event=RECOVERED, problem=before, since=last.since)
        return replace(one, event=SEEN) if alert.stale_after and not (last or ends) else None
    is_due = last is None or known.now - last.saved_at >= alert.remind_after
    if problem == before and not is_due:
        return None
    # if one problem follows another, such as failed and partial, both have the start of the first
    began = last.since if last and before else ends.settled if ends and problem == STALE else known.now
    return replace(one, event=REMINDER if problem == before else STARTED, problem=problem, since=began)


def _problem(alert: AlertSettings, one: Concern, last: AlertRow | None, ends: LastEnds | None, now: datetime) -> str:
    """Return the problem of a mapping, or an empty text. A problem lasts until a good sync in any run."""
    if _is_due(alert, one):
        return one.status
    # a partial sync is good, too, for a webhook whose `when` lacks `partial`
    if isinstance(one.outcome, SyncResult) and one.status in SETTLED:
        return ""
    if last and last.problem:
        # another run, perhaps on another machine, may have succeeded since the alert
        good_at = ends and (ends.settled if last.problem == STALE else ends.succeeded)
        return "" if good_at and good_at > last.saved_at else last.problem
    # without any sync, the time counts from its first alert row (SEEN)
    good_until = ends.settled if ends else last.since if last else now
    return STALE if alert.stale_after and now - good_until >= alert.stale_after else ""


def _is_due(alert: AlertSettings, one: Concern) -> bool:
    # a mapping that was skipped because dbt failed counts as failed
    if isinstance(one.outcome, Skip):
        return one.outcome.is_failure and "failed" in alert.when
    below = alert.delivery_rate_below
    return one.status in alert.when or (below is not None and one.rate is not None and one.rate < below)


def bodies(alert: AlertSettings, due: Sequence[Concern], run: RunResult, place: Place) -> Iterator[Body]:
    """Yield the bodies to post to one webhook, in order: its `due` mappings, in the format of the alert.

    PagerDuty gets one event for each mapping, the others one body for all of them.
    """
    if alert.format == "pagerduty":
        # an earlier run that could not start has saved no state, so each run closes its incident. PagerDuty ignores
        # a `resolve` if no incident is open
        if "failed" in alert.when:
            yield Body(_event(alert, "resolve", _run_key(place)))
        yield from (Body(_mapping_event(alert, one, place), (one,)) for one in due)
    elif due:
        make = _results if alert.format == "json" else _message_of
        yield Body(make(due, run, place), tuple(due))


def error_body(alert: AlertSettings, what: str, place: Place) -> Body:
    """Return the body about a run that ended with an error, such as before its syncs."""
    if alert.format == "json":
        return Body(orjson.dumps({"success": False, "project": place.project, "error": what, "results": []}))
    heading = "the run ended with an error"
    if alert.format == "slack":
        return Body(orjson.dumps({"text": f"{_heading(place)}: {heading}\n    {_escaped(_short(what))}"}))
    payload = _payload(alert, f"dbt-segconn in {place.project}: {heading}: {_short(what)}", place)
    return Body(_event(alert, "trigger", _run_key(place), payload))


def _results(due: Sequence[Concern], run: RunResult, place: Place) -> bytes:
    results = [_facts(one) for one in due]
    return orjson.dumps({**as_json(run), "project": place.project, "error": None, "results": results})


def _facts(one: Concern) -> dict[str, Any]:
    """Return the sync's result as in the artifact, with its file, its delivery rate in percent, and its news."""
    return {
        **one.facts,
        "file": one.outcome.mapping.model.file,
        "delivery_rate": None if one.rate is None else round(one.rate, 2),
        "advice": None if one.event == RECOVERED else _ADVICE.get(one.problem),
        "event": one.event,
        "problem": one.problem,
        "since": f"{one.since.isoformat()}Z",
    }


# --- Slack ----------------------------------------------------------------------------------------


def _message_of(due: Sequence[Concern], run: RunResult, place: Place) -> bytes:
    problems = sum(one.event != RECOVERED for one in due)
    among = {mapping.id for mapping in (*mappings_of(run), *(one.outcome.mapping for one in due))}
    total = counted(len(among), "sync")
    parts = [f"{problems} of {total} {'needs' if problems == 1 else 'need'} a look"] if problems else []
    parts += [f"{len(due) - problems} recovered"] if len(due) > problems else []
    return orjson.dumps({"text": "\n".join([f"{_heading(place)}: {', '.join(parts)}", *_lines(due)])})


def _heading(place: Place) -> str:
    return f"*dbt-segconn* in {_name(place.project)}"


def _lines(due: Sequence[Concern]) -> Iterator[str]:
    for one in due[:SHOWN]:
        mapping = one.outcome.mapping
        where = f"{_name(mapping.name)} to {_name(mapping.destination)}, {_name(mapping.model.file)}"
        yield f"• *{_title(one)}* {where}{_counts(one)}{_since(one)}"
        if one.event != RECOVERED:
            yield from (f"    {text}" for text in (_escaped(_reason(one)), _ADVICE.get(one.problem)) if text)
    if len(due) > SHOWN:
        yield f"… and {len(due) - SHOWN} more: target/segconn/run_results.json has them all"


def _title(one: Concern) -> str:
    return {RECOVERED: RECOVERED, REMINDER: f"still {one.problem}"}.get(one.event, one.problem)


def _since(one: Concern) -> str:
    if one.event == RECOVERED:
        return f", {one.problem} since {_time(one.since)}"
    return f", since {_time(one.since)}" if one.event == REMINDER else ""


def _counts(one: Concern) -> str:
    if isinstance(one.outcome, Skip) or one.outcome.row is None:
        return ""  # it ended before its first history row, so nothing was counted
    counts = one.facts["counts"]
    rate = "" if one.rate is None else f" ({one.rate:.1f}%)"
    return f": {counts['confirmed']:,} of {counts['to_send']:,} confirmed{rate}, {counts['discarded']:,} discarded"


def _reason(one: Concern) -> str:
    if one.problem == STALE:
        return f"no sync has ended well since {_time(one.since)}"
    return _short(one.facts.get("message"))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _short(text: str | None) -> str:
    return " ".join((text or "").split())[:MESSAGE_CHARACTERS]


def _name(text: str) -> str:
    """Format a name as code: Slack ignores all other formatting in it."""
    # a backtick would end the code: replace it by an apostrophe
    return f"`{_escaped(text).replace('`', chr(39))}`"


def _escaped(text: str) -> str:
    """Escape what Slack parses as links and mentions: https://docs.slack.dev/messaging/formatting-message-text ."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- PagerDuty ------------------------------------------------------------------------------------


def _mapping_event(alert: AlertSettings, one: Concern, place: Place) -> bytes:
    mapping = one.outcome.mapping
    key = f"dbt-segconn/{mapping.id}/{place.target}/{place.project}"  # the id comes first: a long key is cut
    if one.event == RECOVERED:
        return _event(alert, "resolve", key)
    summary = f"{mapping.name} to {mapping.destination}: {_title(one)}: {_reason(one)}"
    about = {"component": mapping.name, "class": one.problem, "custom_details": _facts(one)}
    return _event(alert, "trigger", key, {**_payload(alert, summary, place), **about})


def _run_key(place: Place) -> str:
    return f"dbt-segconn/run/{place.target}/{place.project}"


def _payload(alert: AlertSettings, summary: str, place: Place) -> dict[str, Any]:
    source = f"{place.project}, target {place.target}"
    return {"summary": summary[:SUMMARY_CHARACTERS], "source": source, "severity": alert.severity}


def _event(alert: AlertSettings, action: str, key: str, payload: dict[str, Any] | None = None) -> bytes:
    event = {"event_action": action, "dedup_key": key[:KEY_CHARACTERS], "client": "dbt-segconn"}
    routing_key = alert.routing_key.get_secret_value() if alert.routing_key else None
    return orjson.dumps({"routing_key": routing_key, **event, **({"payload": payload} if payload else {})})


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerts of a run. A failing webhook never fails the run: `warn` receives a text without the URL, a secret."""

    settings: Sequence[AlertSettings]
    place: Place
    warn: Callable[[str], None]

    def send(
        self, run: RunResult, mappings: Sequence[Mapping], open_state: OpenState, now: Callable[[], datetime]
    ) -> None:
        """Post the news of a run to each webhook that it concerns, and save what the webhooks accepted.

        `mappings` are all enabled mappings of the project. `now` returns the time of the warehouse in UTC.
        """
        if not self.settings:
            return
        webhooks = webhook_ids(self.settings)
        known = self._read(webhooks, open_state, now)
        found = outcomes(run, mappings, known.now)
        rows: list[AlertRow] = []
        posts = []
        for alert, webhook in zip(self.settings, webhooks, strict=True):
            concerns = list(news(alert, webhook, found, known))
            rows += [one.row(webhook, known.now) for one in concerns if one.event == SEEN]
            posts.append(list(bodies(alert, [one for one in concerns if one.event != SEEN], run, self.place)))
        for webhook, accepted in zip(webhooks, self._post(posts), strict=True):
            rows += [one.row(webhook, known.now) for body in accepted for one in body.concerns]
        # saved without the earlier state, every problem would start now
        if rows and known.is_known:
            self._save(rows, open_state)

    def send_error(self, error: Exception) -> None:
        """Post the error that ended a run before its syncs, to each webhook for failures. No state is read or saved."""
        # the text of an unexpected exception may have values of rows
        what = str(error) if isinstance(error, SegconnError) else f"an unexpected {type(error).__name__}"
        self._post([[error_body(one, what, self.place)] if "failed" in one.when else [] for one in self.settings])

    def _read(self, webhooks: Sequence[str], open_state: OpenState, now: Callable[[], datetime]) -> Known:
        try:
            with open_state() as state:
                last_alerts = {(row.mapping_id, row.webhook): row for row in state.last_alerts(webhooks)}
                return Known(now(), last_alerts, state.last_ends())
        except Exception as error:  # noqa: BLE001  a failing warehouse is itself a reason for alerts
            self.warn(
                f"the state of alerts cannot be read, so each run alerts on failures again, and stale or recovered "
                f"mappings are not alerted: {message_of(error)}"
            )
            return Known(now(), {}, {}, is_known=False)

    def _save(self, rows: Sequence[AlertRow], open_state: OpenState) -> None:
        try:
            with open_state() as state:
                state.append(state.alerts, rows)
        except Exception as error:  # noqa: BLE001  what was posted stays posted
            self.warn(f"the state of alerts was not saved, so the next run repeats these alerts: {message_of(error)}")

    def _post(self, posts: Sequence[Sequence[Body]]) -> list[list[Body]]:
        """Post to all webhooks at the same time, in order for each, and wait TIMEOUT_SECONDS at most.

        Return the bodies that each webhook accepted.
        """
        accepted: list[list[Body]] = [[] for _ in posts]
        reasons: list[str | None] = [f"no answer in {TIMEOUT_SECONDS:.0f} seconds"] * len(posts)

        def post(at: int) -> None:
            reasons[at] = _post_in_order(self.settings[at], posts[at], accepted[at])

        # daemon threads: a webhook that answers one byte a second must not keep the process alive
        waiting = [at for at, many in enumerate(posts) if many]
        threads = [threading.Thread(target=post, args=(at,), name="segconn-alert", daemon=True) for at in waiting]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        final = [list(many) for many in accepted]  # copies: a thread that is late may still append
        for at in waiting:
            if reason := reasons[at]:
                alert, count = self.settings[at], len(posts[at])
                host = urlsplit(alert.url.get_secret_value()).hostname
                some = f" ({len(final[at])} of {count} events were)" if count > 1 else ""
                self.warn(f"alert {at + 1} ({alert.format}, {host}) was not delivered{some}: {reason}")
        return final


def _post_in_order(alert: AlertSettings, many: Sequence[Body], accepted: list[Body]) -> str | None:
    """Post each body once, and add it to `accepted` if the status is 2xx.

    Stop at the first failure and return its reason, without any part of the URL.
    """
    try:
        headers = {name: value.get_secret_value() for name, value in alert.headers.items()}
        headers["Content-Type"] = "application/json"
        url, timeout = alert.url.get_secret_value(), (TIMEOUT_SECONDS, TIMEOUT_SECONDS)
        with closing(Connection(url, headers, timeout=timeout)) as connection:
            for body in many:
                status = connection.post(body.content).status
                if not 200 <= status < 300:
                    return f"HTTP status {status}"
                accepted.append(body)
    except NoResponseError as error:
        return classify_error(error).reason
    except Exception as error:  # noqa: BLE001  an alert never ends a run
        return type(error).__name__
    return None
