"""The endpoints of Segment's Tracking API and of its CDN."""

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

from dbt_segconn.web.debugger.ingestion import (
    BATCH_BYTES,
    BATCH_CALLS,
    TOO_MANY,
    drop_reason,
    read_arrival,
    request_error,
)
from dbt_segconn.web.debugger.store import Store
from dbt_segconn.web.local_server import respond_json

TOO_LARGE = f"the request is larger than {BATCH_BYTES:,} bytes"
DRAINED_BYTES = 8 * BATCH_BYTES
ENDPOINTS = ("batch", "identify", "track", "group", "page", "screen")


class TrackingApi:
    """Segment's endpoints. A request with an error status is only counted."""

    def __init__(self, store: Store, write_keys: frozenset[str], now: Callable[[], datetime]) -> None:
        self._store = store
        self._write_keys = write_keys
        self._now = now

    async def receive(self, request: Request) -> Response:
        """POST /v1/batch and /v1/<call type>: return an error for the whole request, or store each of its calls."""
        self._store.count_request()
        data = await _body(request)
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise HTTPException(400, "the body must be JSON") from None
        if not self._is_known(_write_key(request, body)):
            raise HTTPException(401, "the write key is missing or unknown")
        endpoint = request.url.path.rpartition("/")[2]
        if reason := request_error(body, endpoint, len(data)):
            raise HTTPException(400, reason)
        self._store.add(_received(body, endpoint, self._now()))
        return respond_json({"success": True})

    async def settings(self, request: Request) -> Response:
        """GET /v1/projects/<write key>/settings, which can check a write key."""
        if not self._is_known(request.path_params["key"]):
            raise HTTPException(404, "the write key is unknown")
        return respond_json({"integrations": {"Segment.io": {"apiHost": "api.segment.io/v1"}}, "plan": {"track": {}}})

    def _is_known(self, write_key: str | None) -> bool:
        return bool(write_key) and (not self._write_keys or write_key in self._write_keys)


def _received(body: dict[str, Any], endpoint: str, now: datetime) -> Iterator[tuple[dict[str, Any], str | None]]:
    calls = body["batch"] if endpoint == "batch" else [{**body, "type": endpoint}]
    arrival = read_arrival(body, now)
    too_many = TOO_MANY if len(calls) > BATCH_CALLS else None
    if too_many:  # copies of the shared fields would use more memory than the request
        arrival = replace(arrival, shared=())
    return ((arrival.receive(call), too_many or drop_reason(call)) for call in calls)


def _write_key(request: Request, body: Any) -> str | None:
    """Return the write key: the user name of Basic authentication, else `writeKey` in the body."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and (user := _user(credentials)):
        return user
    key = body.get("writeKey") if isinstance(body, dict) else None
    return key if isinstance(key, str) else None


def _user(credentials: str) -> str | None:
    try:
        return base64.b64decode(credentials).decode().partition(":")[0]
    except ValueError:  # not base64, not ASCII or not UTF-8
        return None


async def _body(request: Request) -> bytes:
    """Return the decompressed body. Read a body up to DRAINED_BYTES to its end, so that its sender gets the answer."""
    parts, size = [], 0
    _check_size(_length(request))
    async for part in request.stream():
        size += len(part)
        _check_size(size)
        if size <= BATCH_BYTES:
            parts.append(part)
    encoding = request.headers.get("content-encoding", "identity").lower()
    data = _decompressed(b"".join(parts), encoding)
    if max(size, len(data)) > BATCH_BYTES:
        raise HTTPException(400, TOO_LARGE)
    return data


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _check_size(size: int) -> None:
    """Raise an error for a body above DRAINED_BYTES and close the connection, without reading its rest."""
    if size > DRAINED_BYTES:
        raise HTTPException(400, TOO_LARGE, {"Connection": "close"})


def _decompressed(data: bytes, encoding: str) -> bytes:
    """Decompress gzip, at most to one byte above the limit of a batch."""
    if encoding == "identity":
        return data
    if encoding != "gzip":
        raise HTTPException(400, "the body's encoding must be gzip")
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = decompressor.decompress(data, BATCH_BYTES + 1)
    except zlib.error:
        raise HTTPException(400, "the body is not valid gzip") from None
    if not decompressor.eof and len(content) <= BATCH_BYTES:
        raise HTTPException(400, "the gzip stream of the body is incomplete")
    if decompressor.unused_data:
        raise HTTPException(400, "the body has data after its gzip stream")
    return content
