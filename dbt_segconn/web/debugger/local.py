"""Keeps the pages of the web out: whoever calls must know this machine by its own name."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class LocalOnly:
    """Answers 403 where `Host` is not this machine, or `Origin` is another site than `Host`.

    A page of the web may have its name point at 127.0.0.1 (DNS rebinding), but then its name is in `Host`.
    `hosts` are further names to answer to. One that stands for every address, such as 0.0.0.0, allows all
    addresses, which cannot be rebound, and still no names.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = LOCAL | {host.lower() for host in hosts}
        self._any_address = any(_is_unspecified(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or hand the request on."""
        if scope["type"] == "http" and not self._allows(dict(scope["headers"])):
            await PlainTextResponse("Only for this machine.", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        name = _name(host)
        known = name in self._hosts or (self._any_address and _is_address(name))
        return known and (not origin or origin.partition("://")[2] == host)


def _name(host: str) -> str:
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
