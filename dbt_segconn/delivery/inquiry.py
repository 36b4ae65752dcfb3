"""What can be asked of Segment while nothing is sent: whether it takes a write key, where its source is, the time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from dbt_segconn.delivery.answers import meaning_of
from dbt_segconn.delivery.connection import Connection, Reply, Unanswered, paths_unlogged

# https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/ : checks a key without a call
SETTINGS_HOST = "https://cdn.segment.com"
TIMEOUT = (10.0, 10.0)


@dataclass(frozen=True, slots=True)
class KeyReply:
    """What a settings endpoint says of a write key: `is_known` is None where it says nothing of it.

    `region` is that of the source, where it is told.
    """

    status: int
    is_known: bool | None
    region: str | None


@dataclass(frozen=True, slots=True)
class NoReply:
    """Nobody has answered."""

    reason: str


def ask_about_key(host: str, write_key: str) -> KeyReply | NoReply:
    """Ask the settings endpoint of a host about a write key, which stands in no text that this returns."""
    response = _get(f"{host}/v1/projects/{quote(write_key, safe='')}/settings")
    if isinstance(response, NoReply):
        return response
    body = _json(response)
    if response.status == 200 and "integrations" in body:
        return KeyReply(200, is_known=True, region=_region(body))
    # Segment's own host has no other reason to refuse; another one may just not know this path
    refuses = response.status in {400, 401, 403, 404}
    says_so = host == SETTINGS_HOST or "write key" in str(body.get("message"))
    return KeyReply(response.status, is_known=False if refuses and says_so else None, region=None)


def ask_for_time(endpoint: str, now: Callable[[], float] = time.time) -> float | NoReply | None:
    """Return by how many seconds this machine's clock is ahead of the endpoint's; None where it tells no time."""
    before = now()
    response = _get(f"{endpoint}/")
    if isinstance(response, NoReply):
        return response
    try:
        theirs: datetime = parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    # the header has whole seconds, half a second of them on average gone
    return (before + now()) / 2 - (theirs.timestamp() + 0.5)


def _get(url: str) -> Reply | NoReply:
    try:
        connection = Connection(url, {}, timeout=TIMEOUT)
        with paths_unlogged():
            try:
                return connection.get()
            finally:
                connection.close()
    except Unanswered as error:
        return NoReply(meaning_of(error).reason)
    except ValueError:
        return NoReply("its URL is not valid")


def _json(response: Reply) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _region(body: dict[str, Any]) -> str | None:
    """Read where the source's calls go: api.segment.io, or a host with eu1 in its name."""
    segment = body["integrations"].get("Segment.io") if isinstance(body["integrations"], dict) else None
    host = str(segment.get("apiHost", "")) if isinstance(segment, dict) else ""
    if re.search(r"\beu\d", host):
        return "eu-west-1"
    return "us-west-2" if host.split("/")[0].endswith("segment.io") else None
