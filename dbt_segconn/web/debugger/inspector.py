"""Endpoints that show the calls that have arrived: the page, its live stream, and JSON for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dbt_segconn.web.debugger.store import Entry, Filter, Store
from dbt_segconn.web.files import Assets
from dbt_segconn.web.local_server import SECURITY_HEADERS, respond, respond_json

ASSETS = Assets("dbt_segconn.web.debugger", "page")
LIVE_SECONDS = 0.25
# Limits of one message to the page, which also has the number of calls beyond them
LIVE_CALLS = 200
LIVE_BYTES = 2_000_000
# Indentation can enlarge a call with deeper nesting a hundredfold
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
        limit = _number(request, "limit", 1_000)
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
        last_sent, previous = _number(request, "after", 0), None
        while not self.stopping() and not await request.is_disconnected():
            current = (self.store.cleared, self.store.stats())
            if current != previous:
                last = self.store.last
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


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text[:12]) if text.isascii() and text.isdigit() else default
