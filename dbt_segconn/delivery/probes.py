"""Requests of `dbt-segconn debug`, which send no call: is a write key known, in which region, is the clock right."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from dbt_segconn.delivery.answers import classify_error
from dbt_segconn.delivery.connection import Connection, NoResponseError, Response, debug_logging_disabled

# Validates a key without a call: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
SETTINGS_HOST = "https://cdn.segment.com"
TIMEOUT = (10.0, 10.0)


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


def measure_clock_skew(endpoint: str, now: Callable[[], float] = time.time) -> float | Unreachable | None:
    """Return the seconds by which this machine's clock is ahead of the endpoint's; None if it sends no time."""
    before = now()
    response = _get(f"{endpoint}/")
    if isinstance(response, Unreachable):
        return response
    try:
        server: datetime = parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    # The header is truncated to seconds, so it is half a second late on average
    return (before + now()) / 2 - (server.timestamp() + 0.5)


def _get(url: str) -> Response | Unreachable:
    try:
        connection = Connection(url, {}, timeout=TIMEOUT)
        with debug_logging_disabled():
            try:
                return connection.get()
            finally:
                connection.close()
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
    segment = body["integrations"].get("Segment.io") if isinstance(body["integrations"], dict) else None
    host = str(segment.get("apiHost", "")) if isinstance(segment, dict) else ""
    if re.search(r"\beu\d", host):
        return "eu-west-1"
    return "us-west-2" if host.split("/")[0].endswith("segment.io") else None
