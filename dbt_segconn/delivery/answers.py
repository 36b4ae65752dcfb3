"""What the answer to a request means, of batches and of checks: confirmed, rejected, throttled, unknown, unusable."""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import urllib3

from dbt_segconn.delivery.connection import (
    PROXY_AUTHENTICATION_REQUIRED,
    Connection,
    NoResponseError,
    Response,
)

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
    """The batch may have arrived or not: retry it. `reached` is False if the connection failed."""

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
    if status in {400, 413}:  # the sender splits the batch until the rejected call is alone
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
    # for urllib3, a refused connection or an unknown host is a timeout, too
    is_new = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not is_new:
        return Unknown("no answer in time", reached=not isinstance(cause, urllib3.exceptions.ConnectTimeoutError))
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
        if until := http_date(value):
            return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
    return None


def http_date(text: str | None) -> datetime | None:
    """Parse a date of an HTTP header; return None for other texts."""
    try:
        found: datetime = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):  # a hostile date may raise any of them
        return None
    # the obsolete date formats of RFC 9110 have no zone and mean UTC
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


# Validates a key without a call: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
SETTINGS_HOST = "https://cdn.segment.com"
# Seconds to connect, seconds without a byte
CHECK_TIMEOUT = (10.0, 10.0)


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """The settings endpoint's answer about a write key; `is_known` is None if the answer does not decide it.

    `region` is the region of the source, if the answer contains it.
    """

    status: int
    is_known: bool | None
    region: str | None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The host did not answer."""

    reason: str


def check_write_key(host: str, write_key: str) -> KeyStatus | Unreachable:
    """Request the settings of a write key; no returned text contains the key."""
    response = _get(f"{host}/v1/projects/{quote(write_key, safe='')}/settings")
    if isinstance(response, Unreachable):
        return response
    body = _json(response)
    if response.status == 200 and "integrations" in body:
        return KeyStatus(200, is_known=True, region=_region(body))
    # At Segment's host, these statuses mean an unknown key; another host may just lack this path
    is_rejected = response.status in {400, 401, 403, 404}
    is_conclusive = host == SETTINGS_HOST or "write key" in str(body.get("message"))
    return KeyStatus(response.status, is_known=False if is_rejected and is_conclusive else None, region=None)


def measure_clock_skew(endpoint: str) -> float | Unreachable | None:
    """Return the seconds by which this machine's clock is ahead of the endpoint's; None if it sends no time."""
    before = time.time()
    response = _get(f"{endpoint}/")
    if isinstance(response, Unreachable):
        return response
    server = http_date(response.headers.get("Date"))
    if server is None:
        return None
    # the header is truncated to seconds, so it is half a second late on average
    return (before + time.time()) / 2 - (server.timestamp() + 0.5)


def _get(url: str) -> Response | Unreachable:
    try:
        # the path holds the write key
        with closing(Connection(url, {}, timeout=CHECK_TIMEOUT)) as connection:
            return connection.get()
    except NoResponseError as error:
        return Unreachable(classify_error(error).reason)
    except ValueError:
        return Unreachable("the URL is not valid")


def _json(response: Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _region(body: dict[str, Any]) -> str | None:
    """Read the region from the API host of the source: api.segment.io, or a host with eu1 in its name."""
    # the answer is not trusted: any value may have another type
    segment = body["integrations"].get("Segment.io") if isinstance(body["integrations"], dict) else None
    host = str(segment.get("apiHost", "")) if isinstance(segment, dict) else ""
    if re.search(r"\beu\d", host):
        return "eu-west-1"
    return "us-west-2" if host.split("/")[0].endswith("segment.io") else None
