"""Fixtures: calls, destinations without a rate, and a clock that only sleeping moves."""

from __future__ import annotations

import threading

import pytest
from standing import WRITE_KEY

from dbt_segconn.delivery import Delivery, Destination, DestinationConfig


@pytest.fixture
def call():
    def make(number, **more):
        return {"type": "identify", "userId": f"u{number}", "messageId": f"m-{number}", "traits": {"n": number}, **more}

    return make


@pytest.fixture
def deliver(call):
    """Deliver this number of calls, numbered from 1, to a URL. Return the final progress."""

    def run(url, count=1, *, write_key=WRITE_KEY, **config):
        given = {"events_per_second": None, "concurrency": 2, **config}
        destination = Destination(DestinationConfig("app", write_key, url, **given), jitter=lambda low, _: low)
        with Delivery(destination, start_after=0, stop=threading.Event()) as delivery:
            numbers = range(1, count + 1)
            delivery.send(numbers, [call(n) for n in numbers])
            delivery.finish()
            return delivery.progress()

    return run


class SimulatedStop(threading.Event):
    """Sleeping on it moves the clock instead of taking time."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def clock(self):
        return self.now

    def wait(self, timeout=None):
        self.now += timeout or 0.0
        return self.is_set()


@pytest.fixture
def simulated():
    return SimulatedStop()
