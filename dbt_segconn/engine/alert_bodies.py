"""The bodies of alerts: a message for Slack, results as JSON, events for PagerDuty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from dbt_segconn.engine.alert_news import RECOVERED, REMINDER, STALE, Concern, mappings_of
from dbt_segconn.engine.gate import RunResult, Skip
from dbt_segconn.engine.report import as_json
from dbt_segconn.errors import counted
from dbt_segconn.project.settings import AlertSettings

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
    ill = sum(one.event != RECOVERED for one in due)
    among = {mapping.id for mapping in (*mappings_of(run), *(one.outcome.mapping for one in due))}
    total = counted(len(among), "sync")
    parts = [f"{ill} of {total} {'needs' if ill == 1 else 'need'} a look"] if ill else []
    parts += [f"{len(due) - ill} recovered"] if len(due) > ill else []
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
