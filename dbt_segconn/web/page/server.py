"""The page of syncs while it is served: what it reads, its ASGI application, and the server. It writes nothing."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dbt_segconn.engine.opening import Options, read_project, resolve_context
from dbt_segconn.engine.report import ARTIFACT
from dbt_segconn.errors import ConfigurationError, SegconnError
from dbt_segconn.inspection.overview import record_past
from dbt_segconn.inspection.preview import preview
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.strict_model import check_endpoint
from dbt_segconn.web.debugger import running as running_debugger
from dbt_segconn.web.local_server import (
    LOCAL,
    LocalOnly,
    in_thread,
    listen,
    respond,
    respond_error,
    server_config,
    stopped_by_signals,
    url_of,
)
from dbt_segconn.web.page.snapshot import ASSETS, HISTORY, iso, read_snapshot

Json = dict[str, Any]

DEFAULT_URL = "http://127.0.0.1:8123"
SHOWN_CALLS = 100
TIMEOUT_SECONDS = 3
PREVIEWED = 3
MORE = "name a record to see its call"
# Part of the message in dialects/duckdb if another process has opened the file. DuckDB then cannot even read it
_BUSY = "has the file open"
# No option chooses another address: the page shows values of rows, and has no login
HOST = "127.0.0.1"
# Values of Sec-Fetch-Site for requests of the page itself, or of the address bar: https://www.w3.org/TR/fetch-metadata/
SAME_SITE = frozenset({"same-origin", "none"})


class Reader:
    """Reads answers for the page. After an error, the answer has a `problem` and the last snapshot."""

    def __init__(self, options: Options, history: int, read: Callable[[Options, int], Json] = read_snapshot) -> None:
        context = resolve_context(options)
        self._options = replace(options, project_dir=context.project_dir)
        # dbt needs a working directory, and the project's folder may be deleted and created again meanwhile
        self._folders = (Path.cwd(), context.project_dir)
        self._artifact = context.target_dir / ARTIFACT
        self._history = history
        self._read = read
        self._last: Json | None = None
        self._lock = threading.RLock()  # dbt's adapters are process-wide

    def snapshot(self) -> Json:
        """Read the state tables. Return `snapshot`, the `stamp` before the read, and `problem` or None."""

        def read() -> Json:
            self._last = self._read(self._options, self._history)
            return {"stamp": stamp, "snapshot": self._last}

        with self._lock:
            stamp = self.stamp()
            return self._answer(read, {"stamp": stamp, "snapshot": self._last})

    def preview(self, mapping: str, record: str, change_type: str) -> Json:
        """Return the `calls` that a mapping would send now, each with its record, and `notes`."""
        # `all`: the model is shown as it is, even if dbt has not refreshed it
        options = replace(self._options, mappings=(mapping,), all=True)
        records = (record,) if record else ()
        change_types = (change_type,) if change_type else ()

        def read() -> Json:
            previews = preview(options, change_types=change_types, records=records, limit=PREVIEWED)
            calls = [shown.as_json(with_record=True) for one in previews for shown in one.shown]
            return {"calls": calls, "notes": [note for one in previews for note in one.notes(MORE)]}

        return self._answer(read, {"calls": [], "notes": []})

    def past(self, mapping: str, record: str) -> Json:
        """Return the `rows` of the past of a record, oldest first, and `notes`."""

        def read() -> Json:
            found = record_past(self._options, mapping, record)
            return {"rows": [{**row, "at": iso(row["at"])} for row in found.rows], "notes": list(found.notes)}

        return self._answer(read, {"rows": [], "notes": []})

    def _answer(self, read: Callable[[], Json], otherwise: Json) -> Json:
        """Return what `read` returns, with `problem` None; after an error, `otherwise` with the problem."""
        with self._lock:
            try:
                self._enter_folder()
                return {**read(), "problem": None}
            except (SegconnError, OSError) as error:
                return {**otherwise, "problem": _problem(error, is_kept=bool(otherwise.get("snapshot")))}

    def _enter_folder(self) -> None:
        """Change to the working directory, else to the project's, if the current one was deleted."""
        with suppress(FileNotFoundError):
            Path.cwd()
            return
        for folder in self._folders:
            with suppress(OSError):
                os.chdir(folder)
                return

    def stamp(self) -> str:
        """Return a text that changes when a run on this machine ends. The page polls it: no warehouse is opened."""
        try:
            return str(self._artifact.stat().st_mtime_ns)
        except OSError:
            return ""


def _problem(error: Exception, *, is_kept: bool) -> Json:
    """Return an error as the page shows it: a `title`, and `lines` of details."""
    kept = " The page shows the previous read." if is_kept else ""
    if _BUSY in str(error):
        title = f"The warehouse is busy: another process has opened it.{kept}"
        return {"title": title, "lines": ["The page reads it again after the next run, or when you refresh."]}
    if isinstance(error, ConfigurationError):
        return {"title": f"The project has errors.{kept}", "lines": error.problems}
    return {"title": f"The warehouse cannot be read.{kept}", "lines": [str(error)]}


def find_debugger(settings: Settings, url: str | None) -> str:
    """Return the debugger's URL: `url`, else the first local endpoint of segconn.yml, else the default.

    Raises ConfigurationError if `url` is not a base URL on this machine.
    """
    if url is not None:
        try:
            check_endpoint(url)
        except ValueError as error:
            raise ConfigurationError(f"--debugger: {error}.") from None
        if not _is_local(url):
            raise ConfigurationError(f"--debugger {url}: must be a URL on this machine, such as {DEFAULT_URL}.")
    endpoints = [one.base_url for one in settings.destinations.values() if _is_local(one.base_url)]
    return (url or next(iter(endpoints), DEFAULT_URL)).rstrip("/")


def _is_local(url: str) -> bool:
    with suppress(ValueError):
        parts = urlsplit(url)
        # the debugger has no TLS
        return parts.scheme == "http" and parts.hostname in LOCAL and parts.port != 0
    return False


def newest_calls(url: str, query: Mapping[str, str]) -> Json:
    """Return a debugger's `counts` and its newest matching `calls`, or a `problem` if no debugger answers.

    The query has `type`, `q` and `dropped`, as in GET /events of the debugger.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment cannot reach this machine
            stats = _get(session, f"{url}/stats")
            lines = _get(session, f"{url}/events", {**query, "limit": str(SHOWN_CALLS)}).splitlines()
        return {"url": url, "counts": orjson.loads(stats), "calls": [_call_of(line) for line in lines], "problem": None}
    except (requests.RequestException, orjson.JSONDecodeError, KeyError, TypeError):
        title = f"No debugger answers at {url}."
        hint = "Start one with `dbt-segconn debugger` or `dbt-segconn ui --with-debugger`."
        return {"url": url, "problem": {"title": title, "lines": [hint]}}


def _get(session: requests.Session, url: str, query: Mapping[str, str] | None = None) -> bytes:
    # a redirect could lead to another machine
    response = session.get(url, params=query, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    response.raise_for_status()
    return response.content


def _call_of(line: bytes) -> dict[str, Any]:
    """Return a call for the page, as text, because JavaScript changes large numbers."""
    entry = orjson.loads(line)
    return {"number": entry["number"], "dropped": entry["dropped"], "text": orjson.dumps(entry["call"]).decode()}


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
