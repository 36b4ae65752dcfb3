"""The debugger as an ASGI application and a running server: its endpoints are Segment's, and those of its page."""

from __future__ import annotations

import asyncio
import base64
import secrets
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dbt_segconn.errors import SegconnError
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
from dbt_segconn.web.local_server import (
    SECURITY_HEADERS,
    LocalOnly,
    in_thread,
    listen,
    respond,
    respond_error,
    respond_json,
    server_config,
    stopped_by_signals,
    url_of,
)

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


def create_app(
    *,
    write_keys: Collection[str] = (),
    log: Path | None = None,
    log_dropped: bool = False,
    hosts: Collection[str] = (),
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    stopping: Callable[[], bool] = lambda: False,
) -> Starlette:
    """Build the debugger as an ASGI application.

    `write_keys` are the accepted write keys; every key is accepted if it is empty. Accepted calls are appended to
    `log`, and with `log_dropped` also dropped calls with their reason. `hosts` are accepted host names besides
    those of this machine. Live streams end when `stopping` returns true. `app.state.store` holds the calls; the
    caller must close it. Raises OSError if the log cannot be written.
    """
    store = Store(log, log_dropped=log_dropped)
    api = TrackingApi(store, frozenset(write_keys), now)
    # a random session: a page that outlives a restart sees another one
    inspector = Inspector(store, secrets.token_hex(4), stopping)
    routes = [Route(f"/v1/{endpoint}", api.receive, methods=["POST"]) for endpoint in ENDPOINTS]
    # a route for each known file: no path can leave the folder
    routes += [Route(f"/{name}", asset) for name in ("", *ASSETS.names())]
    routes += [
        Route("/v1/projects/{key}/settings", api.settings),
        Route("/events", inspector.events),
        Route("/events", inspector.clear, methods=["DELETE"]),
        Route("/live", inspector.live),
        Route("/stats", inspector.stats),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(LocalOnly, hosts=frozenset(hosts))],
        exception_handlers={HTTPException: respond_error},
    )
    app.state.store = store
    return app


def serve(
    host: str = "127.0.0.1",
    port: int = 8123,
    *,
    write_keys: Collection[str] = (),
    log: Path | None = None,
    log_dropped: bool = False,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the debugger until SIGINT or SIGTERM. Must be called in the main thread.

    Port 0 selects any free port. `on_ready` is called with the URL. For other options, see `create_app`. Raises
    SegconnError if the port is taken or the log cannot be written.
    """
    debugger = _Debugger(host, port, write_keys=write_keys, log=log, log_dropped=log_dropped)
    with stopped_by_signals(debugger.server):
        on_ready(debugger.url)
        debugger.run()


@dataclass(frozen=True, slots=True)
class Running:
    """A debugger that runs in its own thread."""

    url: str
    stop: Callable[[], None]
    """Stops the debugger and waits for its end. May be called more than once."""


@contextmanager
def running(
    port: int = 0, *, write_keys: Collection[str] = (), log: Path | None = None, log_dropped: bool = False
) -> Iterator[Running]:
    """Run a debugger on 127.0.0.1 in a thread, until the block ends or `stop` is called.

    For options, see `create_app`. Raises SegconnError if the port is taken or the log cannot be written.
    """
    debugger = _Debugger("127.0.0.1", port, write_keys=write_keys, log=log, log_dropped=log_dropped)
    with in_thread(debugger.run, debugger.server, "segconn-debugger") as stop:
        yield Running(debugger.url, stop)


class _Debugger:
    """A server that listens once it is constructed, so that no client connects too early."""

    def __init__(self, host: str, port: int, **options: Any) -> None:
        self._listener = listen(host, port)
        try:
            # uvicorn waits for open responses, so live streams must end by themselves
            self._app = create_app(**options, hosts=[host], stopping=lambda: self.server.should_exit)
        except OSError as error:
            self._listener.close()
            raise SegconnError(f"{options['log']}: cannot be written: {error.strerror}.") from None
        self.server = uvicorn.Server(server_config(self._app))
        self.url = url_of(self._listener)

    def run(self) -> None:
        try:
            self.server.run(sockets=[self._listener])
        finally:
            self._listener.close()
            self._app.state.store.close()
