"""What the answer to a request means: confirmed, rejected, throttled, unknown, or a destination that is unusable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3

from dbt_segconn.delivery.connection import PROXY_AUTHENTICATION_REQUIRED, NoResponseError

# https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#errors and Segment's SDKs
RETRIED = frozenset({408, 410, 460})
NOT_RETRIED = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The API accepted the batch."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The API rejected the batch; a retry of the same bytes cannot succeed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """The API asks for a pause; `seconds` is None if it names no duration."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The batch may or may not have arrived: retry it. `reached`: a server answered."""

    reason: str
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Unusable:
    """No request to this destination can succeed until its configuration is fixed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unauthorized(Unusable):
    """The API rejected the write key or the access token."""


Answer = Confirmed | Rejected | Throttled | Unknown | Unusable


def classify(status: int, headers: Any) -> Answer:
    """Return the meaning of a response. The body may hold payloads, so it is not read."""
    if 200 <= status < 300:
        return Confirmed()
    if status in {400, 413}:
        return Rejected(f"Segment rejected the call with HTTP status {status}")
    if status == 429:
        return Throttled(_pause(headers))
    if status in {401, 403}:
        return Unauthorized(f"the write key was rejected with HTTP status {status}; check `write_key` in segconn.yml")
    if status in RETRIED or (status >= 500 and status not in NOT_RETRIED):
        return Unknown(f"HTTP status {status}")
    return Unusable(f"unexpected HTTP status {status}; check `endpoint` and `region` in segconn.yml")


def classify_error(error: NoResponseError) -> Unknown | Unusable:
    """Return the meaning of a missing response: unknown, or unusable if a retry cannot help."""
    if error.is_late:
        return Unknown("no answer in time")
    if error.proxy_status == PROXY_AUTHENTICATION_REQUIRED:
        return Unusable(
            f"the proxy {error.proxy} requires a password (HTTP status {error.proxy_status}); "
            "add it to the proxy's URL in the environment"
        )
    if isinstance(error.cause, urllib3.exceptions.ProxyError):
        status = f" (HTTP status {error.proxy_status})" if error.proxy_status else ""
        return Unknown(f"no connection through the proxy {error.proxy}{status}", reached=False)
    if isinstance(error.cause, urllib3.exceptions.HTTPError):
        return _classify_cause(error.cause, str(error.cause))
    if isinstance(error.cause, ValueError):
        return Unusable("the URL is not valid")
    return Unusable("the CA certificates cannot be read; check REQUESTS_CA_BUNDLE")


def _classify_cause(cause: urllib3.exceptions.HTTPError, text: str) -> Unknown | Unusable:
    if isinstance(cause, urllib3.exceptions.LocationValueError):
        return Unusable("the URL is not valid")
    if isinstance(cause, urllib3.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in text:
        return Unusable("the TLS certificate cannot be verified")
    is_new = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not is_new:
        return Unknown("no answer in time")
    return Unknown(_connection_reason(text), reached=False)


def _connection_reason(text: str) -> str:
    """Return the cause in few words; urllib3's own text contains memory addresses."""
    if "refused" in text:
        return "connection refused"
    if "resolve" in text or "getaddrinfo" in text:
        return "the host name cannot be resolved"
    return "the connection broke"


def _pause(headers: Any) -> float | None:
    """Read the seconds to wait: Retry-After (seconds or a date), else X-RateLimit-Reset (seconds)."""
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
        if until.tzinfo is None:  # the obsolete date formats of RFC 9110 have no zone and mean UTC
            until = until.replace(tzinfo=timezone.utc)
        return float(max(0.0, (until - datetime.now(timezone.utc)).total_seconds()))
    return None
