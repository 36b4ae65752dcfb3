"""An HTTP connection to one URL, of Segment or of a webhook.

The server is not trusted. One deadline covers a whole request. The body is read up to a limit and never decompressed.
Redirects are not followed, and interim responses (1xx) are skipped.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from dbt_segconn.version import __version__

TIMEOUT = (10.0, 30.0)  # seconds to connect, seconds without a byte
DEADLINE_SECONDS = 60.0  # of a whole request
# The status decides the outcome of a request, so a slow or long body is given up
BODY_SECONDS = 2.0
# For the answer to a batch; for the settings of a write key, which name all integrations of a source
BODY_BYTES, LONG_BODY_BYTES = 65_536, 1_000_000
TICK_SECONDS = 0.25  # how exact a deadline is

PROXY_AUTHENTICATION_REQUIRED = 407
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
# A retry needs a new `sentAt`. Shared, because building it costs as much as a small batch
_NO_RETRIES = urllib3.Retry(total=False, redirect=False)


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """The response to a request; `body` is empty if it is compressed, too long or late."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the parsed body; raise ValueError if it is not JSON."""
        return json.loads(self.body)


class NoResponseError(Exception):
    """A request has no response. `is_late`: the deadline passed, or the request was aborted.

    `proxy` is host and port of the proxy in use, `proxy_status` the HTTP status of a failed proxy connection.
    """

    def __init__(
        self,
        cause: BaseException | None = None,
        *,
        is_late: bool = False,
        proxy: str | None = None,
        proxy_status: int | None = None,
    ) -> None:
        super().__init__("no answer")
        self.cause = cause
        self.is_late = is_late
        self.proxy = proxy
        self.proxy_status = proxy_status


# Per thread: urllib3's loggers also log the requests of other libraries in this process
_sending = threading.local()


def _is_of_others(_record: logging.LogRecord) -> bool:
    """Drop urllib3's log records of these requests: they quote paths, which may be secrets, and headers of answers."""
    return not getattr(_sending, "now", False)


for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_is_of_others)


@contextmanager
def _unlogged() -> Iterator[None]:
    _sending.now = True
    try:
        yield
    finally:
        _sending.now = False


