"""The other end is not trusted: slow, endless, compressed or broken answers end in time and cost no memory."""

from __future__ import annotations

import re
import resource
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from fuzzing import SECONDS, fuzz
from hostile import BOMB, HINTS
from hypothesis import strategies as st

from dbt_segconn.delivery import Canceled, Delivery, Destination, DestinationConfig, connection
from dbt_segconn.delivery.answers import Confirmed, Rejected, Throttled, Unknown, Unusable
from dbt_segconn.delivery.tracking_api import TrackingApiClient

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def answering(*answers):
    """Serve one connection after the other by `answers`: bytes, or functions of the socket; yield URL and requests."""
    requests = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for answer in answers:
                with suppress(OSError):
                    peer, _ = server.accept()
                    with peer:
                        requests.append(_read(peer))
                        if callable(answer):
                            answer(peer)
                        else:
                            peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", requests


def _read(peer):
    """Read one request to its end."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += _received(peer)
    head, _, body = text.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
    while len(body) < length:
        body += _received(peer)
    return head


def _received(peer):
    if not (part := peer.recv(65_536)):
        raise ConnectionError("the client has left")
    return part


def dribble(*parts, every=0.1, endless=b""):
    def send(peer):
        for part in parts:
            peer.sendall(part)
        while endless:
            time.sleep(every)
            peer.sendall(endless)

    return send


def flood(peer):
    """Send an endless chunked body; note how much of it was taken."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n" % 65_536 + b"x" * 65_536 + b"\r\n"
    with suppress(OSError):
        while True:
            flood.sent += len(chunk)
            peer.sendall(chunk)


