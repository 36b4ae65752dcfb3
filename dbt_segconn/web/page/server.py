"""The page of syncs as an ASGI application and as a running server. It writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dbt_segconn.engine.opening import Options, read_project
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.web.debugger import running as running_debugger
from dbt_segconn.web.local_server import (
    LocalOnly,
    in_thread,
    listen,
    respond,
    respond_error,
    server_config,
    stopped_by_signals,
    url_of,
)
from dbt_segconn.web.page.reader import Json, Reader, find_debugger, newest_calls
from dbt_segconn.web.page.snapshot import ASSETS, HISTORY

# No option chooses another address: the page shows values of rows, and has no login
HOST = "127.0.0.1"
# Values of Sec-Fetch-Site for requests of the page itself, or of the address bar: https://www.w3.org/TR/fetch-metadata/
SAME_SITE = frozenset({"same-origin", "none"})


def create_app(reader: Reader, debugger: str) -> Starlette:
    """Build the page of a reader's answers and of the calls that arrive at the debugger with this URL."""

    async def snapshot(request: Request) -> Response:
        return await _respond(request, reader.snapshot)

    async def stamp(request: Request) -> Response:
        return await _respond(request, lambda: {"stamp": reader.stamp()})

    async def preview(request: Request) -> Response:
        query = _query(request, "mapping", "record", "change_type")
        if query["change_type"] not in ("", *CHANGE_TYPES):
            raise HTTPException(400, f"change_type must be one of {', '.join(CHANGE_TYPES)}")
        return await _respond(request, lambda: reader.preview(**query))

    async def past(request: Request) -> Response:
        query = _query(request, "mapping", "record")
        return await _respond(request, lambda: reader.past(**query))

    async def calls(request: Request) -> Response:
        query = _query(request, "type", "q", "dropped")
        return await _respond(request, lambda: newest_calls(debugger, query))

    routes = [Route("/", _asset), Route("/{name:str}", _asset)]
    routes += [Route(f"/api/{handler.__name__}", handler) for handler in (snapshot, stamp, preview, past, calls)]
    return Starlette(
        routes=routes,
        middleware=[Middleware(LocalOnly)],
        exception_handlers={HTTPException: respond_error},
    )


def _query(request: Request, *names: str) -> dict[str, str]:
    """Return values of the address bar. A wrong one is an error of the request, not of the server."""
    query = {name: request.query_params.get(name, "") for name in names}
    if "\0" in "".join(query.values()):  # PostgreSQL has no text with this character
        raise HTTPException(400, f"{', '.join(names)} must not contain a null character")
    return query


async def _asset(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    if name not in ASSETS.names():  # a list of known files: no path can leave the folder
        raise HTTPException(404, "the page has no such file")
    return respond(ASSETS.read(name), ASSETS.media_type(name))


async def _respond(request: Request, read: Callable[[], Json]) -> Response:
    """Return the answer of `read`, to the page itself only: other sites could keep the warehouse busy.

    `read` runs in a thread, because dbt's adapters are not asynchronous.
    """
    if request.headers.get("sec-fetch-site", "none") not in SAME_SITE:
        raise HTTPException(403, "only for the page itself")
    # json, because orjson raises for integers of more than 64 bits, which rows can hold
    return respond(json.dumps(await run_in_threadpool(read)).encode(), "application/json")


def serve(
    options: Options,
    port: int = 8124,
    *,
    debugger: str | None = None,
    with_debugger: bool = False,
    history: int = HISTORY,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the page until SIGINT or SIGTERM. Must be called in the main thread.

    Port 0 selects any free port. `on_ready` is called with the URL. Live calls are read from the debugger at the
    URL `debugger`, by default the local endpoint of segconn.yml. `with_debugger` runs a debugger there. Raises
    ConfigurationError if the project has errors, SegconnError if a port is taken.
    """
    page = _Page(options, port, debugger, history)
    beside = running_debugger(page.debugger_port) if with_debugger else nullcontext()
    with page.listener, beside, stopped_by_signals(page.server):
        on_ready(page.url)
        page.run()


@contextmanager
def running(options: Options, port: int = 0, *, debugger: str | None = None, history: int = HISTORY) -> Iterator[str]:
    """Serve the page in a thread until the block ends, and yield its URL. For options, see `serve`."""
    page = _Page(options, port, debugger, history)
    with in_thread(page.run, page.server, "segconn-page"):
        yield page.url


class _Page:
    """A server that listens once it is constructed, so that no client connects too early."""

    def __init__(self, options: Options, port: int, debugger: str | None, history: int) -> None:
        # errors of the project are raised before the page has a URL
        project = read_project(options, needs_results=False, opens=False)
        debugger_url = find_debugger(project.settings, debugger)
        self.debugger_port = urlsplit(debugger_url).port or 80
        self.listener = listen(HOST, port)
        self.server = uvicorn.Server(server_config(create_app(Reader(options, history), debugger_url)))
        self.url = url_of(self.listener)

    def run(self) -> None:
        with self.listener:
            self.server.run(sockets=[self.listener])
