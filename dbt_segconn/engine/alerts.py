"""Alerts: choose the syncs of each webhook, and post them once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from dbt_segconn.delivery.answers import classify_error
from dbt_segconn.delivery.connection import Connection, NoResponseError
from dbt_segconn.engine.gate import RunResult, Skip, SyncResult
from dbt_segconn.engine.report import as_json
from dbt_segconn.errors import SegconnError, counted
from dbt_segconn.project.settings import AlertSettings

# A webhook has so long to answer; the run is done and only waits for this
TIMEOUT_SECONDS = 10.0
# Syncs in a text message; Slack cuts a message at 40,000 characters
SHOWN = 20
MESSAGE_CHARACTERS = 500

# status → what to do about it, beyond the message
_ADVICE = {
    "failed": "Fix the cause and run again.",
    "partial": "These records are offered again by the next syncs.",
    "blocked": "Look at the model before you let it through.",
    "skipped": "Fix the cause, then run dbt and dbt-segconn again.",
    "canceled": "The next run goes on from there.",
}


@dataclass(frozen=True, slots=True)
class Concern:
    """A sync in an alert. `facts` is its result in the artifact."""

    outcome: SyncResult | Skip
    facts: dict[str, Any]

    @property
    def status(self) -> str:
        """The sync's status; a sync that dbt's failure kept back counts as `skipped`."""
        return str(self.facts["status"])

    @property
    def rate(self) -> float | None:
        """Percent of the records to send that were confirmed; None if there were none to send."""
        counts = self.facts["counts"]
        return 100 * counts["confirmed"] / counts["to_send"] if counts["to_send"] else None


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerts of a run. A failing webhook never fails the run: `warn` receives it, without the URL."""

    settings: Sequence[AlertSettings]
    project: str
    warn: Callable[[str], None]

    def send(self, run: RunResult) -> None:
        """Post the results of a run to each webhook that they concern."""
        self._post(lambda alert: _body(alert, run, self.project))

    def send_error(self, error: Exception) -> None:
        """Post the error that ended a run before its syncs, to each webhook for failures."""
        what = str(error) if isinstance(error, SegconnError) else f"an unexpected {type(error).__name__}"
        self._post(lambda alert: _broken(alert, what, self.project) if "failed" in alert.when else None)

    def _post(self, body_of: Callable[[AlertSettings], bytes | None]) -> None:
        bodies = {number: body_of(alert) for number, alert in enumerate(self.settings, start=1)}
        _post_all(self.settings, {number: body for number, body in bodies.items() if body}, self.warn)


def concerns(alert: AlertSettings, run: RunResult) -> list[Concern]:
    """Choose the syncs that an alert is about."""
    outcomes: list[SyncResult | Skip] = [*run.results, *run.skipped]
    found = (Concern(*pair) for pair in zip(outcomes, as_json(run)["results"], strict=True))
    return [one for one in found if _is_named(alert, one) and _is_due(alert, one)]


def _is_named(alert: AlertSettings, one: Concern) -> bool:
    mapping = one.outcome.mapping
    return not alert.mappings or not mapping.names.all.isdisjoint(alert.mappings)


def _is_due(alert: AlertSettings, one: Concern) -> bool:
    if isinstance(one.outcome, Skip):
        return one.outcome.is_failure and "failed" in alert.when
    below = alert.delivery_rate_below
    return one.status in alert.when or (below is not None and one.rate is not None and one.rate < below)


def _body(alert: AlertSettings, run: RunResult, project: str) -> bytes | None:
    due = concerns(alert, run)
    if not due:
        return None
    if alert.format == "json":
        return orjson.dumps({**as_json(run), "project": project, "error": None, "results": list(map(_facts, due))})
    total = counted(len(run.results) + len(run.skipped), "sync")
    heading = f"{_heading(project)}: {len(due)} of {total} {'needs' if len(due) == 1 else 'need'} a look"
    return orjson.dumps({"text": "\n".join([heading, *_lines(due)])})


def _heading(project: str) -> str:
    return f"*dbt-segconn* in {_name(project)}"


def _facts(one: Concern) -> dict[str, Any]:
    """Return the sync's result in the artifact, with its file, delivery rate and advice."""
    rate = None if one.rate is None else round(one.rate, 2)
    file = one.outcome.mapping.model.file
    return {**one.facts, "file": file, "delivery_rate": rate, "advice": _ADVICE.get(one.status)}


def _lines(due: Sequence[Concern]) -> Iterator[str]:
    for one in due[:SHOWN]:
        mapping = one.outcome.mapping
        where = f"{_name(mapping.name)} to {_name(mapping.destination)}, {_name(mapping.model.file)}"
        yield f"• *{one.status}* {where}{_counts(one)}"
        yield from (f"    {text}" for text in (_message(one.facts.get("message")), _ADVICE.get(one.status)) if text)
    if len(due) > SHOWN:
        yield f"… and {len(due) - SHOWN} more: target/segconn/run_results.json has them all"


def _counts(one: Concern) -> str:
    if isinstance(one.outcome, Skip) or one.outcome.row is None:
        return ""  # it ended before it counted anything
    counts = one.facts["counts"]
    rate = "" if one.rate is None else f" ({one.rate:.1f}%)"
    return f": {counts['confirmed']:,} of {counts['to_send']:,} confirmed{rate}, {counts['discarded']:,} discarded"


def _broken(alert: AlertSettings, what: str, project: str) -> bytes:
    """Return the body about a run that ended before its syncs."""
    if alert.format == "json":
        return orjson.dumps({"success": False, "project": project, "error": what, "results": []})
    return orjson.dumps({"text": f"{_heading(project)}: the run could not go on\n    {_message(what)}"})


def _message(text: str | None) -> str:
    return _escaped(" ".join((text or "").split())[:MESSAGE_CHARACTERS])


def _name(text: str) -> str:
    """Set a name as code, in which Slack reads no other formatting."""
    return f"`{_escaped(text).replace('`', chr(39))}`"


def _escaped(text: str) -> str:
    """Escape what Slack reads as links and mentions: https://docs.slack.dev/messaging/formatting-message-text ."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post_all(alerts: Sequence[AlertSettings], bodies: dict[int, bytes], warn: Callable[[str], None]) -> None:
    """Post to all webhooks at once, and wait no longer than the slowest of them may take."""
    failures: dict[int, str | None] = dict.fromkeys(bodies, f"no answer in {TIMEOUT_SECONDS:.0f} seconds")

    def post(number: int) -> None:
        failures[number] = _post(alerts[number - 1].url.get_secret_value(), bodies[number])

    # daemons: a webhook that answers a byte a second keeps no process alive
    threads = [threading.Thread(target=post, args=(number,), name="segconn-alert", daemon=True) for number in bodies]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for number, reason in dict(failures).items():  # a copy: a late thread may still write to it
        if reason:
            alert = alerts[number - 1]
            host = urlsplit(alert.url.get_secret_value()).hostname
            warn(f"alert {number} ({alert.format}, {host}) was not delivered: {reason}")


def _post(url: str, body: bytes) -> str | None:
    """Post once; returns why it was not taken, without any of the URL."""
    try:
        headers = {"Content-Type": "application/json"}
        with closing(Connection(url, headers, timeout=(TIMEOUT_SECONDS, TIMEOUT_SECONDS))) as connection:
            reply = connection.post(body)
    except NoResponseError as error:
        return classify_error(error).reason
    except Exception as error:  # noqa: BLE001  an alert never ends a run
        return type(error).__name__
    return None if 200 <= reply.status < 300 else f"HTTP status {reply.status}"
