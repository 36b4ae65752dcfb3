"""Answers that no good API gives: what a test's API, or a bare socket, writes as they stand."""

from __future__ import annotations

import gzip
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
BOMB = gzip.compress(b"x" * 10_000_000)
PAUSE_SECONDS = 0.05  # between two pieces of an answer without an end

_LINE = b"HTTP/1.1 %d Status\r\n"
_ZIPPED = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)
# Name of an answer → its bytes, and the piece that follows again and again
_ANSWERS: dict[str, tuple[bytes, bytes]] = {
    "trickling head": (_LINE + b"A: ", b"x"),
    "trickling body": (_LINE + b"Content-Length: 900\r\n\r\n", b"x"),
    "endless hints": (b"", HINTS),
    "hints": (HINTS * 3 + b"HTTP/1.1 100 Continue\r\n\r\n" + _LINE + b"Content-Length: 2\r\n\r\n{}", b""),
    "bomb": (_LINE + _ZIPPED + BOMB, b""),
    "broken gzip": (_LINE + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", b""),
    "long body": (_LINE + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000, b""),
    "short head": (_LINE + b"Content-Le", b""),
    "short body": (_LINE + b"Content-Length: 900\r\n\r\n{", b""),
    "short chunk": (_LINE + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}", b""),
    "nothing": (b"", b""),
    "garbage": (b"\x00\x01garbage\r\n\r\n", b""),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n", b""),
    "redirect in bytes": (b"HTTP/1.1 307 Found\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n", b""),
}
NAMES = tuple(_ANSWERS)


@dataclass(frozen=True)
class Hostile:
    """One of these answers with its status; the API takes the batch where that is 200."""

    name: str
    status: int

    def write(self, peer: socket.socket, done: threading.Event) -> None:
        """Write the answer; one without an end goes on until the peer leaves or it is `done`."""
        start, piece = _ANSWERS[self.name]
        with suppress(OSError):
            peer.sendall(start.replace(b"%d", b"%d" % self.status, 1))
            while piece and not done.wait(PAUSE_SECONDS):
                peer.sendall(piece)
