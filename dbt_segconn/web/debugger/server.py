"""The debugger as an ASGI application and as a running server, in the foreground or in a thread."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from dbt_segconn.errors import SegconnError
from dbt_segconn.web.debugger.endpoints import ASSETS, ENDPOINTS, Inspector, TrackingApi, asset
from dbt_segconn.web.debugger.store import Store
from dbt_segconn.web.local_server import (
    LocalOnly,
    in_thread,
    listen,
    respond_error,
    server_config,
    stopped_by_signals,
    url_of,
)


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
