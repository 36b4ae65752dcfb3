"""The debugger answers as Segment's Tracking API does, over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import subprocess
import sys

import pytest
import requests

from dbt_segconn.errors import SegconnError
from dbt_segconn.web.debugger import create_app, running
from dbt_segconn.web.debugger.store import SeenIds

TRACK = {"type": "track", "userId": "u1", "event": "Order Completed"}


@pytest.fixture(scope="module")
def shared():
    with running() as one:
        yield one.url


@pytest.fixture
def debugger(shared):
    requests.delete(f"{shared}/events", timeout=5)
    return shared


def post(url, *calls, auth=("wk", ""), path="/v1/batch", **body):
    return requests.post(f"{url}{path}", json={"batch": list(calls), **body}, auth=auth, timeout=5)


def events(url, query=""):
    lines = requests.get(f"{url}/events{query}", timeout=5).text.splitlines()
    return [json.loads(line) for line in lines]


def test_batch_is_shown_newest_first(debugger):
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
        (b'{"batch": []}' + b" " * 3_000_000, 400),
    ],
)
def test_what_segment_refuses_as_a_whole_is_refused(debugger, data, status):
    auth = None if status == 401 else ("wk", "")
    assert requests.post(f"{debugger}/v1/batch", data=data, auth=auth, timeout=5).status_code == status
    assert events(debugger) == []


def test_a_single_call_that_is_too_large_is_refused(debugger):
    body = {**TRACK, "x": "y" * 33_000}
    answer = requests.post(f"{debugger}/v1/track", json=body, auth=("wk", ""), timeout=5)
    assert (answer.status_code, answer.json()["message"]) == (400, "a call is larger than 32,768 bytes")


def test_the_write_key_may_stand_in_the_body_beside_other_authorization(debugger):
    for auth in (("", ""), None):
        assert post(debugger, TRACK, auth=auth, writeKey="wk").status_code == 200


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"type": "identify"}, "neither userId nor anonymousId"),
        ({"type": "track", "userId": "u"}, "track without event"),
        ({"type": "group", "userId": "u"}, "group without groupId"),
        ({"type": "tracks", "userId": "u"}, "type must be one of"),
        ({**TRACK, "messageId": "m" * 101}, "messageId longer than 100"),
        ({**TRACK, "timestamp": "yesterday"}, "timestamp is not ISO-8601"),
        ({**TRACK, "timestamp": "2026-13-01T00:00:00Z"}, "timestamp is not ISO-8601"),
        ({**TRACK, "timestamp": 1_700_000_000}, "timestamp is not ISO-8601"),
    ],
)
def test_what_segment_drops_in_silence_is_dropped_with_the_reason(debugger, call, reason):
    assert post(debugger, call).status_code == 200
    (shown,) = events(debugger, "?dropped=true")
    assert reason in shown["dropped"]


@pytest.mark.parametrize(
    ("timestamp", "read"),
    [
        ("2026-01-02", "2026-01-02T00:00:00.000Z"),
        ("2026-01-02T03:04", "2026-01-02T03:04:00.000Z"),
        ("2026-01-02T03:04:05.6789Z", "2026-01-02T03:04:05.678Z"),
        ("2026-01-02T03:04:05+0130", "2026-01-02T01:34:05.000Z"),
        ("2026-01-02T03:04:05-08", "2026-01-02T11:04:05.000Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_every_form_of_iso_8601_is_taken_and_given_in_utc(debugger, timestamp, read):
    assert post(debugger, {**TRACK, "timestamp": timestamp}).status_code == 200
    (shown,) = events(debugger, "?dropped=false")
    assert (shown["call"]["timestamp"], shown["call"]["originalTimestamp"]) == (read, timestamp)


def test_times_that_no_calendar_holds_once_corrected_stay_as_sent(debugger):
    post(debugger, {**TRACK, "timestamp": "9999-12-31T00:00:00Z"}, sentAt="0001-01-01T00:00:00Z")
    assert events(debugger)[0]["call"]["timestamp"] == "9999-12-31T00:00:00Z"


def test_types_that_senders_invent_are_counted_together(debugger):
    post(debugger, *({"type": f"type {n}", "userId": "u"} for n in range(3)), {"type": ["list"], "userId": "u"})
    assert requests.get(f"{debugger}/stats", timeout=5).json()["by_type"] == {"unknown": 4}


def test_message_ids_are_forgotten_in_turns_so_that_memory_is_bounded():
    seen = SeenIds(known=2)
    assert [seen.add(one) for one in "abab"] == [True, True, False, False]
    assert [seen.add(one) for one in "cdab"] == [True, True, True, True]


def test_a_message_id_counts_once(debugger):
    post(debugger, {**TRACK, "messageId": "m"})
    post(debugger, {**TRACK, "messageId": "m"})
    assert [one["dropped"] for one in events(debugger)] == ["messageId seen before", None]


def test_oversized_batch_is_dropped(debugger):
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
    assert packed(gzip.compress(json.dumps({"batch": [TRACK]}).encode())[:-12]).status_code == 400
    assert packed(gzip.compress(b'{"batch":[]}') + b"more").status_code == 400
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


def test_the_log_holds_dropped_calls_with_their_reason_where_asked(tmp_path):
    log = tmp_path / "calls.jsonl"
    with running(log=log, log_dropped=True) as one:
        post(one.url, TRACK, {"type": "page"})
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["type"], line.get("dropped")) for line in lines] == [
        ("track", None),
        ("page", "neither userId nor anonymousId"),
    ]
    assert all(line["receivedAt"] for line in lines)


def test_it_can_be_stopped_before_its_block_ends_even_while_a_page_listens():
    with running() as one, requests.get(f"{one.url}/live", stream=True, timeout=5):
        one.stop()
        one.stop()
        with pytest.raises(requests.ConnectionError):
            requests.get(one.url, timeout=5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_in_silence(number):
    code = "from dbt_segconn.web.debugger import serve; serve(port=0, on_ready=lambda url: print(url, flush=True))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        url = process.stdout.readline().decode().strip()
        assert post(url, TRACK).status_code == 200
        process.send_signal(number)
        assert process.communicate(timeout=10) == (b"", b"")
    assert process.returncode == 0


def test_without_its_extra_it_says_how_to_install_it():
    code = "import sys; sys.modules['starlette'] = None; import dbt_segconn.web.debugger"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert "ConfigurationError: The debugger needs starlette" in ended.stderr
    assert "pip install 'dbt-segconn[debugger]'" in ended.stderr


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        ([], "LOCALHOST:8123", 200),
        ([], "[::1]:8123", 200),
        ([], "192.168.1.7:8123", 403),
        ([], "evil.example.com:8123", 403),
        (["0.0.0.0"], "192.168.1.7:8123", 200),
        (["0.0.0.0"], "evil.example.com", 403),
        (["box.lan"], "box.lan", 200),
    ],
)
def test_only_names_of_this_machine_and_those_given_are_answered(hosts, host, status):
    assert asyncio.run(status_for(create_app(hosts=hosts), host)) == status


async def status_for(app, host):
    sent = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/stats",
        "query_string": b"",
        "headers": [(b"host", host.encode())],
    }
    await app(scope, receive, send)
    return sent[0]["status"]


def test_live_calls_are_sent_as_events(debugger):
    post(debugger, TRACK)
    told = told_live(debugger)
    assert told["stats"]["accepted"] == 1
    assert json.loads(told["calls"][0]["text"])["event"] == "Order Completed"


def test_live_calls_are_filtered_by_the_server_and_those_left_out_are_counted(debugger):
    post(debugger, *[TRACK] * 250, {"type": "page", "userId": "ada"})
    assert [json.loads(one["text"])["userId"] for one in told_live(debugger, "?type=page")["calls"]] == ["ada"]
    everything = told_live(debugger)
    assert (len(everything["calls"]), everything["skipped"]) == (200, 51)


def told_live(url, query=""):
    with requests.get(f"{url}/live{query}", stream=True, timeout=5) as stream:
        return json.loads(next(line for line in stream.iter_lines() if line.startswith(b"data: "))[6:])


@pytest.mark.parametrize("headers", [{"Host": "evil.example.com"}, {"Origin": "https://evil.example.com"}])
def test_pages_of_the_web_are_not_answered(debugger, headers):
    assert requests.get(f"{debugger}/events", headers=headers, timeout=5).status_code == 403


def test_page_loads_nothing_from_elsewhere(debugger):
    page = requests.get(debugger, timeout=5)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "http" not in page.text


def test_a_port_that_is_taken_and_a_log_that_cannot_be_written_are_said(debugger, tmp_path):
    port = int(debugger.rsplit(":", 1)[1])
    with pytest.raises(SegconnError, match=f"port {port} is taken"), running(port):
        pass
    with pytest.raises(SegconnError, match="cannot be written"), running(log=tmp_path):
        pass


def test_the_command_takes_write_keys_from_the_environment_not_from_its_arguments(monkeypatch):
    from click.testing import CliRunner

    from dbt_segconn.commands import main

    monkeypatch.delenv("DEBUGGER_KEY", raising=False)
    result = CliRunner().invoke(main, ["debugger", "--port", "0", "--write-key-env", "DEBUGGER_KEY"])
    assert result.exit_code == 2
    assert "the environment variable DEBUGGER_KEY is not set" in result.output
    assert "--write-key " not in CliRunner().invoke(main, ["debugger", "--help"]).output
