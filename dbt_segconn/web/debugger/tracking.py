"""The endpoints of Segment's Tracking API and of its CDN, as a sender meets them."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dbt_segconn.web.debugger.answers import json_answer
from dbt_segconn.web.debugger.arrival import arrival
from dbt_segconn.web.debugger.rules import BATCH_BYTES, BATCH_EVENTS, TOO_MANY, drop_reason, refusal
from dbt_segconn.web.debugger.store import Store

TOO_LARGE = f"the request is larger than {BATCH_BYTES:,} bytes"
DRAINED_BYTES = 8 * BATCH_BYTES
ENDPOINTS = ("batch", "identify", "track", "group", "page", "screen")


class TrackingApi:
    """Takes calls as Segment does. Refused requests leave nothing behind but their count."""

    def __init__(self, store: Store, write_keys: frozenset[str], now: Callable[[], datetime]) -> None:
        self._store = store
        self._write_keys = write_keys
        self._now = now

    async def take(self, request: Request) -> Response:
        """POST /v1/batch and the calls of one kind: refused as a whole, or taken one by one."""
        self._store.count_request()
        data = await _body(request)
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise HTTPException(400, "the body is no JSON") from None
        if not self._knows(_write_key(request, body)):
            raise HTTPException(401, "the write key is missing or unknown")
        endpoint = request.url.path.rpartition("/")[2]
        if reason := refusal(body, endpoint, len(data)):
            raise HTTPException(400, reason)
        self._store.add(_judged(body, endpoint, self._now()))
        return json_answer({"success": True})

    async def settings(self, request: Request) -> Response:
        """GET /v1/projects/<write key>/settings, by which a key can be checked."""
        if not self._knows(request.path_params["key"]):
            raise HTTPException(404, "the write key is unknown")
        return json_answer({"integrations": {"Segment.io": {"apiHost": "api.segment.io/v1"}}, "plan": {"track": {}}})

    def _knows(self, write_key: str | None) -> bool:
        return bool(write_key) and (not self._write_keys or write_key in self._write_keys)


def _judged(body: dict[str, Any], endpoint: str, now: datetime) -> Iterator[tuple[dict[str, Any], str | None]]:
    calls = body["batch"] if endpoint == "batch" else [{**body, "type": endpoint}]
    came = arrival(body, now)
    too_many = TOO_MANY if len(calls) > BATCH_EVENTS else None
    if too_many:  # what all of them share would take more memory than the request
        came = replace(came, shared=())
    return ((came.receive(call), too_many or drop_reason(call)) for call in calls)


def _write_key(request: Request, body: Any) -> str | None:
    """Read the write key: user name of Basic authentication, else `writeKey` in the body."""
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and (user := _user(coded)):
        return user
    key = body.get("writeKey") if isinstance(body, dict) else None
    return key if isinstance(key, str) else None


def _user(coded: str) -> str | None:
    try:
        return base64.b64decode(coded).decode().partition(":")[0]
    except ValueError:  # no base64, no ASCII, no UTF-8
        return None


async def _body(request: Request) -> bytes:
    """Read the body, unpacked. One that is hardly too large is read to its end, so that its sender reads the answer."""
    parts, size = [], 0
    _check_size(_length(request))
    async for part in request.stream():
        size += len(part)
        _check_size(size)
        if size <= BATCH_BYTES:
            parts.append(part)
    encoding = request.headers.get("content-encoding", "identity").lower()
    data = _unpacked(b"".join(parts), encoding)
    if max(size, len(data)) > BATCH_BYTES:
        raise HTTPException(400, TOO_LARGE)
    return data


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _check_size(size: int) -> None:
    """Refuse a body of this size without its rest, and close the connection."""
    if size > DRAINED_BYTES:
        raise HTTPException(400, TOO_LARGE, {"Connection": "close"})


def _unpacked(data: bytes, encoding: str) -> bytes:
    """Unpack gzip, at most to one byte more than a batch may have, whatever it would grow to."""
    if encoding == "identity":
        return data
    if encoding != "gzip":
        raise HTTPException(400, "the body's encoding is not gzip")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(data, BATCH_BYTES + 1)
    except zlib.error:
        raise HTTPException(400, "the body cannot be unpacked") from None
    if not unpacker.eof and len(unpacked) <= BATCH_BYTES:
        raise HTTPException(400, "the body ends too early")
    if unpacker.unused_data:
        raise HTTPException(400, "the body goes on after its gzip stream")
    return unpacked
