"""A connection to one URL that things are posted to, or asked of: Segment's, or a webhook's.

The answer is not trusted. One deadline holds for a whole request, at most some KB of its body are read and never
decompressed, redirects are not parsed, and interim answers (1xx) are skipped.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
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
# The status says what became of a request: its body is not waited for longer, nor read beyond
BODY_SECONDS = 2.0
BODY_BYTES, LONG_BODY_BYTES = 65_536, 1_000_000
TICK_SECONDS = 0.25

PROXY_REFUSED = 407
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_NO_RETRIES = urllib3.Retry(total=False, redirect=False)  # made once: it costs as much as a small batch


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """An answer; `body` is empty where it is compressed, too long or late."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; raises ValueError."""
        return json.loads(self.body)


class Unanswered(Exception):  # noqa: N818  a value that is raised
    """No answer came. `is_late`: the deadline has passed, or the request was ended.

    `proxy` is the host of the proxy, where one was used, and `proxy_status` the HTTP status by which it refused.
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


class Connection:
    """Posts to one URL from one thread, or asks it; follows no redirect and reads no netrc.

    Proxies and certificates of the environment are used. Raises ValueError where the URL cannot be one, and from
    `post` and `get` Unanswered.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout: tuple[float, float] | None = None) -> None:
        connect, read = timeout or TIMEOUT
        self._timeout = urllib3.Timeout(connect=connect, read=read)
        self._request = requests.Request("POST", url).prepare()
        self._headers = {"User-Agent": f"dbt-segconn/{__version__}", **headers}
        session = requests.Session()
        self._environment = session.merge_environment_settings(url, {}, None, None, None)
        self._proxy = _host_of(select_proxy(url, self._environment["proxies"]))
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1)
        self._pool: Any = None
        self._path = ""
        self._socket: socket.socket | None = None  # a second handle, which outlives the wrapping by TLS
        self._is_late = False
        self._is_aborted = False

    def post(self, data: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """Send one request."""
        return self._ask("POST", data, headers or {}, BODY_BYTES)

    def get(self) -> Reply:
        """Ask, and send nothing."""
        return self._ask("GET", None, {}, LONG_BODY_BYTES)

    def abort(self) -> None:
        """End the request under way, and all later ones, from another thread."""
        self._is_aborted = True
        self._expire()

    def close(self) -> None:
        """Close the connection."""
        self._adapter.close()
        if self._socket:
            self._socket.close()

    def _ask(self, method: str, data: bytes | None, headers: Mapping[str, str], limit: int) -> Reply:
        self._is_late = self._is_aborted
        if self._is_late:
            raise Unanswered(is_late=True)
        with _WATCHDOG.watching(self, DEADLINE_SECONDS) as hurry:
            try:
                response = self._open().urlopen(
                    method,
                    self._path,
                    body=data,
                    headers={**self._headers, **headers},
                    retries=_NO_RETRIES,
                    redirect=False,
                    assert_same_host=False,
                    timeout=self._timeout,
                    preload_content=False,
                    decode_content=False,
                )
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                found = _TUNNEL.search(str(error)) if self._proxy else None
                status = int(found[1]) if found else None
                raise Unanswered(error, is_late=self._is_late, proxy=self._proxy, proxy_status=status) from None
            if self._is_late:  # cut off in its headers, which then look whole
                response.close()
                raise Unanswered(is_late=True)
            hurry(BODY_SECONDS)
            body = self._body(response, limit)
        if response.status == PROXY_REFUSED and self._proxy:
            raise Unanswered(proxy=self._proxy, proxy_status=PROXY_REFUSED)
        return Reply(response.status, response.headers, body)

    def _body(self, response: Any, limit: int) -> bytes:
        """Read the body if it is short; the connection is used again only then."""
        body = None
        with suppress(urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError):
            body = response.read(limit + 1)
        if body is None or len(body) > limit:
            response.close()
            return b""
        response.release_conn()
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
        """End the request under way: what is read or written then fails."""
        self._is_late = True
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _FinalResponse(http.client.HTTPResponse):
    """Skips interim answers such as 103, of which http.client knows only 100."""

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
        """Shows each socket to its owner before anything is read from it."""

        response_class = _FinalResponse

        def _new_conn(self) -> socket.socket:
            opened: socket.socket = super()._new_conn()
            owner._keep(opened)  # noqa: SLF001  the other half of this module
            return opened

    return Watched


class _Watchdog:
    """One thread that ends the requests which have passed their deadline; it sleeps while there are none."""

    def __init__(self) -> None:
        self._deadlines: dict[Connection, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, connection: Connection, seconds: float) -> Iterator[Callable[[float], None]]:
        """Watch a request; yield a function that moves its deadline to that many seconds from now, never later."""

        def hurry(more: float) -> None:
            with self._changed:
                self._deadlines[connection] = min(self._deadlines[connection], time.monotonic() + more)

        with self._changed:
            self._deadlines[connection] = time.monotonic() + seconds
            if self._thread is None or not self._thread.is_alive():  # a forked process has lost it
                self._thread = threading.Thread(target=self._watch, name="segconn-deadlines", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield hurry
        finally:
            with self._changed:
                del self._deadlines[connection]

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._deadlines:
                    self._changed.wait()
                now = time.monotonic()
                for connection, deadline in self._deadlines.items():
                    if deadline <= now:
                        connection._expire()  # noqa: SLF001  the other half of this module
            time.sleep(TICK_SECONDS)


_WATCHDOG = _Watchdog()


@contextmanager
def paths_unlogged() -> Iterator[None]:
    """Keep urllib3, which logs the path of each request for debugging, from logging those that hold secrets."""
    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(_is_no_debugging)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_debugging)


def _is_no_debugging(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
