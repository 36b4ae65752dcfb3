"""Delivery, by what the Tracking API sees of it; the sync resumes what a fault has left."""

from __future__ import annotations

import threading

import pytest
from standing import ADA, BOB, MAPPING, WRITE_KEY

from dbt_segconn.delivery import Canceled, Delivery, Destination, DestinationConfig
from dbt_segconn.delivery.answers import Confirmed, Rejected, Throttled, Unknown, Unusable, classify
from dbt_segconn.delivery.destination import RateLimiter
from dbt_segconn.errors import DeliveryError


def call(number, **more):
    return {
        "type": "identify",
        "userId": f"u{number}",
        "messageId": f"m-{number}",
        "traits": {"n": number},
        **more,
    }


def destination(api, **target):
    given = {"events_per_second": None, "concurrency": 2, **target}
    return Destination(DestinationConfig("app", WRITE_KEY, api.url, **given), jitter=lambda low, _: low)


def deliver(api, calls, *, stop=None, **target):
    """Deliver calls numbered from 1, and return the progress at the end."""
    with Delivery(destination(api, **target), start_after=0, stop=stop or threading.Event()) as delivery:
        delivery.send(list(range(1, len(calls) + 1)), calls)
        delivery.finish()
        return delivery.progress()


def test_every_call_is_confirmed_and_the_watermark_reaches_the_last(api):
    progress = deliver(api, [call(n) for n in range(1, 5001)])
    assert (progress.watermark, progress.settled, progress.confirmed) == (5000, 5000, 5000)
    assert len(api.accepted) == 5000


def test_batches_keep_segments_limits(api):
    deliver(api, [call(n, traits={"text": "x" * 3000}) for n in range(400)] + [call(n) for n in range(400, 9000)])
    assert max(api.sizes) <= 475_000
    assert max(len(body["batch"]) for body in api.bodies) <= 2500
    assert len(api.accepted) == 9000


def test_sent_at_is_fresh_and_the_bytes_are_the_same_on_a_retry(api):
    api.faults = [503]
    deliver(api, [call(1)])
    assert len(api.sizes) == 2
    assert api.sizes[0] == api.sizes[1]
    assert api.headers[0]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "faults",
    [
        [500],
        [408],
        [429],
        [(429, {"Retry-After": "0"})],
        [(429, {"X-RateLimit-Reset": "0"})],
        ["reset"],
        ["lost"],
    ],
)
def test_a_passing_fault_loses_nothing_and_doubles_nothing(api, faults):
    api.faults = faults
    deliver(api, [call(n) for n in range(100)])
    assert len(api.accepted) == 100


def test_splitting_finds_one_bad_record(api):
    api.refuses = lambda one: one["userId"] == "u37"
    progress = deliver(api, [call(n) for n in range(100)])
    assert [one.change_number for one in progress.discards] == [38]
    assert "HTTP status 400" in progress.discards[0].reason
    assert progress.confirmed == 99
    assert progress.watermark == 100


def test_a_destination_that_refuses_everything_is_lost_before_all_records_are_discarded(api):
    api.refuses = lambda _: True
    with pytest.raises(DeliveryError, match="20 calls in a row were rejected"):
        deliver(api, [call(n) for n in range(1000)])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the write key was rejected"),
        (403, "the write key was rejected"),
        (404, "check `endpoint` and `region`"),
        (302, "HTTP status 302"),
    ],
)
def test_permanent_error_is_not_retried(api, status, words):
    api.faults = [status] * 100
    with pytest.raises(DeliveryError, match=words) as caught:
        deliver(api, [call(n) for n in range(10)])
    assert len(api.sizes) == 1
    assert WRITE_KEY not in str(caught.value)


def test_out_of_attempts_the_rest_stays_for_the_next_run(api):
    api.faults = [500] * 100
    with pytest.raises(DeliveryError, match="stay in the outbox"):
        deliver(api, [call(1)])
    assert len(api.sizes) == 10


def test_nobody_at_the_address_is_told_after_a_few_attempts(api):
    gone = destination(api)
    object.__setattr__(
        gone, "config", DestinationConfig("app", WRITE_KEY, "http://127.0.0.1:9", events_per_second=None)
    )
    heard = []
    with Delivery(gone, start_after=0, stop=threading.Event(), notify=heard.append) as delivery:
        delivery.send([1], [call(1)])
        with pytest.raises(DeliveryError, match="connection refused, 5 times"):
            delivery.finish()
    assert "retrying in" in heard[0]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"userId": ""}, "neither userId nor anonymousId"),
        ({"type": "track"}, "has no event"),
        ({"type": "group"}, "has no groupId"),
        ({"messageId": "m" * 101}, "longer than 100"),
        ({"timestamp": "yesterday"}, "ISO-8601"),
        ({"timestamp": "2026-01-02T03:04:05"}, "time zone"),
        ({"traits": {"text": "x" * 33_000}}, "larger than Segment's limit of 32,000 bytes"),
        ({"traits": {"text": "\ud800"}}, "not valid UTF-8"),
        ({"traits": {str(n): n for n in range(10_001)}}, "more than 10,000"),
        ({"traits": {"n": 2**64, "x": float("nan")}}, "no JSON form"),
    ],
)
def test_what_segment_would_drop_in_silence_is_refused_with_the_reason(api, wrong, reason):
    progress = deliver(api, [call(1), call(2, **wrong), call(3)])
    assert [one.change_number for one in progress.discards] == [2]
    assert reason in progress.discards[0].reason
    assert set(api.accepted) == {"m-1", "m-3"}
    assert (progress.watermark, progress.settled) == (3, 3)


