"""What a call looks like once Segment has received it: its times, and what its batch gives to it.

https://segment.com/docs/connections/spec/common/#timestamps
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

# What a batch gives to each of its calls
SHARED = ("context", "integrations")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?:(:\d\d)(?:[.,](\d+))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one request gives to each of its calls."""

    received_at: str
    sent_at: Any
    skew: timedelta | None
    """How far the sender's clock is behind, where `sentAt` tells."""
    shared: tuple[tuple[str, dict[str, Any]], ...]

    def receive(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return a call as Segment passes it on; the one given stays as it is."""
        full = {**call, "receivedAt": self.received_at}
        full.pop("writeKey", None)
        for name, shared in self.shared:
            own = call.get(name)
            full[name] = {**shared, **own} if isinstance(own, dict) else shared
        if self.sent_at is not None:
            full["sentAt"] = self.sent_at
        return self._timed(full)

    def _timed(self, full: dict[str, Any]) -> dict[str, Any]:
        sent = full.get("timestamp")
        if sent is None:
            full["timestamp"] = self.received_at
        elif said := moment(sent):
            full["originalTimestamp"] = sent
            full["timestamp"] = _corrected(said, self.skew) or sent
        return full


def arrival(body: dict[str, Any], now: datetime) -> Arrival:
    """Read what a request's body gives to its calls; `now` is in UTC."""
    sent = moment(body.get("sentAt"))
    shared = tuple((name, value) for name in SHARED if isinstance(value := body.get(name), dict))
    return Arrival(iso(now), body.get("sentAt"), now - sent if sent else None, shared)


def moment(value: Any) -> datetime | None:
    """Read an ISO-8601 date or time, in UTC where it names no zone; None where it is none."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    date, minute, second, fraction, zone = match.groups()
    # Python 3.10 reads only fractions of 3 or 6 digits, and zones with a colon
    text = f"{date}T{minute or '00:00'}{second or ':00'}.{(fraction or '0')[:6]:0<6}{_offset(zone)}"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _offset(zone: str | None) -> str:
    if zone is None or zone == "Z":
        return "+00:00"
    return f"{zone[:3]}:{zone[-2:] if len(zone) > 3 else '00'}"


def iso(when: datetime) -> str:
    """Write a time in UTC as Segment does, to the millisecond."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _corrected(said: datetime, skew: timedelta | None) -> str | None:
    """Timestamp = receivedAt - (sentAt - the timestamp that was sent): the sender's clock may be wrong."""
    try:
        return iso((said + skew if skew else said).astimezone(timezone.utc))
    except OverflowError:
        return None
