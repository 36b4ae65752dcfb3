"""The newest calls of a debugger that runs on this machine."""

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
from dbt_segconn.web.debugger.local import LOCAL

DEFAULT_URL = "http://127.0.0.1:8123"
SHOWN_CALLS = 100
TIMEOUT_SECONDS = 3


def find_debugger(settings: Settings, given: str | None) -> str:
    """Return the debugger's URL: as given, else where a destination of segconn.yml delivers on this machine.

    Raises ConfigurationError where the one given is on another machine, or is no base URL.
    """
    if given is not None:
        try:
            check_endpoint(given)
        except ValueError as error:
            raise ConfigurationError(f"--debugger: {error}.") from None
        if not _is_local(given):
            raise ConfigurationError(f"--debugger {given}: must be a URL on this machine, such as {DEFAULT_URL}.")
    endpoints = [one.base_url for one in settings.destinations.values() if _is_local(one.base_url)]
    return (given or next(iter(endpoints), DEFAULT_URL)).rstrip("/")


def _is_local(url: str) -> bool:
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.hostname in LOCAL and parts.port != 0
    return False


def newest_calls(url: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Ask a debugger for its counts and its newest calls that fit a query; a `problem` where none answers.

    The query has `type`, `q` and `dropped`, as the debugger's own page has them.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy leads to this machine
            stats = _get(session, f"{url}/stats")
            lines = _get(session, f"{url}/events", {**query, "limit": str(SHOWN_CALLS)}).splitlines()
        return {"url": url, "counts": orjson.loads(stats), "calls": [_shown(line) for line in lines], "problem": None}
    except (requests.RequestException, orjson.JSONDecodeError, KeyError, TypeError):
        title = f"No debugger answers at {url}."
        hint = "`dbt-segconn debugger` runs one, and so does `dbt-segconn ui --with-debugger`."
        return {"url": url, "problem": {"title": title, "lines": [hint]}}


def _get(session: requests.Session, url: str, query: Mapping[str, str] | None = None) -> bytes:
    answer = session.get(url, params=query, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    answer.raise_for_status()
    return answer.content


def _shown(line: bytes) -> dict[str, Any]:
    """Hand a call on as text: JavaScript's numbers would change what stands in it."""
    entry = orjson.loads(line)
    return {"number": entry["number"], "dropped": entry["dropped"], "text": orjson.dumps(entry["call"]).decode()}
