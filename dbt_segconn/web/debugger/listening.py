"""How a server listens on this machine: from the start, silently, until a signal ends it."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from dbt_segconn.errors import SegconnError

# Each may hold a request of 500 KB; beyond these the answer is 503
CONNECTIONS = 128
# Without handlers of its own, uvicorn's loggers would write to standard error
_SILENT: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"none": {"class": "logging.NullHandler"}},
    "loggers": {"uvicorn": {"handlers": ["none"], "propagate": False}},
}


@contextmanager
def ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Have SIGINT and SIGTERM end the server, and nothing more.

    uvicorn raises the signal again once it has stopped, which would end the process if nobody took it.
    """
    previous = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def as_config(app: Starlette) -> uvicorn.Config:
    """Serve an application without a word, a proxy's headers or web sockets."""
    return uvicorn.Config(
        app,
        http="h11",  # the other one limits no header
        limit_concurrency=CONNECTIONS,
        log_config=_SILENT,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port, 0 for any free one. SegconnError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SegconnError(
                f"port {port} is taken, perhaps by another dbt-segconn. Choose one with --port, or 0 for any free one."
            ) from None
        raise SegconnError(f"cannot listen on {host}:{port}: {error.strerror}.") from None
    # Handed down to each connection: an answer in two parts would otherwise wait 40 ms for the sender's ACK
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
