"""What a hostile network, API or setting does to a delivery: nothing is lost, nothing hammers, nothing hangs."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import contextmanager

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standing import ADA, BOB, MAPPING, WRITE_KEY

from dbt_segconn.delivery import Canceled, Delivery, Destination, DestinationConfig, connection, tracking_api
from dbt_segconn.delivery.answers import Confirmed, Throttled, Unknown, Unusable, classify, classify_error
from dbt_segconn.delivery.batches import Batch, Batcher
from dbt_segconn.delivery.connection import NoResponseError
from dbt_segconn.delivery.destination import RateLimiter
from dbt_segconn.delivery.sender import Watermark
from dbt_segconn.delivery.tracking_api import PATIENCE_SECONDS, Retrier, TrackingApiClient
from dbt_segconn.errors import DeliveryError

# --- Nothing is settled that was not answered -----------------------------------------------------


@pytest.mark.timeout(20)
@pytest.mark.parametrize("count", [1, 60_000])
@pytest.mark.parametrize(
    ("url", "key"), [("http://[bad", WRITE_KEY), ("http://127.0.0.1:9", "secret-\udcff")], ids=["endpoint", "write key"]
)
def test_a_sender_that_cannot_even_begin_ends_the_delivery(deliver, url, key, count):
    with pytest.raises(DeliveryError, match="is not valid") as caught:
        deliver(url, count, write_key=key)
    assert "secret" not in str(caught.value)


@pytest.mark.timeout(20)
def test_an_unexpected_exception_of_a_sender_surfaces(deliver, api, monkeypatch):
    monkeypatch.setattr(TrackingApiClient, "post", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        deliver(api.url, 60_000)


def test_a_delivery_closes_its_connections(shop, api):
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    port = int(api.url.rpartition(":")[2])
    assert api.received
    assert [one for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr.port == port] == []


def test_an_invalid_endpoint_leaves_every_record_for_the_next_run(shop, api):
    settings = shop.dir / "segconn.yml"
    good = settings.read_text()
    settings.write_text(good.replace(api.url, "http://[bad"))
    shop.manifest(MAPPING)
    assert shop.resync(ADA, BOB).exit_code != 0
    settings.write_text(good)
    assert shop.segconn("run", "--all").exit_code == 0
    assert len(api.accepted) == 2


def test_a_batch_without_an_answer_is_never_taken_for_done(api, call, monkeypatch):
    monkeypatch.setattr(Delivery, "_work", lambda _self, lane: lane.queue.get())
    destination = Destination(DestinationConfig("app", WRITE_KEY, api.url, events_per_second=None))
    with Delivery(destination, start_after=0, stop=threading.Event()) as delivery:
        delivery.send([1], [call(1)])
        with pytest.raises(DeliveryError, match="without an answer"):
            delivery.finish()


# --- One record never stops the others, and memory does not grow ----------------------------------


def test_a_record_nested_too_deeply_is_refused_alone(call):
    nested = {}
    for _ in range(300):
        nested = {"a": nested}
    discarded = []
    batcher = Batcher(lambda *one: discarded.append(one))
    batches = [*batcher.add([1, 2], [call(1), call(2, traits=nested)]), *batcher.flush()]
    assert [chunk.last for batch in batches for chunk in batch.calls()] == [1]
    assert discarded == [(2, "a value in the call has no JSON form or is nested too deeply")]


def test_the_watermark_moves_where_nearly_every_record_is_refused(api, call):
    destination = Destination(DestinationConfig("app", WRITE_KEY, api.url, events_per_second=None))
    with Delivery(destination, start_after=0, stop=threading.Event()) as delivery:
        delivery.send([1], [call(1)])
        for start in range(2, 20_002, 1000):
            numbers = range(start, start + 1000)
            delivery.send(numbers, [call(n, userId="") for n in numbers])
            assert not delivery._tracker._without_call
        deadline = time.monotonic() + 10
        while delivery.progress().watermark < 15_000:
            assert time.monotonic() < deadline
        delivery.finish()
        progress = delivery.progress()
    assert (progress.watermark, progress.settled, progress.confirmed) == (20_001, 20_001, 1)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), max_size=12), st.data())
def test_watermark_stays_below_open_changes(steps, data):
    """Changes of an interval are done by several batches, in any order."""
    watermark, last, intervals = Watermark(7), 7, []
    for gaps in steps:
        numbers = [last := last + gap for gap in gaps]
        watermark.open(last, len(numbers))
        intervals.append(numbers)
    open_numbers = {number for numbers in intervals for number in numbers}
    while open_numbers:
        batch = data.draw(st.sets(st.sampled_from(sorted(open_numbers)), min_size=1))
        open_numbers -= batch
        watermark.done(sorted(batch))
        lowest = min(open_numbers, default=last + 1)
        passed = [numbers for numbers in intervals if numbers[-1] < lowest]
        assert (watermark.value, watermark.settled) == (passed[-1][-1] if passed else 7, sum(map(len, passed)))
    assert not watermark.is_waiting()


# --- 429: obeyed by all senders, slower once for each pause, with an end --------------------------


class Scripted:
    """Answers as `answer` says, on a simulated clock."""

    def __init__(self, clock, answer):
        self.clock = clock
        self.answer = answer
        self.at = []

    def post(self, _body, *_):
        self.at.append(self.clock())
        return self.answer


@pytest.mark.parametrize("rate", [None, 1000])
@pytest.mark.parametrize("seconds", [None, 0.0, 1.0])
def test_an_api_that_throttles_for_ever_is_neither_hammered_nor_waited_for_for_ever(simulated, call, rate, seconds):
    api = Scripted(simulated.clock, Throttled(seconds))
    config = DestinationConfig("app", WRITE_KEY, "http://127.0.0.1:9", events_per_second=rate)
    destination = Destination(config, clock=simulated.clock, jitter=lambda low, high: (low + high) / 2)
    batch = Batch(count=2500)
    with pytest.raises(DeliveryError, match=r"HTTP status 429.*15 minutes"):
        Retrier(api, destination, simulated, lambda _: None).send(batch)
    assert len(api.at) < 50
    assert simulated.now <= PATIENCE_SECONDS + 120


def test_a_pause_holds_for_senders_that_already_had_their_moment(api, call):
    sent_at, take = [], api.take

    def spy(raw, headers):
        sent_at.append(time.monotonic())
        if len(sent_at) == 2:
            api.faults = [(429, {"Retry-After": "1"})]
        return take(raw, headers)

    api.take = spy
    destination = Destination(DestinationConfig("app", WRITE_KEY, api.url, events_per_second=10_000))
    numbers = range(1, 20_001)
    with Delivery(destination, start_after=0, stop=threading.Event()) as delivery:
        delivery.send(numbers, [call(n, traits={}) for n in numbers])
        delivery.finish()
    # what was on the wire when the 429 was read may still arrive
    assert [at for at in sent_at if 0.2 < at - sent_at[1] < 0.95] == []
    assert len(api.accepted) == 20_000


def test_429s_of_one_pause_slow_down_once():
    now = [0.0]
    limiter = RateLimiter(1000, lambda: now[0])
    for _ in range(8):
        limiter.throttle(5)
    assert limiter.is_paused()
    now[0] = 20
    limiter.reserve(500)
    assert limiter.reserve(500) == pytest.approx(0.0)
    assert limiter.reserve(1) == pytest.approx(1.0), "two batches of a second each, at half speed"


@pytest.mark.parametrize("date", ["Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 -0000"])
def test_retry_after_date_needs_no_zone(date):
    assert classify(429, {"Retry-After": date}) == Throttled(0.0)


# --- Sleeping ends when it has lost its sense -----------------------------------------------------


def test_the_loss_of_a_destination_wakes_senders_that_are_waiting(api, call):
    api.faults = [(429, {"Retry-After": "60"})]
    destination = Destination(DestinationConfig("app", WRITE_KEY, api.url, events_per_second=None))
    with Delivery(destination, start_after=0, stop=threading.Event()) as delivery:
        delivery.send([1], [call(1)])
        threading.Timer(0.3, destination.fail, ["it rejected the write key"]).start()
        started = time.monotonic()
        with pytest.raises(DeliveryError, match="rejected the write key"):
            delivery.finish()
    assert time.monotonic() - started < 5


def test_a_stop_ends_a_backoff_at_once_and_the_splitting_of_a_batch(api, call):
    stop = threading.Event()
    api.refuses = lambda _: stop.set() or True
    destination = Destination(DestinationConfig("app", WRITE_KEY, api.url, events_per_second=None))
    with Delivery(destination, start_after=0, stop=stop) as delivery:
        delivery.send([1, 2], [call(1), call(2)])
        with pytest.raises(Canceled):
            delivery.finish()
    assert len(api.sizes) == 1
    assert delivery.progress().watermark == 0


# --- What no answer means -------------------------------------------------------------------------


@contextmanager
def hanging_up():
    """Accept connections and hang up on the first bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_tls_handshake_that_breaks_is_tried_again(call):
    with hanging_up() as port:
        api = TrackingApiClient(DestinationConfig("app", WRITE_KEY, f"https://127.0.0.1:{port}"))
        answer = api.post(b"{}")
        api.close()
    assert answer == Unknown("the connection broke", reached=False)


