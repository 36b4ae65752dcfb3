"""How Segment processes a request: errors, dropped calls, and the fields that it adds to a call.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
https://segment.com/docs/connections/spec/common/#timestamps
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson

# Not imported from limits.py: tests send to the debugger, and so find a wrong limit there
BATCH_BYTES = 500 * 1000
# Segment documents 32 KB, which may be 1,000 or 1,024 bytes each. The debugger accepts what Segment may accept
CALL_BYTES = 32 * 1024
BATCH_CALLS = 2_500
MESSAGE_ID_CHARACTERS = 100

# None of the five actions sends alias, but Segment accepts it
CALL_TYPES = ("identify", "track", "group", "page", "screen", "alias")
TOO_LARGE = f"a call is larger than {CALL_BYTES:,} bytes"
TOO_DEEP = "the body is nested too deeply"
TOO_MANY = f"more than {BATCH_CALLS:,} calls in a batch"
_REQUIRED = {"track": "event", "group": "groupId"}
# Fields of a batch that apply to each of its calls
_SHARED = ("context", "integrations")
# Wider than the pattern in limits.py: ISO-8601 also has dates without a time, and times without a zone
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?:(:\d\d)(?:[.,](\d+))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def request_error(body: Any, endpoint: str, size: int) -> str | None:
    """Return the reason for status 400 of a request of `size` bytes, or None if the request is accepted."""
    if not isinstance(body, dict):
        return "the body must be a JSON object"
    if not _is_writable(body):
        return TOO_DEEP
    if endpoint != "batch":
        return TOO_LARGE if size > CALL_BYTES else None
    batch = body.get("batch")
    if not isinstance(batch, list) or not all(isinstance(call, dict) for call in batch):
        return "`batch` must be a list of objects"
    # a short request needs no look at each call. Shared fields are sent once, but each call has them
    shared = {name: body[name] for name in _SHARED if name in body}
    if size > CALL_BYTES and any(len(orjson.dumps(part)) > CALL_BYTES for part in (shared, *batch)):
        return TOO_LARGE
    return None


def _is_writable(body: Any) -> bool:
    """Return whether orjson can write parsed JSON, because it reads deeper nesting than it writes."""
    try:
        orjson.dumps(body)
    except TypeError:
        return False
    return True


def drop_reason(call: dict[str, Any]) -> str | None:
    """Return why Segment returns 200 for a call and still drops it, or None if it keeps the call."""
    call_type = call.get("type")
    if call_type not in CALL_TYPES:
        return f"type must be one of {', '.join(CALL_TYPES)}"
    if not call.get("userId") and not call.get("anonymousId"):
        return "neither userId nor anonymousId"
    required = _REQUIRED.get(call_type)
    if required and not call.get(required):
        return f"{call_type} without {required}"
    if len(str(call.get("messageId") or "")) > MESSAGE_ID_CHARACTERS:
        return f"messageId longer than {MESSAGE_ID_CHARACTERS} characters"
    timestamp = call.get("timestamp")
    if timestamp is not None and parse_time(timestamp) is None:
        return "timestamp is not ISO-8601"
    return None


@dataclass(frozen=True, slots=True)
class Arrival:
    """The fields that one request adds to each of its calls."""

    received_at: str
    sent_at: Any
    skew: timedelta | None
    """receivedAt - sentAt, if `sentAt` is a time."""
    shared: tuple[tuple[str, dict[str, Any]], ...]

    def receive(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of a call as Segment passes it on."""
        received = {**call, "receivedAt": self.received_at}
        received.pop("writeKey", None)  # the page and the log must not show it
        for name, shared in self.shared:
            own = call.get(name)
            received[name] = {**shared, **own} if isinstance(own, dict) else shared
        if self.sent_at is not None:
            received["sentAt"] = self.sent_at
        return self._timed(received)

    def _timed(self, received: dict[str, Any]) -> dict[str, Any]:
        original = received.get("timestamp")
        if original is None:
            received["timestamp"] = self.received_at
        elif time := parse_time(original):
            received["originalTimestamp"] = original
            received["timestamp"] = _corrected(time, self.skew) or original
        return received


def read_arrival(body: dict[str, Any], now: datetime) -> Arrival:
    """Return the fields that a request's body adds to its calls; `now` is in UTC."""
    sent = parse_time(body.get("sentAt"))
    shared = tuple((name, value) for name in _SHARED if isinstance(value := body.get(name), dict))
    return Arrival(_iso(now), body.get("sentAt"), now - sent if sent else None, shared)


def parse_time(value: Any) -> datetime | None:
    """Parse an ISO-8601 date or time, in UTC if it has no time zone. Return None for other values."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    date, minute, second, fraction, zone = match.groups()
    # Python 3.10 reads only fractions of 3 or 6 digits, and time zones with a colon
    text = f"{date}T{minute or '00:00'}{second or ':00'}.{(fraction or '0')[:6]:0<6}{_offset(zone)}"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _offset(zone: str | None) -> str:
    if zone is None or zone == "Z":
        return "+00:00"
    return f"{zone[:3]}:{zone[-2:] if len(zone) > 3 else '00'}"


def _iso(time: datetime) -> str:
    """Write a UTC time to the millisecond, as Segment does."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _corrected(time: datetime, skew: timedelta | None) -> str | None:
    """Return receivedAt - (sentAt - timestamp), which corrects a wrong clock of the sender."""
    try:
        return _iso((time + skew if skew else time).astimezone(timezone.utc))
    except OverflowError:
        return None
