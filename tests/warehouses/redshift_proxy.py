"""A proxy that gives a PostgreSQL server the protocol and words of Redshift, and fails statements on demand.

It shows the real driver and dbt-redshift at work. It does not show Redshift's planner, its compute nodes, SUPER
navigation, or isolation by table.
"""

from __future__ import annotations

import re
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEPT_AT_START = (b"user", b"database")
ENDS = ("COMMIT", "rollback")
SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102
# What the driver reads as Redshift: the version, and rows as PostgreSQL writes them
OWN_PARAMETERS = {b"server_version": b"8.0.2", b"server_protocol_version": b"0"}
# Redshift's words → PostgreSQL's. A text without a length has 256 bytes
WORDS = (
    (re.compile(r"\bsysdate\b", re.IGNORECASE), "timezone('UTC', now())"),
    (re.compile(r"\bdatediff\(\s*(second|day)\s*,", re.IGNORECASE), r"datediff('\1',"),
    (re.compile(r"\bjson_serialize\(", re.IGNORECASE), '"json_serialize"('),
    (re.compile(r'information_schema\."columns"'), "redshift_columns"),
    (re.compile(r"\bas (?:text|varchar)(?=\s*\))", re.IGNORECASE), "as varchar(256)"),
)
# https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation.html
SERIALIZATION = {
    b"C": b"XX000",
    b"M": b"1023",
    b"D": b"Serializable isolation violation on table - 100167, transactions forming the cycle are: 1, 2 (pid:3)",
}
# Errors after which dbt-redshift repeats a statement alone, and one after which it does not
CONFLICTS = (
    "could not complete because of conflict with concurrent transaction",
    "could not open relation with OID 101293",
    SERIALIZATION[b"D"].decode(),
)
# The connection is lost before or after the statement
LOST, LOST_AFTER = "lost", "lost_after"
RAISED = "do $$ begin raise exception '{}' using errcode = 'XX000'; end $$"

# The statements of the open transaction, the next one included → LOST, LOST_AFTER, the text of an error, or None
Fault = Callable[[tuple[str, ...]], str | None]


class Proxy(socketserver.ThreadingTCPServer):
    """Listens on loopback. `fault` is asked before each statement; `conflicts` counts those of the server itself."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server: Path) -> None:
        self.server = server
        self.fault: Fault = lambda _statements: None
        self.conflicts = 0
        super().__init__(("127.0.0.1", 0), _Client)

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Fail the statements for which `fault` returns how."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = lambda _statements: None

    def handle_error(self, _request: object, _address: object) -> None:
        """Print nothing: clients that are killed end their connections in the middle."""


class _Client(socketserver.BaseRequestHandler):
    """One connection of a client, and its own connection to the server."""

    server: Proxy

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.upstream = socket.socket(socket.AF_UNIX)
        self.upstream.connect(str(self.server.server / ".s.PGSQL.5432"))
        self.prepared: dict[bytes, str] = {}
        self.transaction: tuple[str, ...] = ()
        self.ends_after = False
        answers = threading.Thread(target=self._answers, daemon=True)
        try:
            self._start()
            answers.start()
            self._requests()
        finally:
            self._end()

    def _end(self) -> None:
        for one in (self.upstream, self.request):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _start(self) -> None:
        """Pass on the start of a session, without encryption and with the parameters that PostgreSQL knows."""
        while True:
            (length,) = struct.unpack("!i", _read(self.request, 4))
            body = _read(self.request, length - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code != SSL_REQUEST:
                break
            self.request.sendall(b"N")
        if code != CANCEL_REQUEST:
            words = body[4:].split(b"\0")
            kept = [
                (name, value) for name, value in zip(words[::2], words[1::2], strict=False) if name in KEPT_AT_START
            ]
            body = body[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in kept) + b"\0"
        self.upstream.sendall(struct.pack("!i", len(body) + 4) + body)

    def _requests(self) -> None:
        while True:
            kind, body = _message(self.request)
            if kind == b"P":
                name, sql, rest = body.split(b"\0", 2)
                self.prepared[name] = sql.decode()
                body = b"\0".join((name, _said(sql.decode()).encode(), rest))
            elif kind == b"B":
                body = self._bound(body)
                if body is None:
                    return
            self.upstream.sendall(_framed(kind, body))

    def _bound(self, body: bytes) -> bytes | None:
        """Return the request to execute a statement, or one that raises an error; None to lose the connection."""
        portal, name, _ = body.split(b"\0", 2)
        sql = self.prepared[name]
        is_open = self.transaction[:1] == ("BEGIN",) and self.transaction[-1] not in ENDS and sql != "BEGIN"
        self.transaction = (*self.transaction, sql) if is_open else (sql,)
        fault = self.server.fault(self.transaction)
        if fault not in (None, LOST, LOST_AFTER):
            self.upstream.sendall(_framed(b"P", b"\0" + RAISED.format(fault).encode() + b"\0\0\0"))
            return portal + b"\0\0" + b"\0\0" * 3
        self.ends_after = fault == LOST_AFTER
        return None if fault == LOST else body

    def _answers(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                kind, body = _message(self.upstream)
                if kind == b"S" and body.split(b"\0")[0] in OWN_PARAMETERS:
                    continue
                if kind == b"Z" and self.ends_after:
                    break
                if kind == b"E" and b"\0C40001\0" in b"\0" + body:
                    self.server.conflicts += 1
                    body = b"SERROR\0" + b"".join(key + text + b"\0" for key, text in SERIALIZATION.items()) + b"\0"
                self.request.sendall(_framed(kind, body))
                if kind == b"R" and body == b"\0\0\0\0":
                    for name, value in OWN_PARAMETERS.items():
                        self.request.sendall(_framed(b"S", name + b"\0" + value + b"\0"))
        self._end()


def _said(sql: str) -> str:
    """Return a statement in PostgreSQL's words."""
    for word, own in WORDS:
        sql = word.sub(own, sql)
    return sql


def _message(source: socket.socket) -> tuple[bytes, bytes]:
    head = _read(source, 5)
    return head[:1], _read(source, struct.unpack("!i", head[1:])[0] - 4)


def _framed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _read(source: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = source.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
