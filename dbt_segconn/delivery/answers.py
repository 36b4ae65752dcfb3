"""What an HTTP answer means: a value that says what is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3

from dbt_segconn.delivery.connection import PROXY_REFUSED, Unanswered

# https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#errors and Segment's SDKs
RETRIED = frozenset({408, 410, 460})
NOT_RETRIED = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The API took the batch."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something in the batch is not acceptable; sending it again as it is would not help."""

    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too fast: wait for so many seconds, or by our own judgement where there is no number."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The batch may or may not have arrived: send it again. `reached` is whether anybody answered."""

    reason: str
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """The API will take nothing from this destination until somebody mends it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unauthorized(Lost):
    """The API does not take the write key, or the token that stands for it."""


Answer = Confirmed | Refused | Throttled | Unknown | Lost


def meaning_of(error: Unanswered) -> Unknown | Lost:
    """Return what it means that no answer came: unknown, unless another attempt cannot help."""
    if error.is_late:
        return Unknown("no answer in time")
    if error.proxy_status == PROXY_REFUSED:
        return Lost(f"the proxy {error.proxy} refuses the request (HTTP status {PROXY_REFUSED}): it wants a password")
    if isinstance(error.cause, urllib3.exceptions.ProxyError):
        status = f" (HTTP status {error.proxy_status})" if error.proxy_status else ""
        return Unknown(f"the proxy {error.proxy} does not connect{status}", reached=False)
    if isinstance(error.cause, urllib3.exceptions.HTTPError):
        return _meaning_of_cause(error.cause, str(error.cause))
    if isinstance(error.cause, ValueError):
        return Lost("its URL is not valid")
    return Lost("the certificates to verify it with cannot be read; is REQUESTS_CA_BUNDLE right?")


def _meaning_of_cause(cause: urllib3.exceptions.HTTPError, text: str) -> Unknown | Lost:
    if isinstance(cause, urllib3.exceptions.LocationValueError):
        return Lost("its URL is not valid")
    if isinstance(cause, urllib3.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in text:
        return Lost("its certificate cannot be verified")
    is_new = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not is_new:
        return Unknown("no answer in time")
    return Unknown(_connection_reason(text), reached=False)


def _connection_reason(text: str) -> str:
    """Name the cause in few words: the library's own text holds addresses of objects."""
    if "refused" in text:
        return "connection refused"
    if "resolve" in text or "getaddrinfo" in text:
        return "its host name cannot be resolved"
    return "the connection broke"


def classify(status: int, headers: Any) -> Answer:
    """Say what an HTTP answer means; its body may hold payloads and is never looked at."""
    if 200 <= status < 300:
        return Confirmed()
    if status in {400, 413}:
        return Refused(f"Segment refused the call with HTTP status {status}")
    if status == 429:
        return Throttled(_wait(headers))
    if status in {401, 403}:
        return Unauthorized(f"it refused the write key with HTTP status {status}")
    if status in RETRIED or (status >= 500 and status not in NOT_RETRIED):
        return Unknown(f"HTTP status {status}")
    return Lost(f"it answered with HTTP status {status}; is `endpoint` or `region` right?")


def _wait(headers: Any) -> float | None:
    """Read how long to wait: Retry-After, in seconds or as a date, else X-RateLimit-Reset in seconds."""
    for name in ("Retry-After", "X-RateLimit-Reset"):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value))
        except ValueError:
            pass
        try:
            until: datetime = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            continue
        if until.tzinfo is None:  # RFC 9110's obsolete forms name no zone; they are UTC
            until = until.replace(tzinfo=timezone.utc)
        return float(max(0.0, (until - datetime.now(timezone.utc)).total_seconds()))
    return None
