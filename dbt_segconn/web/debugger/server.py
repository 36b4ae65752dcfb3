"""The debugger as a running server: in the foreground, or in a thread beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from dbt_segconn.errors import SegconnError
from dbt_segconn.web.debugger.app import create_app
from dbt_segconn.web.debugger.listening import as_config, ended_by_signals, listen, url_of


def serve(
    host: str = "127.0.0.1",
    port: int = 8123,
    *,
    write_keys: Collection[str] = (),
    log: Path | None = None,
    log_dropped: bool = False,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run until SIGINT or SIGTERM, then return. Port 0 takes any free one; `on_ready` hears the URL.

    To be called in the main thread; other options are those of `create_app`. SegconnError where the port is
    taken or the log cannot be written.
    """
    debugger = _Debugger(host, port, write_keys, log, log_dropped=log_dropped)
    with ended_by_signals(debugger.server):
        if on_ready is not None:
            on_ready(debugger.url)
        debugger.run()


@dataclass(frozen=True, slots=True)
class Running:
    """A debugger in a thread of its own."""

    url: str
    stop: Callable[[], None]
    """Ends it, and returns when it has ended; may be called again."""


@contextmanager
def running(
    port: int = 0, *, write_keys: Collection[str] = (), log: Path | None = None, log_dropped: bool = False
) -> Iterator[Running]:
    """Run a debugger on 127.0.0.1 in a thread, as long as the block lasts or until it is stopped.

    Options are those of `create_app`. SegconnError where the port is taken or the log cannot be written.
    """
    debugger = _Debugger("127.0.0.1", port, write_keys, log, log_dropped=log_dropped)
    thread = threading.Thread(target=debugger.run, name="segconn-debugger", daemon=True)
    thread.start()

    def stop() -> None:
        debugger.server.should_exit = True
        thread.join()

    try:
        yield Running(debugger.url, stop)
    finally:
        stop()


class _Debugger:
    """A server that listens from the start, so that nobody who knows its URL comes too early."""

    def __init__(
        self, host: str, port: int, write_keys: Collection[str], log: Path | None, *, log_dropped: bool
    ) -> None:
        self._listener = listen(host, port)
        try:
            self._app = create_app(
                write_keys=write_keys, log=log, log_dropped=log_dropped, hosts=[host], stopping=self._stopping
            )
        except OSError as error:
            self._listener.close()
            raise SegconnError(f"{log}: cannot be written: {error.strerror}.") from None
        self.server = uvicorn.Server(as_config(self._app))
        self.url = url_of(self._listener)

    def run(self) -> None:
        try:
            self.server.run(sockets=[self._listener])
        finally:
            self._listener.close()
            self._app.state.store.close()

    def _stopping(self) -> bool:
        return self.server.should_exit