def test_unreadable_certificate_is_reported(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    api = TrackingApiClient(DestinationConfig("app", WRITE_KEY, "https://127.0.0.1:9"))
    answer = api.post(b"{}")
    api.close()
    assert isinstance(answer, Unusable)
    assert "REQUESTS_CA_BUNDLE" in answer.reason


def test_a_redirect_is_not_followed(api):
    api.faults = [(302, {"Location": api.url + "/elsewhere"})]
    client = TrackingApiClient(DestinationConfig("app", WRITE_KEY, api.url))
    assert isinstance(client.post(b'{"batch":[]}'), Unusable)
    client.close()
    assert len(api.sizes) == 1


def test_an_error_of_the_operating_system_alone_says_nothing_of_payloads():
    assert WRITE_KEY not in classify_error(NoResponseError(OSError(WRITE_KEY))).reason


# --- On the wire, and in nobody's log -------------------------------------------------------------


def test_every_attempt_has_its_own_sent_at_and_the_same_events(api, deliver):
    raws, take = [], api.take
    api.take = lambda raw, headers: raws.append(raw) or take(raw, headers)
    api.faults = [503, "lost", 503]
    ticks = iter(range(4))

    def slower(raw, headers, before=api.take):
        time.sleep(0.002 * (next(ticks) >= 0))
        return before(raw, headers)

    api.take = slower
    deliver(api.url, 3)
    bodies = [json.loads(raw) for raw in raws]
    assert len({body.pop("sentAt") for body in bodies}) == len(bodies) == 4
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["context"]["library"]["name"] == "dbt-segconn"


def test_write_key_and_payload_reach_no_log_no_error_and_no_repr(api, call, caplog):
    caplog.set_level(logging.DEBUG)
    api.faults = [503, (429, {"Retry-After": "0"})]
    api.refuses = lambda _: True
    heard = []
    config = DestinationConfig("app", WRITE_KEY, api.url, events_per_second=None)
    destination = Destination(config, jitter=lambda low, _: low)
    calls = [call(n, traits={"email": "ada@example.com"}) for n in range(1, 101)]
    with Delivery(destination, start_after=0, stop=threading.Event(), notify=heard.append) as delivery:
        delivery.send(range(1, 101), calls)
        with pytest.raises(DeliveryError) as caught:
            delivery.finish()
    (batch,) = [*(batcher := Batcher(delivery.discard)).add([1], calls[:1]), *batcher.flush()]
    shown = [str(caught.value), repr(caught.value), caplog.text, repr(config), repr(destination), repr(delivery)]
    text = "".join([*shown, repr(batch), repr(delivery.progress()), *heard])
    assert WRITE_KEY not in text
    assert "ada@example.com" not in text


def test_proxies_of_the_environment_are_used_and_no_netrc(api, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine segment.invalid login x password y")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", api.url)
    monkeypatch.setenv("no_proxy", "")
    client = TrackingApiClient(DestinationConfig("app", WRITE_KEY, "http://segment.invalid"))
    assert client.post(b'{"batch":[]}') == Confirmed()
    client.close()
    assert "eDp5" not in api.headers[0]["Authorization"]


@pytest.mark.timeout(60)
def test_address_that_hangs_gets_five_attempts(deliver, monkeypatch):
    monkeypatch.setattr(connection, "TIMEOUT", (0.1, 5.0))
    monkeypatch.setattr(tracking_api, "BACKOFF_SECONDS", 0.001)
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for waiting in (first, second):  # the queue of connections is full: the next one is not answered
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        with pytest.raises(DeliveryError, match="no answer in time, 5 times"):
            deliver(f"http://127.0.0.1:{server.getsockname()[1]}", 1)
