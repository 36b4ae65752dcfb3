"""The debugger's HTTP interface: Segment's own, and that of its page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import gzip
import io
from collections.abc import AsyncIterator, Collection
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dbt_segconn.debugger.rules import BATCH_BYTES, BATCH_EVENTS, drop_reason, received, refusal
from dbt_segconn.debugger.store import Store

KINDS = ("batch", "identify", "track", "group", "page", "screen")
PAGE = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/script.js": ("script.js", "text/javascript"),
}
LIVE_SECONDS = 0.25
# The page gets so many calls at most in one go; it shows that more have come
LIVE_CALLS = 200
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(*, write_keys: Collection[str] = (), log: Path | None = None, hosts: Collection[str] = ()) -> Starlette:
    """Build the debugger as an ASGI application.

    `write_keys` are the only ones that are taken, all where none are given; accepted calls are appended
    to `log`; `hosts` are names that it answers to besides those of this machine. `app.state.store` holds
    the calls; whoever builds the application closes it.
    """
    store = Store(log)
    api = _Api(store, frozenset(write_keys))
    routes = [Route(f"/v1/{kind}", api.take, methods=["POST"]) for kind in KINDS]
    routes += [Route(path, _asset, methods=["GET"]) for path in PAGE]
    routes += [
        Route("/v1/projects/{key}/settings", api.settings, methods=["GET"]),
        Route("/events", api.events, methods=["GET"]),
        Route("/events", api.clear, methods=["DELETE"]),
        Route("/live", api.live, methods=["GET"]),
        Route("/stats", api.stats, methods=["GET"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(_LocalOnly, hosts=frozenset(hosts))])
    app.state.store = store
    return app


class _LocalOnly:
    """Answers only those who call it by a name of this machine, so that no page of the web can."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {"127.0.0.1", "localhost", "[::1]", *hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            host = headers.get(b"host", "")
            origin = headers.get(b"origin", "")
            if _name(host) not in self._hosts or (origin and origin.partition("://")[2] != host):
                await PlainTextResponse("Only for this machine.", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _name(host: str) -> str:
    return host.rsplit(":", 1)[0] if not host.endswith("]") else host


class _Api:
    def __init__(self, store: Store, write_keys: frozenset[str]) -> None:
        self._store = store
        self._write_keys = write_keys

    async def take(self, request: Request) -> Response:
        """POST /v1/batch and the calls of one kind: refused as a whole, or taken one by one."""
        self._store.count_request()
        data = await _body(request)
        if data is None:
            return _json({"success": False, "message": "the body cannot be unpacked"}, 400)
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            return _json({"success": False, "message": "the body is no JSON"}, 400)
        kind = request.url.path.rpartition("/")[2]
        if not self._knows(_write_key(request, body)):
            return _json({"success": False, "message": "the write key is missing or unknown"}, 401)
        if reason := refusal(body, kind, len(data)):
            return _json({"success": False, "message": reason}, 400)
        self._store.add(_judged(body, kind))
        return _json({"success": True})

    async def settings(self, request: Request) -> Response:
        """GET /v1/projects/<write key>/settings, by which a key can be checked."""
        if not self._knows(request.path_params["key"]):
            return _json({"error": "not found"}, 404)
        return _json({"integrations": {"Segment.io": {"apiHost": "api.segment.io/v1"}}, "plan": {"track": {}}})

    async def events(self, request: Request) -> Response:
        """GET /events: the newest calls as JSON lines."""
        query = request.query_params
        dropped = {"true": True, "false": False}.get(query.get("dropped", ""))
        found = self._store.newest(
            limit=_number(query.get("limit"), 1_000),
            type_=query.get("type", ""),
            text=query.get("q", ""),
            dropped=dropped,
        )
        lines = b"".join(orjson.dumps(one.as_json()) + b"\n" for one in found)
        return Response(lines, media_type="application/x-ndjson", headers=SECURITY)

    async def clear(self, _: Request) -> Response:
        """DELETE /events."""
        self._store.clear()
        return _json({"success": True})

    async def stats(self, _: Request) -> Response:
        """GET /stats: the counts of all calls."""
        return _json(self._store.stats())

    async def live(self, request: Request) -> Response:
        """GET /live: counts and new calls as server-sent events, a few times a second at most."""
        after = _number(request.query_params.get("after"), 0)

        async def stream() -> AsyncIterator[bytes]:
            shown, counts = after, None
            while not await request.is_disconnected():
                stats = self._store.stats()
                if stats != counts:
                    fresh = self._store.newest(limit=LIVE_CALLS, after=shown)
                    shown, counts = self._store.last, stats
                    yield (
                        b"data: " + orjson.dumps({"stats": stats, "calls": [one.as_json() for one in fresh]}) + b"\n\n"
                    )
                await asyncio.sleep(LIVE_SECONDS)

        return StreamingResponse(stream(), media_type="text/event-stream", headers=SECURITY)

    def _knows(self, write_key: str | None) -> bool:
        return bool(write_key) and (not self._write_keys or write_key in self._write_keys)


def _judged(body: dict[str, Any], kind: str) -> list[tuple[dict[str, Any], str | None]]:
    calls = body["batch"] if kind == "batch" else [{**body, "type": kind}]
    shared = body if kind == "batch" else {}
    now = datetime.now(timezone.utc)
    too_many = f"more than {BATCH_EVENTS:,} calls in a batch" if len(calls) > BATCH_EVENTS else None
    judged = []
    for call in calls:
        call.pop("writeKey", None)
        judged.append((received(call, shared, now), too_many or drop_reason(call)))
    return judged


def _write_key(request: Request, body: Any) -> str | None:
    """Read the write key: user name of Basic authentication, else `writeKey` in the body."""
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(coded).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return None
    key = body.get("writeKey") if isinstance(body, dict) else None
    return key if isinstance(key, str) else None


async def _body(request: Request) -> bytes | None:
    """Read the body, unpacked; None where it cannot be, or would grow without end."""
    data = await request.body()
    if request.headers.get("content-encoding", "") != "gzip":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            return packed.read(BATCH_BYTES + 1)
    except (OSError, EOFError, ValueError):
        return None


async def _asset(request: Request) -> Response:
    name, media_type = PAGE[request.url.path]
    content = files("dbt_segconn.debugger").joinpath("page").joinpath(name).read_bytes()
    return Response(content, media_type=media_type, headers=SECURITY)


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json", headers=SECURITY)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default
