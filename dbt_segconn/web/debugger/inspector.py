"""The endpoints that show what has arrived: the page, its live stream, and the same for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dbt_segconn.web.assets import Assets
from dbt_segconn.web.debugger.answers import SECURITY, answer, json_answer
from dbt_segconn.web.debugger.store import Entry, Filter, Store

ASSETS = Assets("dbt_segconn.web.debugger", "page")
LIVE_SECONDS = 0.25
# The page gets so many calls at most in one go, of so many bytes, and the number of those left out
LIVE_CALLS = 200
LIVE_BYTES = 2_000_000
# Indented, a call that nests deeper may grow a hundredfold
INDENTED_LEVELS = 16


@dataclass(frozen=True, slots=True)
class Inspector:
    """Shows a store. `session` names this debugger, so that a page notices that another has taken its place."""

    store: Store
    session: str
    stopping: Callable[[], bool]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def events(self, request: Request) -> Response:
        """GET /events: the newest calls that fit `type`, `q` and `dropped`, as JSON lines, at most `limit`."""
        limit = _number(request, "limit", 1_000)
        lines = _lines(self.store.newest(_filter(request), limit=limit))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=SECURITY)

    async def clear(self, _: Request) -> Response:
        """DELETE /events: forget them."""
        self.store.clear()
        return json_answer({"success": True})

    async def stats(self, _: Request) -> Response:
        """GET /stats: the counts of all calls."""
        return json_answer(self.store.stats())

    async def live(self, request: Request) -> Response:
        """GET /live: counts and new calls that fit as server-sent events, a few times a second at most."""
        stream = self._stream(request, _filter(request))
        return StreamingResponse(stream, media_type="text/event-stream", headers=SECURITY)

    async def _stream(self, request: Request, fits: Filter) -> AsyncIterator[bytes]:
        shown, told = _number(request, "after", 0), None
        while not self.stopping() and not await request.is_disconnected():
            now = (self.store.cleared, self.store.stats())
            if now != told:
                last = self.store.last
                yield b"data: " + orjson.dumps(self._news(fits, shown)) + b"\n\n"
                shown, told = last, now
            await self.sleep(LIVE_SECONDS)

    def _news(self, fits: Filter, shown: int) -> dict[str, Any]:
        fresh = self.store.newest(fits, after=shown)
        calls: list[dict[str, Any]] = []
        size = 0
        for entry in fresh[:LIVE_CALLS]:
            calls.append(_shown(entry))
            size += len(calls[-1]["text"])
            if size > LIVE_BYTES:
                break
        return {
            "session": f"{self.session}.{self.store.cleared}",
            "stats": self.store.stats(),
            "calls": calls,
            "skipped": len(fresh) - len(calls),
        }


async def _lines(entries: Iterable[Entry]) -> AsyncIterator[bytes]:
    for entry in entries:
        yield entry.as_line()


def _shown(entry: Entry) -> dict[str, Any]:
    """Write a call for the page: as text, because JavaScript's numbers would change what stands in it."""
    call = orjson.loads(entry.text)
    text = orjson.dumps(call, option=orjson.OPT_INDENT_2) if _is_shallow(call, INDENTED_LEVELS) else entry.text
    return {"number": entry.number, "dropped": entry.dropped, "text": text.decode()}


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)


async def asset(request: Request) -> Response:
    """GET a file of the page."""
    name = request.url.path[1:] or "index.html"
    return answer(ASSETS.read(name), ASSETS.media_type(name))


def _filter(request: Request) -> Filter:
    query = request.query_params
    dropped = {"true": True, "false": False}.get(query.get("dropped", ""))
    return Filter(query.get("type", ""), query.get("q", ""), dropped)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text[:12]) if text.isascii() and text.isdigit() else default
