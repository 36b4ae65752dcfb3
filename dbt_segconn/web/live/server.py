"""The page as a running server: in the foreground, or in a thread beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import urlsplit

import uvicorn

from dbt_segconn.engine.opening import Options, read_project
from dbt_segconn.web.debugger import running as running_debugger
from dbt_segconn.web.debugger.listening import as_config, ended_by_signals, listen, url_of
from dbt_segconn.web.live.app import create_app
from dbt_segconn.web.live.calls import find_debugger
from dbt_segconn.web.live.reader import Reader
from dbt_segconn.web.page.snapshot import HISTORY

HOST = "127.0.0.1"


def serve(
    options: Options,
    port: int = 8124,
    *,
    debugger: str | None = None,
    with_debugger: bool = False,
    history: int = HISTORY,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the page until SIGINT or SIGTERM, then return. Port 0 takes any free one; `on_ready` hears the URL.

    To be called in the main thread. Live calls are those of the debugger at the URL `debugger`, by default at
    the local endpoint of segconn.yml; `with_debugger` runs it there. Raises ConfigurationError where the
    project needs mending, SegconnError where a port is taken.
    """
    page = _Page(options, port, debugger, history)
    beside = running_debugger(page.debugger_port) if with_debugger else nullcontext()
    with page.listener, beside, ended_by_signals(page.server):
        on_ready(page.url)
        page.run()


@contextmanager
def running(options: Options, port: int = 0, *, debugger: str | None = None, history: int = HISTORY) -> Iterator[str]:
    """Serve the page in a thread, as long as the block lasts; yields its URL. Options are those of `serve`."""
    page = _Page(options, port, debugger, history)
    thread = threading.Thread(target=page.run, name="segconn-page", daemon=True)
    thread.start()
    try:
        yield page.url
    finally:
        page.server.should_exit = True
        thread.join()


class _Page:
    """A server that listens from the start, so that nobody who knows its URL comes too early."""

    def __init__(self, options: Options, port: int, debugger: str | None, history: int) -> None:
        project = read_project(options, needs_results=False, opens=False)
        found = find_debugger(project.settings, debugger)
        self.debugger_port = urlsplit(found).port or 80
        self.listener = listen(HOST, port)
        self.server = uvicorn.Server(as_config(create_app(Reader(options, history), found)))
        self.url = url_of(self.listener)

    def run(self) -> None:
        with self.listener:
            self.server.run(sockets=[self.listener])
