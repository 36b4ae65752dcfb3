"""Any request to the debugger is answered, and never with 500."""

from __future__ import annotations

import gzip
import json
import socket
from contextlib import closing

import pytest
import requests
from debugger_process import debugger_process
from fuzzing import fuzz
from hypothesis import strategies as st

# 403: `Host` or `Origin` is not this machine. 503: too many connections at once
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"  # for `Expect: 100-continue`
STATUSES = {b"200", b"204", b"400", b"401", b"403", b"404", b"405", b"413", b"503"}

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2026-01-02T03:04:05Z", "0001-01-01T00:00:00+14:00", "9999-12-31", "track", "u1", "m" * 101])
)
KEYS = st.sampled_from(
    [
        "type",
        "userId",
        "anonymousId",
        "event",
        "messageId",
        "timestamp",
        "context",
        "integrations",
        "traits",
        "writeKey",
    ]
) | st.text(max_size=5)
JSON = st.recursive(
    LEAVES, lambda one: st.lists(one, max_size=4) | st.dictionaries(KEYS, one, max_size=5), max_leaves=30
)
CALLS = st.dictionaries(KEYS, JSON, max_size=6) | JSON
BATCHES = st.fixed_dictionaries(
    {"batch": st.lists(CALLS, max_size=4)},
    optional={"sentAt": JSON, "context": JSON, "integrations": JSON, "writeKey": JSON},
)
BODIES = st.one_of(
    BATCHES.map(json.dumps).map(str.encode),
    JSON.map(json.dumps).map(str.encode),
    st.binary(max_size=100),
    st.builds(lambda depth: b'{"batch":[' + b"[" * depth + b"]" * depth + b"]}", st.integers(0, 3000)),
    st.builds(lambda size: b'{"batch":[{"x":"' + b"y" * size + b'"}]}', st.integers(30_000, 34_000)),
)
PATHS = st.sampled_from(
    [b"/v1/batch", b"/v1/batch", b"/v1/track", b"/v1/page", b"/events", b"/stats", b"/v1/projects/%ff/settings", b"/"]
) | st.binary(max_size=10)
METHODS = st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"DELETE", b"PUT", b"HEAD"]) | st.binary(max_size=5)
NAMES = st.sampled_from(
    [b"Authorization", b"Content-Encoding", b"Content-Type", b"Transfer-Encoding", b"Expect", b"Origin", b"Host"]
) | st.binary(max_size=8)
VALUES = st.sampled_from([b"Basic d2s6", b"Basic ===", b"gzip", b"identity", b"chunked", b"100-continue", b"null"]) | (
    st.binary(max_size=30)
)
HEADERS = st.lists(st.builds(lambda name, value: name + b": " + value + b"\r\n", NAMES, VALUES), max_size=3)
CODED = st.sampled_from([lambda body: body, lambda body: body, gzip.compress, lambda body: gzip.compress(body)[:-4]])


@pytest.fixture(scope="module")
def process():
    with debugger_process() as (url, peak):
        yield url, peak
        assert requests.get(f"{url}/stats", timeout=20).status_code == 200
        assert peak() < 200


@fuzz(METHODS, PATHS, HEADERS, BODIES, CODED, st.booleans(), examples=200)
def test_fuzzed_request_is_answered(process, method, path, headers, body, coded, with_key):
    body = coded(body)
    authorization = b"Authorization: Basic d2s6\r\n" if with_key else b""
    url, _ = process
    host, _, port = url.removeprefix("http://").rpartition(":")
    with closing(socket.create_connection((host, int(port)), timeout=20)) as connection:
        connection.sendall(
            b"%b %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n%b%b\r\n%b"
            % (method, path, len(body), authorization, b"".join(headers), body)
        )
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b"")).removeprefix(INTERIM)
    assert not answer or answer.split()[1] in STATUSES, answer
