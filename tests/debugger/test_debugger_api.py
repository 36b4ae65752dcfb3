"""The debugger answers as Segment's Tracking API does, over real HTTP."""

from __future__ import annotations

import gzip
import json

import pytest
import requests

from dbt_segconn.debugger import running
from dbt_segconn.errors import SegconnError

TRACK = {"type": "track", "userId": "u1", "event": "Order Completed"}


@pytest.fixture
def debugger():
    with running() as one:
        yield one.url


def post(url, *calls, auth=("wk", ""), path="/v1/batch", **body):
    return requests.post(f"{url}{path}", json={"batch": list(calls), **body}, auth=auth, timeout=5)


def events(url, query=""):
    lines = requests.get(f"{url}/events{query}", timeout=5).text.splitlines()
    return [json.loads(line) for line in lines]


def test_takes_a_batch_and_shows_it_newest_first(debugger):
    answer = post(debugger, TRACK, {"type": "identify", "userId": "u2"})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [one["call"]["userId"] for one in events(debugger)] == ["u2", "u1"]


@pytest.mark.parametrize("kind", ["identify", "track", "group", "page", "screen"])
def test_takes_single_calls_with_the_write_key_in_the_body(debugger, kind):
    body = {"userId": "u", "event": "E", "groupId": "g", "writeKey": "secret-key"}
    assert requests.post(f"{debugger}/v1/{kind}", json=body, timeout=5).status_code == 200
    (shown,) = events(debugger)
    assert shown["call"]["type"] == kind
    assert "secret-key" not in json.dumps(shown)


def test_a_write_key_is_needed_and_must_be_known_where_some_are_named():
    with running(write_keys=["right"]) as one:
        assert requests.post(f"{one.url}/v1/batch", json={"batch": []}, timeout=5).status_code == 401
        assert post(one.url, TRACK, auth=("wrong", "")).status_code == 401
        assert post(one.url, TRACK, auth=("right", "")).status_code == 200
        assert requests.get(f"{one.url}/v1/projects/right/settings", timeout=5).json()["integrations"]
        assert requests.get(f"{one.url}/v1/projects/wrong/settings", timeout=5).status_code == 404


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"{", 400),
        (b"[]", 401),
        (b'{"batch": 3}', 400),
        (b'{"batch": [3]}', 400),
        (json.dumps({"batch": [{**TRACK, "x": "y" * 33_000}]}).encode(), 400),
        (json.dumps({"batch": [{**TRACK, "x": "y" * 10_000}] * 51}).encode(), 400),
    ],
)
def test_what_segment_refuses_as_a_whole_is_refused(debugger, data, status):
    auth = None if status == 401 else ("wk", "")
    assert requests.post(f"{debugger}/v1/batch", data=data, auth=auth, timeout=5).status_code == status
    assert events(debugger) == []


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"type": "identify"}, "neither userId nor anonymousId"),
        ({"type": "track", "userId": "u"}, "track without event"),
        ({"type": "group", "userId": "u"}, "group without groupId"),
        ({"type": "tracks", "userId": "u"}, "type is not one of"),
        ({**TRACK, "messageId": "m" * 101}, "messageId longer than 100"),
        ({**TRACK, "timestamp": "yesterday"}, "timestamp is not ISO-8601"),
    ],
)
def test_what_segment_drops_in_silence_is_dropped_with_the_reason(debugger, call, reason):
    assert post(debugger, call).status_code == 200
    (shown,) = events(debugger, "?dropped=true")
    assert reason in shown["dropped"]


def test_a_message_id_counts_once(debugger):
    post(debugger, {**TRACK, "messageId": "m"})
    post(debugger, {**TRACK, "messageId": "m"})
    assert [one["dropped"] for one in events(debugger)] == ["messageId seen before", None]


def test_too_many_calls_in_a_batch_are_all_dropped(debugger):
    assert post(debugger, *[TRACK] * 2501).status_code == 200
    stats = requests.get(f"{debugger}/stats", timeout=5).json()
    assert (stats["accepted"], stats["dropped"]) == (0, 2501)


def test_the_context_of_the_batch_is_merged_and_the_clock_of_the_sender_corrected(debugger):
    timed = {**TRACK, "timestamp": "2020-01-01T00:00:00Z", "context": {"ip": "1.1.1.1"}}
    post(debugger, timed, context={"library": {"name": "x"}}, sentAt="2020-01-01T00:01:00Z")
    (shown,) = events(debugger)
    call = shown["call"]
    assert call["context"] == {"library": {"name": "x"}, "ip": "1.1.1.1"}
    assert call["originalTimestamp"] == "2020-01-01T00:00:00Z"
    assert call["timestamp"][:4] == call["receivedAt"][:4] != "2020"


def test_gzip_is_unpacked_and_bombs_are_not(debugger):
    def packed(data):
        headers = {"Content-Encoding": "gzip"}
        return requests.post(f"{debugger}/v1/batch", data=data, headers=headers, auth=("wk", ""), timeout=5)

    assert packed(gzip.compress(json.dumps({"batch": [TRACK]}).encode())).status_code == 200
    assert packed(b"no gzip").status_code == 400
    assert packed(gzip.compress(b" " * 50_000_000)).status_code == 400


def test_filters_clear_and_log(tmp_path):
    log = tmp_path / "calls.jsonl"
    with running(log=log) as one:
        post(one.url, TRACK, {"type": "page", "userId": "ada"}, {"type": "page"})
        assert len(events(one.url, "?type=page")) == 2
        assert len(events(one.url, "?q=ADA")) == 1
        assert len(events(one.url, "?limit=1")) == 1
        requests.delete(f"{one.url}/events", timeout=5)
        assert events(one.url) == []
    assert [json.loads(line)["type"] for line in log.read_text().splitlines()] == ["track", "page"]


def test_live_calls_come_as_server_sent_events(debugger):
    post(debugger, TRACK)
    with requests.get(f"{debugger}/live", stream=True, timeout=5) as stream:
        line = next(line for line in stream.iter_lines() if line.startswith(b"data: "))
    told = json.loads(line[6:])
    assert told["stats"]["accepted"] == 1
    assert told["calls"][0]["call"]["event"] == "Order Completed"


@pytest.mark.parametrize("headers", [{"Host": "evil.example.com"}, {"Origin": "https://evil.example.com"}])
def test_pages_of_the_web_are_not_answered(debugger, headers):
    assert requests.get(f"{debugger}/events", headers=headers, timeout=5).status_code == 403


def test_the_page_may_load_nothing_from_elsewhere(debugger):
    page = requests.get(debugger, timeout=5)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "http" not in page.text


def test_a_port_that_is_taken_and_a_log_that_cannot_be_written_are_said(debugger, tmp_path):
    port = int(debugger.rsplit(":", 1)[1])
    with pytest.raises(SegconnError, match=f"port {port} is taken"), running(port):
        pass
    with pytest.raises(SegconnError, match="cannot be written"), running(log=tmp_path):
        pass


def test_the_command_takes_write_keys_from_the_environment_not_from_its_arguments(monkeypatch):
    from click.testing import CliRunner

    from dbt_segconn.cli import main

    monkeypatch.delenv("DEBUGGER_KEY", raising=False)
    result = CliRunner().invoke(main, ["debugger", "--port", "0", "--write-key-env", "DEBUGGER_KEY"])
    assert result.exit_code == 2
    assert "the environment variable DEBUGGER_KEY is not set" in result.output
    assert "--write-key " not in CliRunner().invoke(main, ["debugger", "--help"]).output
