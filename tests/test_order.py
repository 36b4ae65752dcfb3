"""Calls about one user leave in the order of `order_by`, whatever else is in flight; snapshots need it."""

from __future__ import annotations

import random
import threading
import time

import pytest
from standing import Api, serving

from dbt_segconn.delivery import Delivery, Destination, DestinationConfig
from dbt_segconn.engine.calls import subject_of

VERSIONED = {
    "name": "ident",
    "action": "identify",
    "order_by": "version",
    "fields": {"user_id": "$user_id", "traits": {"version": "$version"}},
}
FAULTS = [500, "lost", "reset", (429, {"Retry-After": "0"}), 503, "late"]


class Jittery(Api):
    """Answers after a random time."""

    def take(self, raw, headers):
        time.sleep(random.random() * 0.02)
        return super().take(raw, headers)


def orders(calls):
    """Return the versions of each user in the order of their first arrival."""
    arrived = {call["messageId"]: call for call in reversed(calls)}
    found = {}
    for call in reversed(arrived.values()):
        found.setdefault(subject_of(call), []).append(call["traits"]["version"])
    return found


@pytest.fixture
def versions(shop):
    """Return a function that fills the model: users with a record for each version, in no order."""
    shop.columns = ("record_id", "user_id", "version")

    def fill(users, versions=(1, 2, 3)):
        with shop.connect() as connection:
            connection.execute(
                "create or replace table main.customers as "
                "select 'r' || u || '-' || v as record_id, 'u' || u as user_id, v as version "
                f"from range({users}) a(u), unnest({list(versions)}) b(v) order by hash(u * 9 + v)"
            )
        return users

    return fill


@pytest.fixture
def impatient(monkeypatch):
    from dbt_segconn.delivery import tracking_api

    monkeypatch.setattr(tracking_api, "BACKOFF_SECONDS", 0.001)


def deliver(api, calls, order=subject_of):
    destination = Destination(DestinationConfig("app", "wk", api.url, events_per_second=None, concurrency=12))
    with Delivery(destination, start_after=0, stop=threading.Event(), order=order) as delivery:
        for at in range(0, len(calls), 500):
            delivery.send(range(at + 1, at + 1 + len(calls[at : at + 500])), calls[at : at + 500])
        delivery.finish()
        return delivery.progress()


def test_order_survives_faults_and_splits(impatient):
    """Large calls make many batches; a refused call splits the one that it is in."""
    api = Jittery()
    api.faults = [*FAULTS, 200, *FAULTS]
    api.refuses = lambda call: call["traits"].get("bad")
    subjects = [{"type": "identify", "userId": f"u{n}"} for n in range(10)]
    subjects += [{"type": "identify", "anonymousId": f"a{n}"} for n in range(10)]
    subjects += [{"type": "group", "groupId": f"g{n}", "userId": "u1"} for n in range(10)]
    calls = [
        {**subject, "messageId": f"{at}-{version}", "traits": {"version": version, "text": "x" * 3000}}
        for version in range(60)
        for at, subject in enumerate(subjects)
    ]
    for at in (7, 400, 1111):
        calls[at]["traits"]["bad"] = True
    with serving(api) as url:
        api.url = url
        progress = deliver(api, calls)
    assert (progress.watermark, progress.settled) == (1800, 1800)
    assert (progress.confirmed, len(progress.discards)) == (1797, 3)
    assert all(versions == sorted(versions) for versions in orders(api.received).values())


def test_versions_of_a_sync_keep_order(shop, api, versions, impatient):
    users = versions(4000)
    shop.settings(concurrency=12)
    shop.manifest(VERSIONED, unique_identifier="record_id")
    api.faults = list(FAULTS)
    assert shop.segconn("run", "--all").exit_code == 0
    assert orders(api.received) == {f"u{n}": [1, 2, 3] for n in range(users)}


def test_deleted_records_precede_the_added_ones_of_their_user(shop, api, versions):
    mapping = {**VERSIONED, "sync_mode": ["added", "deleted"], "guards": {"max_deleted_percent": 100}}
    shop.settings(concurrency=12)
    shop.manifest(mapping, unique_identifier=["user_id", "version"])
    versions(50, versions=(2, 3))
    assert shop.segconn("run", "--all").exit_code == 0
    api.forget()
    versions(50, versions=(1, 3, 4))
    assert shop.segconn("run", "--all").exit_code == 0
    assert orders(api.received) == {f"u{n}": [2, 1, 4] for n in range(50)}


def test_resumed_sync_keeps_the_order(shop, api, versions, impatient):
    users = versions(3000)
    shop.settings(concurrency=12)
    shop.manifest(VERSIONED, unique_identifier="record_id")
    api.faults = [200, 200, 401]
    assert shop.segconn("run", "--all").exit_code == 1
    assert 0 < len(api.received) < 3 * users
    assert shop.segconn("run", "--all").exit_code == 0
    assert orders(api.received) == {f"u{n}": [1, 2, 3] for n in range(users)}


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("versoin", "column 'versoin' is not in main.customers. Did you mean 'version'?"),
        (["version", "extra"], "extra is of the type JSON: only timestamps, dates, numbers and texts have an order"),
        ([], "order_by"),
    ],
)
def test_unorderable_order_by_is_refused(shop, api, versions, order, words):
    versions(2)
    with shop.connect() as connection:
        connection.execute("alter table main.customers add column extra json")
    shop.manifest({**VERSIONED, "order_by": order}, unique_identifier="record_id")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert api.received == []


def test_users_with_many_records_need_order(shop, api, versions):
    users = versions(3, versions=(1, 2))
    shop.manifest({**VERSIONED, "order_by": None}, unique_identifier="record_id")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 1
    assert f"{users} values of user_id ($user_id) are shared by more than 1 record, by up to 2" in result.output
    assert "any of their calls may come last" in result.output
    assert "`order_by`" in result.output
    assert api.received == []
    shop.manifest({**VERSIONED, "order_by": None, "guards": {"max_records_per_id": 2}}, unique_identifier="record_id")
    assert shop.segconn("run", "--all").exit_code == 0


def test_an_order_given_later_gives_up_an_outbox_without(shop, api, versions, impatient):
    versions(30)
    unordered = {**VERSIONED, "order_by": None, "guards": {"max_records_per_id": 3}}
    shop.manifest(unordered, unique_identifier="record_id")
    api.faults = [401]
    assert shop.segconn("run", "--all").exit_code == 1
    shop.manifest(VERSIONED, unique_identifier="record_id")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 0, result.output
    assert "the mapping has changed" in result.output
    assert orders(api.received) == {f"u{n}": [1, 2, 3] for n in range(30)}