class Connection:
    """Send requests to one URL from one thread, with the proxies and certificates of the environment.

    Redirects and netrc are ignored. Raise ValueError for an invalid URL; `post` and `get` raise NoResponseError.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout: tuple[float, float] | None = None) -> None:
        connect, read = timeout or TIMEOUT
        self._timeout = urllib3.Timeout(connect=connect, read=read)
        self._request = requests.Request("POST", url).prepare()
        self._headers = {"User-Agent": f"dbt-segconn/{__version__}", **headers}
        session = requests.Session()
        self._environment = session.merge_environment_settings(url, {}, None, None, None)
        self._proxy = _host_of(select_proxy(url, self._environment["proxies"]))
        # without the session: it would follow redirects and send a password of ~/.netrc
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1)
        self._pool: Any = None
        self._path = ""
        self._socket: socket.socket | None = None  # a duplicate handle: TLS detaches the original
        self._is_late = False
        self._is_aborted = False

    def post(self, data: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """Send a POST request."""
        return self._send("POST", data, headers or {}, BODY_BYTES)

    def get(self) -> Response:
        """Send a GET request."""
        return self._send("GET", None, {}, LONG_BODY_BYTES)

    def abort(self) -> None:
        """Cancel the request in flight and all later ones; called from another thread."""
        self._is_aborted = True
        self._expire()

    def close(self) -> None:
        """Close the connection."""
        if self._pool:
            self._pool.close()  # the adapter's pool manager only forgets it, and it refers to itself by `_watched`
        self._adapter.close()
        if self._socket:
            self._socket.close()

    def _send(self, method: str, data: bytes | None, headers: Mapping[str, str], limit: int) -> Response:
        self._is_late = self._is_aborted
        if self._is_late:
            raise NoResponseError(is_late=True)
        with _unlogged(), _WATCHDOG.watching(self, DEADLINE_SECONDS):
            try:
                response = self._open().urlopen(
                    method,
                    self._path,
                    body=data,
                    headers={**self._headers, **headers},
                    retries=_NO_RETRIES,
                    redirect=False,
                    assert_same_host=False,  # through a proxy for HTTP, the path is a whole URL
                    timeout=self._timeout,
                    preload_content=False,
                    decode_content=False,
                )
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                found = _TUNNEL.search(str(error)) if self._proxy else None
                status = int(found[1]) if found else None
                raise NoResponseError(error, is_late=self._is_late, proxy=self._proxy, proxy_status=status) from None
            if self._is_late:  # headers cut off by the deadline look complete
                response.close()
                raise NoResponseError(is_late=True)
            _WATCHDOG.shorten(self, BODY_SECONDS)
            body = self._read(response, limit)
        if response.status == PROXY_AUTHENTICATION_REQUIRED and self._proxy:
            raise NoResponseError(proxy=self._proxy, proxy_status=PROXY_AUTHENTICATION_REQUIRED)
        return Response(response.status, response.headers, body)

    def _read(self, response: Any, limit: int) -> bytes:
        """Read the body up to `limit` bytes. The connection is reused only if the body was read to its end."""
        body = None
        with suppress(urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError):
            body = response.read(limit + 1)
        if body is None or len(body) > limit:
            response.close()
            return b""
        response.release_conn()
        # a small compressed body may be gigabytes
        return b"" if response.headers.get("Content-Encoding", "identity") != "identity" else body

    def _open(self) -> Any:
        if self._pool is None:
            request, proxies = self._request, self._environment["proxies"]
            verify, cert = self._environment["verify"], self._environment["cert"]
            pool: Any = self._adapter.get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            self._adapter.cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
            pool.ConnectionCls = _watched(pool.ConnectionCls, self)
            self._path = self._adapter.request_url(request, proxies)
            self._pool = pool
        return self._pool

    def _keep(self, opened: socket.socket) -> None:
        if self._socket:
            self._socket.close()
        self._socket = opened.dup()

    def _expire(self) -> None:
        """Shut the socket down, so that the request in flight fails."""
        self._is_late = True
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _FinalResponse(http.client.HTTPResponse):
    """Skip every interim response, such as 103; http.client skips only 100."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not http.client.SWITCHING_PROTOCOLS < status < http.client.OK:
                return version, status, reason
            http.client.parse_headers(self.fp)


def _host_of(proxy: str | None) -> str | None:
    """Return host and port of a proxy's URL, without its credentials."""
    if not proxy:
        return None
    parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname


def _watched(base: Any, owner: Connection) -> Any:
    class Watched(base):  # type: ignore[misc]
        """Register each new socket with its Connection, which can shut it down."""

        response_class = _FinalResponse

        def _new_conn(self) -> socket.socket:
            opened: socket.socket = super()._new_conn()
            owner._keep(opened)  # noqa: SLF001  same module
            return opened

    return Watched


class _Watchdog:
    """Expire requests at their deadline, in one thread that waits while no request is in flight."""

    def __init__(self) -> None:
        self._deadlines: dict[Connection, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, connection: Connection, seconds: float) -> Iterator[None]:
        """Set the deadline of a request that is sent in this block."""
        with self._changed:
            self._deadlines[connection] = time.monotonic() + seconds
            if self._thread is None or not self._thread.is_alive():  # a forked process has no threads
                self._thread = threading.Thread(target=self._watch, name="segconn-deadlines", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._deadlines[connection]

    def shorten(self, connection: Connection, seconds: float) -> None:
        """Set the deadline to this many seconds from now, if that is earlier."""
        with self._changed:
            self._deadlines[connection] = min(self._deadlines[connection], time.monotonic() + seconds)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._deadlines:
                    self._changed.wait()
                now = time.monotonic()
                for connection, deadline in self._deadlines.items():
                    if deadline <= now:
                        connection._expire()  # noqa: SLF001  same module
            time.sleep(TICK_SECONDS)  # a wait would be woken by every request


_WATCHDOG = _Watchdog()
