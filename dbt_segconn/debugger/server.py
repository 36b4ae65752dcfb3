"""The debugger as a running server: in the foreground, or in a thread beside other work."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from dbt_segconn.debugger.app import create_app
from dbt_segconn.errors import SegconnError

# Without handlers of its own, uvicorn's loggers would write to standard error
_SILENT: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"none": {"class": "logging.NullHandler"}},
    "loggers": {"uvicorn": {"handlers": ["none"], "propagate": False}},
}


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
    with _ended_by_signals(debugger.server):
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
        self._listener = _listen(host, port)
        try:
            self._app = create_app(
                write_keys=write_keys, log=log, log_dropped=log_dropped, hosts=[host], stopping=self._stopping
            )
        except OSError as error:
            self._listener.close()
            raise SegconnError(f"{log}: cannot be written: {error.strerror}.") from None
        self.server = uvicorn.Server(_config(self._app))
        self.url = _url(self._listener)

    def run(self) -> None:
        try:
            self.server.run(sockets=[self._listener])
        finally:
            self._listener.close()
            self._app.state.store.close()

    def _stopping(self) -> bool:
        return self.server.should_exit


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Have SIGINT and SIGTERM end the server, and nothing more.

    uvicorn raises the signal again once it has stopped, which would end the process if nobody took it.
    """
    previous = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=_SILENT,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SegconnError(
                f"port {port} is taken, perhaps by another debugger. Choose one with --port, or 0 for any free one."
            ) from None
        raise SegconnError(f"cannot listen on {host}:{port}: {error.strerror}.") from None
    # Handed down to each connection: an answer in two parts would otherwise wait 40 ms for the sender's ACK
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
