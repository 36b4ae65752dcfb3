"""The debugger as a running server: in the foreground, or in a thread beside other work."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from dbt_segconn.debugger.app import create_app
from dbt_segconn.errors import SegconnError


def serve(
    host: str = "127.0.0.1",
    port: int = 8123,
    *,
    write_keys: Collection[str] = (),
    log: Path | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Run until SIGINT or SIGTERM. Port 0 takes any free one; `on_ready` hears the URL.

    Raises SegconnError where the port is taken or the log cannot be written.
    """
    server = _server(write_keys, log, host)
    listener = _listen(host, port)
    on_ready(_url(listener))
    try:
        server.run(sockets=[listener])
    finally:
        _close(server)


@dataclass(frozen=True, slots=True)
class Running:
    """A debugger in a thread of its own."""

    url: str


@contextmanager
def running(port: int = 0, *, write_keys: Collection[str] = (), log: Path | None = None) -> Iterator[Running]:
    """Run a debugger on 127.0.0.1 as long as the block lasts."""
    server = _server(write_keys, log, "127.0.0.1")
    listener = _listen("127.0.0.1", port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="segconn-debugger", daemon=True)
    thread.start()
    try:
        yield Running(_url(listener))
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        _close(server)


def _server(write_keys: Collection[str], log: Path | None, host: str) -> uvicorn.Server:
    try:
        app = create_app(write_keys=write_keys, log=log, hosts=[host])
    except OSError as error:
        raise SegconnError(f"{log}: cannot be written: {error.strerror}.") from None
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def _close(server: uvicorn.Server) -> None:
    app: Any = server.config.app
    app.state.store.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SegconnError(
                f"port {port} is taken, perhaps by another debugger. Choose one with --port, or 0 for any free one."
            ) from None
        raise SegconnError(f"cannot listen on {host}:{port}: {error.strerror}.") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"