def ask(url):
    api = TrackingApiClient(DestinationConfig("app", "wk", url))
    began = time.monotonic()
    try:
        return api.post(b'{"batch":[]}'), time.monotonic() - began
    finally:
        api.close()


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(connection, "DEADLINE_SECONDS", 1.0)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(connection, "TICK_SECONDS", 0.05)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (dribble(b"HTTP/1.1 200 OK\r\n", endless=b"X"), Unknown("no answer in time")),
        (dribble(endless=HINTS), Unknown("no answer in time")),
        (dribble(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", endless=b"x"), Confirmed()),
        (dribble(b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n", endless=b"1\r\nx\r\n"), Rejected),
        (flood, Confirmed()),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Confirmed()),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB, Confirmed()),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n", Unusable),
        (b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n", Unusable),
        (HINTS + b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + OK, Confirmed()),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", Unknown("the connection broke", reached=False)),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Unknown("the connection broke", reached=False)),
        (b"\x00\x01garbage\r\n\r\n", Unknown("the connection broke", reached=False)),
    ],
)
def test_any_answer_is_classified_in_time(hurried, answer, expected):
    flood.sent = 0
    with answering(answer) as (url, _):
        found, seconds = ask(url)
    assert found == expected if not isinstance(expected, type) else isinstance(found, expected)
    assert seconds < 5
    assert flood.sent < 20_000_000


def test_connection_is_used_again_after_a_short_body_alone():
    def twice(peer):
        peer.sendall(OK)
        _read(peer)
        peer.sendall(OK)

    with answering(twice, OK) as (url, requests):
        api = TrackingApiClient(DestinationConfig("app", "wk", url))
        assert api.post(b"{}") == Confirmed()
        assert api.post(b"{}") == Confirmed()
        api.close()
    assert len(requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_refusing_proxy_is_named_without_its_password(monkeypatch, scheme):
    with answering(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as (url, requests):
        host = url.removeprefix("http://")
        monkeypatch.setenv(f"{scheme}_proxy", f"http://user:pw-secret@{host}")
        monkeypatch.setenv("no_proxy", "")
        answer, _ = ask(f"{scheme}://segment.invalid")
    assert isinstance(answer, Unusable)
    assert f"the proxy {host} requires a password (HTTP status 407)" in answer.reason
    assert "secret" not in answer.reason
    assert requests[0].startswith(b"CONNECT segment.invalid:443" if scheme == "https" else b"POST http://segment.")
    assert b"Proxy-Authorization: Basic" in requests[0]


def test_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    answer, _ = ask("https://segment.invalid")
    assert answer == Unknown("no connection through the proxy 127.0.0.1:9", reached=False)


@pytest.mark.parametrize("answer", [dribble(b"HTTP/1.1 200 OK\r\n", endless=b"X"), lambda _: time.sleep(20)])
def test_stop_works_while_waiting(answer):
    stop = threading.Event()
    with answering(answer) as (url, requests):
        destination = Destination(DestinationConfig("app", "wk", url, events_per_second=None))
        with Delivery(destination, start_after=0, stop=stop) as delivery:
            call = {"type": "identify", "userId": "u", "messageId": "m", "traits": {}}
            delivery.send([1], [call])
            threading.Timer(0.3, stop.set).start()
            began = time.monotonic()
            with pytest.raises(Canceled):
                delivery.finish()
            assert time.monotonic() - began < 5
            assert len(requests) == 1
            assert delivery.progress().watermark == 0


class Answering:
    """Answers each connection with `parts`, one after the other, and then says no more."""

    def __init__(self):
        self.parts = ()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            with suppress(OSError), peer:
                _read(peer)
                for part in self.parts:
                    peer.sendall(part)


@pytest.fixture(scope="module")
def any_answer():
    answering = Answering()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "DEADLINE_SECONDS", 1.0)
        patch.setattr(connection, "BODY_SECONDS", 0.3)
        patch.setattr(connection, "TICK_SECONDS", 0.05)
        ask(answering.url)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield answering
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    answering.server.close()
    assert grown < 60_000, f"{grown} KB more than before"


VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"http/1.1", b"HTTP/1.1.1", b"ICY", b""])
CODES = (
    st.sampled_from([b"200", b"200", b"202", b"204", b"304", b"400", b"401", b"413", b"429", b"429", b"500", b"100"])
    | st.integers(-10, 9_999).map(lambda code: b"%d" % code)
    | st.binary(max_size=4)
)
# fmt: off
NAMES = st.sampled_from([
    b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Connection", b"Location", b"Retry-After",
    b"X-RateLimit-Reset", b"Upgrade", b"Trailer", b"Set-Cookie", b"content-length", b" folded", b"Keep-Alive",
]) | st.binary(max_size=6)
# fmt: on
HEADER_VALUES = st.one_of(
    st.sampled_from([b"0", b"2", b"-1", b"99999999999999999999", b"0x10", b"1e3", b"nan", b"inf", b"-inf", b"1_000"]),
    st.sampled_from([b"chunked", b"gzip", b"deflate", b"br", b"chunked, gzip", b"close", b"http://[bad", b"\xff\xfe"]),
    st.sampled_from(
        [b"Wed, 21 Oct 2015 07:28:00 GMT", b"Fri, 31 Dec 9999 23:59:59 -2359", b"Mon, 1 Jan 0001 0:0:0 +14"]
    ),
    st.text(max_size=12).map(str.encode),
    st.binary(max_size=12),
)
LINES = st.lists(st.builds(lambda name, value: name + b": " + value + b"\r\n", NAMES, HEADER_VALUES), max_size=5)
HEADS = st.builds(
    lambda version, code, lines: version + b" " + code + b" x\r\n" + b"".join(lines) + b"\r\n", VERSIONS, CODES, LINES
)
TAILS = st.sampled_from(
    [
        b"",
        b"{}",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffff\r\n{}",
        b"-1\r\n",
        b"zz\r\n",
        b";" * 70_000,
        b"x" * 200_000,
        BOMB,
    ]
) | st.binary(max_size=40)
PARTS = st.lists(HEADS | HEADS | TAILS | st.just(HINTS) | st.just(OK) | st.binary(max_size=30), min_size=1, max_size=4)


@fuzz(PARTS, st.integers(0, 60), examples=150)
def test_fuzzed_answer_is_classified(any_answer, parts, cut):
    whole = b"".join(parts)
    any_answer.parts = [whole[:cut], whole[cut:]] if cut else [whole]
    answer, seconds = ask(any_answer.url)
    assert seconds < (30 if SECONDS else 5)
    assert isinstance(answer, (Confirmed, Rejected, Throttled, Unknown, Unusable))
    if isinstance(answer, Confirmed):
        assert re.search(rb"\s2\d\d\b", whole)
    elif isinstance(answer, Rejected):
        assert re.search(rb"\s(400|413)\b", whole)
    elif isinstance(answer, Throttled):
        assert b"429" in whole
        assert answer.seconds is None or answer.seconds >= 0
