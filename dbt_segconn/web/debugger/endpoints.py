"""The debugger's endpoints: Segment's Tracking API and CDN, and those that show the calls that have arrived."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dbt_segconn.web.debugger.ingestion import (
    BATCH_BYTES,
    BATCH_CALLS,
    TOO_MANY,
    drop_reason,
    read_arrival,
    request_error,
)
from dbt_segconn.web.debugger.store import Entry, Filter, Store
from dbt_segconn.web.files import Assets
from dbt_segconn.web.local_server import SECURITY_HEADERS, respond, respond_json

ENDPOINTS = ("batch", "identify", "track", "group", "page", "screen")
REQUEST_TOO_LARGE = f"the request is larger than {BATCH_BYTES:,} bytes"
# If a body is not read to its end, its sender sees a broken connection, not the answer. So more than a batch is read
DRAINED_BYTES = 8 * BATCH_BYTES
ASSETS = Assets("dbt_segconn.web.debugger", "page")
LIVE_SECONDS = 0.25
# Limits of one message to the page. The page shows the number of calls beyond them
LIVE_CALLS = 200
LIVE_BYTES = 2_000_000
# Indentation could make a call with deeper nesting a hundred times as large
INDENTED_LEVELS = 16


@dataclass(frozen=True, slots=True)
class Inspector:
    """Endpoints for a store. `session` identifies this debugger, so that a page detects a restart."""

    store: Store
    session: str
    stopping: Callable[[], bool]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def events(self, request: Request) -> Response:
        """GET /events: return the newest calls that match `type`, `q` and `dropped` as JSON lines, at most `limit`."""
        limit = _number(request.query_params.get("limit"), 1_000)
        lines = _lines(self.store.newest(_filter(request), limit=limit))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=SECURITY_HEADERS)

    async def clear(self, _: Request) -> Response:
        """DELETE /events: delete all calls and counts."""
        self.store.clear()
        return respond_json({"success": True})

    async def stats(self, _: Request) -> Response:
        """GET /stats: return the counts of all calls."""
        return respond_json(self.store.stats())

    async def live(self, request: Request) -> Response:
        """GET /live: send counts and new matching calls as server-sent events, at most one each LIVE_SECONDS."""
        stream = self._stream(request, _filter(request))
        return StreamingResponse(stream, media_type="text/event-stream", headers=SECURITY_HEADERS)

    async def _stream(self, request: Request, matches: Filter) -> AsyncIterator[bytes]:
        last_sent, previous = _number(request.query_params.get("after"), 0), None
        while not self.stopping() and not await request.is_disconnected():
            current = (self.store.cleared, self.store.stats())
            if current != previous:
                last = self.store.last  # before the calls are read: none that arrives meanwhile is missed
                yield b"data: " + orjson.dumps(self._update(matches, last_sent)) + b"\n\n"
                last_sent, previous = last, current
            await self.sleep(LIVE_SECONDS)

    def _update(self, matches: Filter, last_sent: int) -> dict[str, Any]:
        new = self.store.newest(matches, after=last_sent)
        calls: list[dict[str, Any]] = []
        size = 0
        for entry in new[:LIVE_CALLS]:
            calls.append(_as_json(entry))
            size += len(calls[-1]["text"])
            if size > LIVE_BYTES:
                break
        return {
            "session": f"{self.session}.{self.store.cleared}",
            "stats": self.store.stats(),
            "calls": calls,
            "skipped": len(new) - len(calls),
        }


async def _lines(entries: Iterable[Entry]) -> AsyncIterator[bytes]:
    for entry in entries:
        yield entry.as_line()


def _as_json(entry: Entry) -> dict[str, Any]:
    """Return a call for the page, as text, because JavaScript changes large numbers."""
    call = orjson.loads(entry.text)
    text = orjson.dumps(call, option=orjson.OPT_INDENT_2) if _is_shallow(call, INDENTED_LEVELS) else entry.text
    return {"number": entry.number, "dropped": entry.dropped, "text": text.decode()}


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in items)


async def asset(request: Request) -> Response:
    """GET a file of the page."""
    name = request.url.path[1:] or "index.html"
    return respond(ASSETS.read(name), ASSETS.media_type(name))


def _filter(request: Request) -> Filter:
    query = request.query_params
    dropped = {"true": True, "false": False}.get(query.get("dropped", ""))
    return Filter(query.get("type", ""), query.get("q", ""), dropped)


def _number(text: str | None, default: int) -> int:
    # int() raises for more than 4,300 digits; 12 digits are above every limit
    return int(text[:12]) if text and text.isascii() and text.isdigit() else default


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
        # as Segment's CDN answers; `apiHost` shows the region of a source
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
    # with OAuth, the header holds the access token
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
    _check_size(_number(request.headers.get("content-length"), 0))
    async for part in request.stream():
        size += len(part)
        _check_size(size)
        if size <= BATCH_BYTES:
            parts.append(part)
    encoding = request.headers.get("content-encoding", "identity").lower()
    data = _decompressed(b"".join(parts), encoding)
    if max(size, len(data)) > BATCH_BYTES:
        raise HTTPException(400, REQUEST_TOO_LARGE)
    return data


def _check_size(size: int) -> None:
    """Raise an error for a body above DRAINED_BYTES and close the connection, without reading its rest."""
    if size > DRAINED_BYTES:
        raise HTTPException(400, REQUEST_TOO_LARGE, {"Connection": "close"})


def _decompressed(data: bytes, encoding: str) -> bytes:
    """Decompress gzip, at most to one byte above the limit of a batch."""
    if encoding == "identity":
        return data
    if encoding != "gzip":
        raise HTTPException(400, "the body's encoding must be gzip")
    # gzip.decompress() has no limit, and a small body may decompress to gigabytes; 16 selects the format of gzip
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
