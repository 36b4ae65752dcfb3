"""HTTP servers for this machine: sockets, signals, security headers and the check of Host and Origin."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dbt_segconn.errors import SegconnError

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
# Bounds the memory, as each connection may hold a request of 500 KB. Further connections get status 503
CONNECTIONS = 128
# Without handlers of their own, uvicorn's loggers write to standard error
_SILENT: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"none": {"class": "logging.NullHandler"}},
    "loggers": {"uvicorn": {"handlers": ["none"], "propagate": False}},
}
# The pages show values of calls and rows: none of them may run, load anything, or be shown inside another site
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@contextmanager
def stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Stop the server on SIGINT and SIGTERM, without ending the process.

    uvicorn raises the signal again after it has stopped. Its default handler would end the process.
    """
    previous = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def in_thread(run: Callable[[], None], server: uvicorn.Server, name: str) -> Iterator[Callable[[], None]]:
    """Call `run`, which runs the server, in a thread until the block ends.

    Yields a function that stops the server earlier and waits for its end. It may be called more than once.
    """
    # a daemon: it must not keep the process alive if the block ends with an error
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    try:
        yield stop
    finally:
        stop()


def server_config(app: Starlette) -> uvicorn.Config:
    """Return uvicorn's configuration for an application: no logs, no proxy headers, no web sockets."""
    return uvicorn.Config(
        app,
        http="h11",  # httptools does not limit the size of headers
        limit_concurrency=CONNECTIONS,
        log_config=_SILENT,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,  # a client may keep its connection open
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Port 0 selects any free port. Raises SegconnError if it cannot listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SegconnError(
                f"port {port} is taken, perhaps by another dbt-segconn. Choose one with --port, or 0 for any free one."
            ) from None
        raise SegconnError(f"cannot listen on {host}:{port}: {error.strerror}.") from None
    # Accepted connections inherit this option. With Nagle's algorithm, an answer in two parts waits 40 ms for an ACK
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def respond(content: bytes, media_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with the security headers."""
    return Response(content, status, media_type=media_type, headers={**SECURITY_HEADERS, **(headers or {})})


def respond_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response with the security headers."""
    return respond(orjson.dumps(value), "application/json", status, headers)


async def respond_error(_: Request, error: Exception) -> Response:
    """Return an error response in Segment's format, with a `message` that Segment does not send."""
    if not isinstance(error, HTTPException):  # starlette types a handler's parameter as Exception
        raise error
    return respond_json({"success": False, "message": error.detail}, error.status_code, error.headers)


class LocalOnly:
    """ASGI middleware that returns 403 if `Host` is not this machine or `Origin` differs from `Host`.

    A web page can point its own name at 127.0.0.1 (DNS rebinding), but `Host` then holds that name. `hosts` are
    further accepted names. An unspecified address in it, such as 0.0.0.0, accepts every IP address, because an
    address cannot be rebound. It accepts no further names.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = LOCAL | {host.lower() for host in hosts}
        self._any_address = any(_is_unspecified(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Return 403, or pass the request to the application."""
        if scope["type"] == "http" and not self._allows(dict(scope["headers"])):
            await PlainTextResponse("Only for this machine.", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, headers: dict[bytes, bytes]) -> bool:
        # latin-1 decodes any bytes: a binary header is refused, not an error of the server
        host = headers.get(b"host", b"").decode("latin-1").lower()
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        name = _host_name(host)
        is_local = name in self._hosts or (self._any_address and _is_address(name))
        return is_local and (not origin or origin.partition("://")[2] == host)


def _host_name(host: str) -> str:
    """Return the host without its port and without the brackets of an IPv6 address."""
    name, _, port = host.rpartition(":")
    bare = name if name and port.isdigit() else host
    return bare[1:-1] if bare.startswith("[") and bare.endswith("]") else bare


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_unspecified(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
