"""The debugger as an ASGI application."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from datetime import datetime, timezone
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from dbt_segconn.web.debugger.answers import error_answer
from dbt_segconn.web.debugger.inspector import ASSETS, Inspector, asset
from dbt_segconn.web.debugger.local import LocalOnly
from dbt_segconn.web.debugger.store import Store
from dbt_segconn.web.debugger.tracking import ENDPOINTS, TrackingApi


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

    `write_keys` are the only ones that are taken, all where none are given. Accepted calls are appended to
    `log`, and with `log_dropped` the dropped ones with their reason. `hosts` are names that it answers to
    besides those of this machine. Live streams end when `stopping` says so. `app.state.store` holds the
    calls; whoever builds the application closes it. OSError where the log cannot be written.
    """
    store = Store(log, log_dropped=log_dropped)
    api = TrackingApi(store, frozenset(write_keys), now)
    inspector = Inspector(store, secrets.token_hex(4), stopping)
    routes = [Route(f"/v1/{endpoint}", api.take, methods=["POST"]) for endpoint in ENDPOINTS]
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
        exception_handlers={HTTPException: error_answer},
    )
    app.state.store = store
    return app
