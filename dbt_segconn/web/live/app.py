"""The page as an ASGI application: it reads, and writes nothing anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.web.debugger.answers import answer, error_answer
from dbt_segconn.web.debugger.local import LocalOnly
from dbt_segconn.web.live.calls import newest_calls
from dbt_segconn.web.live.reader import Answer, Reader
from dbt_segconn.web.page.frozen import ASSETS

# What a browser says of a request that no other site has made
OWN = frozenset({"same-origin", "none"})


def create_app(reader: Reader, debugger: str) -> Starlette:
    """Build the page of what `reader` reads and of the calls that arrive at a debugger."""

    async def snapshot(request: Request) -> Response:
        return await _asked(request, reader.snapshot)

    async def stamp(request: Request) -> Response:
        return await _asked(request, lambda: {"stamp": reader.stamp()})

    async def preview(request: Request) -> Response:
        wanted = _query(request, "mapping", "record", "change_type")
        _check_preview(**wanted)
        return await _asked(request, lambda: reader.preview(**wanted))

    async def calls(request: Request) -> Response:
        wanted = _query(request, "type", "q", "dropped")
        return await _asked(request, lambda: newest_calls(debugger, wanted))

    routes = [Route("/", _asset), Route("/{name:str}", _asset)]
    routes += [Route(f"/api/{one.__name__}", one) for one in (snapshot, stamp, preview, calls)]
    return Starlette(
        routes=routes,
        middleware=[Middleware(LocalOnly)],
        exception_handlers={HTTPException: error_answer},
    )


def _query(request: Request, *names: str) -> dict[str, str]:
    return {name: request.query_params.get(name, "") for name in names}


def _check_preview(mapping: str, record: str, change_type: str) -> None:
    if change_type not in ("", *CHANGE_TYPES):
        raise HTTPException(400, f"change_type must be one of {', '.join(CHANGE_TYPES)}")
    if "\0" in mapping + record:
        raise HTTPException(400, "mapping and record must not hold a null character")


async def _asset(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    if name not in ASSETS.names():
        raise HTTPException(404, "the page has no such file")
    return answer(ASSETS.read(name), ASSETS.media_type(name))


async def _asked(request: Request, ask: Callable[[], Answer]) -> Response:
    """Answer what the page asks; not what another site has a browser ask, which would keep the warehouse busy."""
    if request.headers.get("sec-fetch-site", "none") not in OWN:
        raise HTTPException(403, "only for the page itself")
    # not orjson, which refuses integers of more than 64 bits, and rows may hold them
    return answer(json.dumps(await run_in_threadpool(ask)).encode(), "application/json")