def test_huge_integers_keep_their_value(api):
    deliver(api, [call(1, traits={"n": 2**100})])
    assert api.accepted["m-1"]["traits"]["n"] == 2**100


def test_gzip_when_asked(api):
    deliver(api, [call(1)], gzip=True)
    assert api.headers[0]["Content-Encoding"] == "gzip"
    assert set(api.accepted) == {"m-1"}


def test_stop_finishes_what_is_in_flight_and_starts_nothing_more(api):
    stop = threading.Event()
    api.delay = 0.2
    with Delivery(destination(api, concurrency=1), start_after=0, stop=stop) as delivery:
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Canceled):  # noqa: PT012  whichever of the many calls meets it
            for start in range(0, 100_000, 1000):
                numbers = list(range(start + 1, start + 1001))
                delivery.send(numbers, [call(n) for n in numbers])
    progress = delivery.progress()
    assert 0 < progress.watermark == len(api.accepted)


def test_no_thread_outlives_a_delivery(api):
    deliver(api, [call(n) for n in range(10)])
    assert not [thread for thread in threading.enumerate() if thread.name == "segconn-sender"]


def test_the_rate_holds_and_a_throttle_slows_it_down():
    now = [100.0]
    limiter = RateLimiter(1000, lambda: now[0])
    waits = []
    for _ in range(10):
        waits.append(limiter.reserve(500))
        now[0] += waits[-1]
    assert now[0] - 100 == pytest.approx((10 - 1) * 0.5 - 1, abs=0.01)
    limiter.throttle(3)
    assert limiter.reserve(500) == pytest.approx(3.0, abs=0.6)
    now[0] += 10
    limiter.reserve(500)
    assert limiter.reserve(1000) == pytest.approx(0.0, abs=0.01)
    assert limiter.reserve(1) == pytest.approx(2.0, abs=0.01), "at half speed"
    assert RateLimiter(None, lambda: 0.0).reserve(10**9) == 0


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [
        (200, {}, Confirmed()),
        (204, {}, Confirmed()),
        (400, {}, Rejected("Segment rejected the call with HTTP status 400")),
        (429, {"Retry-After": "7"}, Throttled(7.0)),
        (429, {"X-RateLimit-Reset": "2"}, Throttled(2.0)),
        (429, {"Retry-After": "soon"}, Throttled(None)),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, Throttled(0.0)),
        (460, {}, Unknown("HTTP status 460")),
        (501, {}, Unusable("unexpected HTTP status 501; check `endpoint` and `region` in segconn.yml")),
    ],
)
def test_answers_are_classified_as_segments_sdks_do(status, headers, answer):
    assert classify(status, headers) == answer


# --- The sync around it ---------------------------------------------------------------------------


def test_after_an_outage_the_next_run_goes_on_with_the_same_message_ids(shop, api):
    api.faults = ["lost", 401]
    shop.manifest(MAPPING)
    result = shop.resync(ADA, BOB)
    assert result.exit_code == 1
    assert "the write key was rejected" in result.output
    before = set(api.accepted)
    again = shop.segconn("run", "--all")
    assert again.exit_code == 0, again.output
    assert "resuming the sync of" in again.output
    assert set(api.accepted) == before
    assert len(before) == 2
    assert "RESUMED 2" in again.output
    told = again.artifact(shop.dir)["results"][0]
    assert told["counts"]["resumed_by_this_run"] == told["resumed_sync"]["counts"]["resumed"] == 2


def test_a_mapping_that_was_edited_meanwhile_is_sent_in_its_new_form(shop, api):
    api.faults = [401]
    shop.manifest(MAPPING)
    shop.resync(ADA)
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"mail": "$email"}}})
    result = shop.resync(ADA)
    assert "the mapping has changed" in result.output
    assert [one["traits"] for one in api.received] == [{"mail": "ada@example.com"}]


def test_changed_columns_are_announced_before_everything_is_sent_again(shop):
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"mail": "$email"}}})
    assert "2 known records are sent again" in shop.resync(ADA, BOB).output
