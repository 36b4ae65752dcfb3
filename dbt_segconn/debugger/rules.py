"""What Segment does with a request and with each call in it.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import orjson

BATCH_BYTES = 500 * 1000
EVENT_BYTES = 32 * 1024
BATCH_EVENTS = 2_500
MESSAGE_ID_CHARACTERS = 100

TYPES = ("identify", "track", "group", "page", "screen", "alias")
_NAMED = {"track": "event", "group": "groupId"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)", re.ASCII)


def refusal(body: Any, kind: str, size: int) -> str | None:
    """Say why a whole request is answered with 400, or None where it is taken."""
    if size > BATCH_BYTES:
        return f"the request is larger than {BATCH_BYTES:,} bytes"
    if not isinstance(body, dict):
        return "the body is no JSON object"
    if kind != "batch":
        return None
    batch = body.get("batch")
    if not isinstance(batch, list) or not all(isinstance(call, dict) for call in batch):
        return "`batch` is no list of objects"
    if size > EVENT_BYTES and any(len(orjson.dumps(call)) > EVENT_BYTES for call in batch):
        return f"a call is larger than {EVENT_BYTES:,} bytes"
    return None


def drop_reason(call: dict[str, Any]) -> str | None:
    """Say why Segment would answer 200 and drop a call all the same."""
    kind = call.get("type")
    if kind not in TYPES:
        return f"type is not one of {', '.join(TYPES)}"
    if not call.get("userId") and not call.get("anonymousId"):
        return "neither userId nor anonymousId"
    needed = _NAMED.get(kind)
    if needed and not call.get(needed):
        return f"{kind} without {needed}"
    if len(str(call.get("messageId") or "")) > MESSAGE_ID_CHARACTERS:
        return f"messageId longer than {MESSAGE_ID_CHARACTERS} characters"
    timestamp = call.get("timestamp")
    if timestamp is not None and not (isinstance(timestamp, str) and _TIME.fullmatch(timestamp)):
        return "timestamp is not ISO-8601 with a time zone"
    return None


def received(call: dict[str, Any], body: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return a call as Segment passes it on: with the batch's context and integrations, times corrected."""
    full = {**call}
    for name in ("context", "integrations"):
        shared = body.get(name)
        if isinstance(shared, dict):
            own = call.get(name)
            full[name] = {**shared, **own} if isinstance(own, dict) else shared
    sent_at = body.get("sentAt") or call.get("sentAt")
    full.update(receivedAt=_text(now), originalTimestamp=call.get("timestamp"), sentAt=sent_at)
    full["timestamp"] = _corrected(call.get("timestamp"), sent_at, now)
    return full


def _corrected(timestamp: Any, sent_at: Any, now: datetime) -> str:
    """Timestamp = receivedAt - (sentAt - the timestamp that was sent): the sender's clock may be wrong."""
    sent, said = _moment(sent_at), _moment(timestamp)
    if said is None:
        return _text(now)
    return _text(now - (sent - said)) if sent else _text(said)


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(
            re.sub(r"\.(\d{1,6})\d*", lambda part: f".{part[1]:0<6}", value).replace("Z", "+00:00")
        )
    except ValueError:
        return None


def _text(moment: datetime) -> str:
    utc = moment.astimezone(timezone.utc)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z"
