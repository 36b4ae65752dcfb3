"""Reads the newest calls of a debugger on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.urls import check_endpoint
from dbt_segconn.web.local_server import LOCAL

DEFAULT_URL = "http://127.0.0.1:8123"
SHOWN_CALLS = 100
TIMEOUT_SECONDS = 3


def find_debugger(settings: Settings, url: str | None) -> str:
    """Return the debugger's URL: `url`, else the first local endpoint of segconn.yml, else the default.

    Raises ConfigurationError if `url` is not a base URL on this machine.
    """
    if url is not None:
        try:
            check_endpoint(url)
        except ValueError as error:
            raise ConfigurationError(f"--debugger: {error}.") from None
        if not _is_local(url):
            raise ConfigurationError(f"--debugger {url}: must be a URL on this machine, such as {DEFAULT_URL}.")
    endpoints = [one.base_url for one in settings.destinations.values() if _is_local(one.base_url)]
    return (url or next(iter(endpoints), DEFAULT_URL)).rstrip("/")


def _is_local(url: str) -> bool:
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.hostname in LOCAL and parts.port != 0
    return False


def newest_calls(url: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a debugger's `counts` and its newest matching `calls`, or a `problem` if no debugger answers.

    The query has `type`, `q` and `dropped`, as in GET /events of the debugger.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy cannot reach this machine
            stats = _get(session, f"{url}/stats")
            lines = _get(session, f"{url}/events", {**query, "limit": str(SHOWN_CALLS)}).splitlines()
        return {"url": url, "counts": orjson.loads(stats), "calls": [_call_of(line) for line in lines], "problem": None}
    except (requests.RequestException, orjson.JSONDecodeError, KeyError, TypeError):
        title = f"No debugger answers at {url}."
        hint = "Start one with `dbt-segconn debugger` or `dbt-segconn ui --with-debugger`."
        return {"url": url, "problem": {"title": title, "lines": [hint]}}


def _get(session: requests.Session, url: str, query: Mapping[str, str] | None = None) -> bytes:
    response = session.get(url, params=query, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    response.raise_for_status()
    return response.content


def _call_of(line: bytes) -> dict[str, Any]:
    """Return a call for the page, as text, because JavaScript changes large numbers."""
    entry = orjson.loads(line)
    return {"number": entry["number"], "dropped": entry["dropped"], "text": orjson.dumps(entry["call"]).decode()}
