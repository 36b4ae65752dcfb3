"""URLs of segconn.yml: what makes one unusable. No message shows a URL, since it may hold credentials."""

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
# The client adds /v1/batch to an endpoint
_METHODS = "batch|import|identify|track|page|screen|group|alias"
# What check_http() and check_plain() say, for editors
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
    """Return an HTTP URL as it is. Raises ValueError where it is none."""
    if not url.startswith(("https://", "http://")):
        raise ValueError("must start with https:// (or http:// for a debugger on this machine)")
    try:
        is_valid = bool(urlsplit(url).hostname and urlsplit(url).port != 0)
    except ValueError:
        is_valid = False
    if not is_valid or re.search(r"[\s\x00-\x1f\\]", url):
        raise ValueError("is not a valid URL")
    return url


def check_plain(url: str | None) -> str | None:
    """Check a URL that requests go to as it stands: no credentials, no query, no fragment."""
    if url is None:
        return None
    if "@" in urlsplit(check_http(url)).netloc:
        raise ValueError(
            "must not contain credentials (user:password@). They are not sent; the write key is. Remove them"
        )
    if "?" in url:
        raise ValueError("must not contain a query (?…). Remove it")
    if "#" in url:
        raise ValueError("must not contain a fragment (#…). Remove it")
    return url


def check_endpoint(url: str | None) -> str | None:
    """Check a base URL, to which the client adds /v1/batch."""
    if check_plain(url) is None:
        return None
    parts = urlsplit(str(url))
    if added := _added_again(parts):
        base = f"{parts.scheme}://{parts.netloc}{_squeezed(parts.path).removesuffix(added)}"
        raise ValueError(f"must not end in {added}: the client adds /v1/batch. Write the base URL alone: {base}")
    return url


def _added_again(parts: SplitResult) -> str | None:
    """Return the end of a path that the client adds once more, if there is one."""
    path = _squeezed(parts.path)
    found = re.search(rf"/v1(/({_METHODS}))?$", path, re.IGNORECASE)
    if found:
        return found[0]
    return path if parts.hostname in _API_HOSTS else None


def _squeezed(path: str) -> str:
    return re.sub(r"/+", "/", path).rstrip("/")
