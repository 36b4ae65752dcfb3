"""Checks of the URLs in segconn.yml. Messages never contain the URL, because it may hold credentials."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

# https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
ENDPOINTS = {
    "us-west-2": "https://api.segment.io",
    "eu-west-1": "https://events.eu1.segmentapis.com",
}
_API_HOSTS = frozenset(urlsplit(url).hostname for url in ENDPOINTS.values())
# API methods that users may append to an endpoint; the client adds /v1/batch itself
_METHODS = "batch|import|identify|track|page|screen|group|alias"
# JSON Schema of check_http() and check_plain(), for editors
WEBHOOK_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^https?://([^/:\[\]]|\[[0-9a-fA-F:.]+\])"}
URL_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {
            "type": "string",
            "pattern": r"^https?://([^/:\[\]\s@?#][^/\s@?#]*|\[[0-9a-fA-F:.]+\](:\d+)?)(/[^\s?#]*)?$",
        },
        {"type": "null"},
    ]
}


def check_http(url: str) -> str:
    """Return an HTTP URL unchanged. Raises ValueError if it is not a valid one."""
    if not url.startswith(("https://", "http://")):
        raise ValueError("must start with https://, or http:// for a debugger on this machine")
    try:
        is_valid = bool(urlsplit(url).hostname and urlsplit(url).port != 0)
    except ValueError:
        is_valid = False
    if not is_valid or re.search(r"[\s\x00-\x1f\\]", url):
        raise ValueError("is not a valid URL")
    return url


def check_plain(url: str | None) -> str | None:
    """Return a URL unchanged. Raises ValueError if it has credentials, a query or a fragment."""
    if url is None:
        return None
    if "@" in urlsplit(check_http(url)).netloc:
        raise ValueError(
            "must not contain credentials (user:password@). Requests are authorised by the write key. Remove them"
        )
    if "?" in url:
        raise ValueError("must not contain a query (?…). Remove it")
    if "#" in url:
        raise ValueError("must not contain a fragment (#…). Remove it")
    return url


def check_endpoint(url: str | None) -> str | None:
    """Return a base URL unchanged. Raises ValueError if it ends in the path that the client adds."""
    if check_plain(url) is None:
        return None
    parts = urlsplit(str(url))
    if added := _repeated_suffix(parts):
        base = f"{parts.scheme}://{parts.netloc}{_normalized(parts.path).removesuffix(added)}"
        raise ValueError(f"must not end in {added}: the client adds /v1/batch. Write the base URL only: {base}")
    return url


def _repeated_suffix(parts: SplitResult) -> str | None:
    """Return the end of the path that the client would add again, or None."""
    path = _normalized(parts.path)
    found = re.search(rf"/v1(/({_METHODS}))?$", path, re.IGNORECASE)
    if found:
        return found[0]
    return path if parts.hostname in _API_HOSTS else None


def _normalized(path: str) -> str:
    return re.sub(r"/+", "/", path).rstrip("/")
