"""The debugger against senders that mean no good: memory is bounded, and no request is answered with 500."""

from __future__ import annotations

import json
import socket
import stat
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests
from debugger_process import debugger_process

from dbt_segconn.errors import SegconnError
from dbt_segconn.web.debugger import running

TRACK = {"type": "track", "userId": "u1", "event": "Order Completed"}
AUTHORIZATION = "Basic d2s6"


@pytest.fixture(scope="module")
def debugger():
    with running() as one:
        yield one.url


def raw(url, headers, body=b""):
    """Send a request byte by byte as given; returns the status of the answer, 0 where there is none."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with closing(socket.create_connection((host, int(port)), timeout=10)) as connection:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + body)
        answer = connection.recv(65_536)
    return int(answer.split()[1]) if answer else 0


def post(url, body, **headers):
    headers = {"Authorization": AUTHORIZATION, **headers}
    return requests.post(f"{url}/v1/batch", data=body, headers=headers, timeout=20)


# --- Memory ---------------------------------------------------------------------------------------


def test_memory_is_bounded_whatever_arrives():
    body = json.dumps({"batch": [{**TRACK, "properties": {"x": "y" * 20_000}}] * 24})
    with debugger_process() as (url, peak):
        stream = requests.get(f"{url}/live", stream=True, timeout=20)
        for _ in range(500):
            assert post(url, body).status_code == 200
        nested = [0] * 10_000
        for _ in range(200):
            nested = [nested]
        post(url, json.dumps({"batch": [{**TRACK, "x": nested}] * 10}))
        post(url, json.dumps({"batch": [{}] * 100_000}))
        post(url, json.dumps({"batch": [{}] * 2_500, "context": {"x": "y" * 30_000}}))
        kept = requests.get(f"{url}/events?limit=99999", timeout=20).text.count("\n")
        stats = requests.get(f"{url}/stats", timeout=20).json()
        assert peak() < 200
        stream.close()
    assert stats["received"] == stats["evicted"] + kept == 12_000 + 10 + 100_000 + 2_500
    assert 500 < kept < 5_000


def test_shared_batch_fields_count_per_call(debugger):
    answer = post(debugger, json.dumps({"batch": [TRACK], "context": {"x": "y" * 40_000}}))
    assert (answer.status_code, answer.json()["message"]) == (400, "a call is larger than 32,768 bytes")


# --- Requests that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch":[{"x":' + b"[" * 400 + b"]" * 400 + b"}]}",
        b'{"batch":[{"x":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}]}",
        b"[" * 100_000,
        b'{"batch":[{"messageId":' + b"[" * 260 + b"]" * 260 + b"}]}",
        b'{"batch":[1e999]}',
        b'{"batch":["\\ud800"]}',
        b'{"batch":[\xff]}',
        b"",
        b"null",
        b'{"batch":null}',
        b'{"batch":{"a":1}}',
        b'{"batch":[[]]}',
    ],
)
def test_json_without_batch_is_bad_request(debugger, body):
    assert post(debugger, body).status_code in {400, 401}


@pytest.mark.parametrize(
    "call",
    [
        {"type": {"a": 1}, "userId": [], "event": 3, "timestamp": {}, "messageId": {"a": [1]}},
        {"type": None, "context": 3, "integrations": [], "sentAt": {}, "traits": "x"},
        {**TRACK, "timestamp": "9" * 1000, "messageId": 10**30, "writeKey": {}},
        {**TRACK, "receivedAt": None, "originalTimestamp": [], "dropped": 3},
    ],
)
def test_wrong_types_in_a_call_are_taken_or_dropped(debugger, call):
    body = {"batch": [call], "sentAt": {"a": 1}, "context": [1], "integrations": "x"}
    assert post(debugger, json.dumps(body)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Authorization: Basic \xff\xfe\r\nContent-Length: 2\r\n", 401),
        (b"Authorization: Basic ===\r\nContent-Length: 2\r\n", 401),
        (b"Authorization: Basic /////w==\r\nContent-Length: 2\r\n", 401),
        (b"Authorization: \xe4\xf6\r\nContent-Length: 2\r\n", 401),
        (b"Content-Encoding: \xff\r\nContent-Length: 2\r\n", 400),
        (b"X-Other: \xff\xfe\x80\r\nContent-Length: 2\r\n", 401),
        (b"Content-Length: -2\r\n", 400),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"\x00: \x01\r\n", 400),
        (b"A: " + b"b" * 100_000 + b"\r\n", 400),
    ],
)
def test_binary_headers_are_bad_requests(debugger, headers, status):
    assert raw(debugger, headers, b"{}") == status


def test_a_body_far_over_the_limit_is_refused_unread(debugger):
    headers = f"Authorization: {AUTHORIZATION}\r\n".encode()
    assert raw(debugger, headers + b"Content-Length: 100000000000\r\n") == 400
    with closing(socket.create_connection(debugger.removeprefix("http://").split(":"), timeout=20)) as connection:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 200_000_000:
                sent += connection.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
    assert sent < 50_000_000


# --- The log --------------------------------------------------------------------------------------


def test_log_is_readable_by_owner_only(tmp_path):
    log, old = tmp_path / "calls.jsonl", tmp_path / "old.jsonl"
    old.write_text("kept\n")
    old.chmod(0o664)
    for path in (log, old):
        with running(log=path) as one:
            post(one.url, json.dumps({"batch": [TRACK]}))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert old.read_text().startswith("kept\n")
    old.chmod(0o400)
    with running(log=old):
        assert stat.S_IMODE(old.stat().st_mode) == 0o400, "it is not widened"


def test_a_log_that_stays_open_to_others_is_refused(tmp_path, monkeypatch):
    log = tmp_path / "calls.jsonl"
    log.touch(0o644)

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(SegconnError, match="cannot be written: Operation not permitted"), running(log=log):
        pass


def test_full_disk_of_log_refuses_no_call():
    with running(log=Path("/dev/full")) as one:
        assert post(one.url, json.dumps({"batch": [TRACK] * 3})).status_code == 200
        stats = requests.get(f"{one.url}/stats", timeout=5).json()
    assert (stats["accepted"], stats["not_logged"]) == (3, 3)
