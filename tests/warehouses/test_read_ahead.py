"""The pages of a large outbox are read ahead, in sessions of their own."""

from __future__ import annotations

import re
import threading

import pytest
from standing import MAPPING

from dbt_segconn.engine import ranges
from dbt_segconn.errors import WarehouseError
from dbt_segconn.state.outbox import MappingTables

SOME = 1_500
VERSIONS = {**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"version": "$version"}}}
ORDERED = {**VERSIONS, "order_by": "version"}
WRITTEN = {**VERSIONS, "guards": {"max_records_per_id": 100}}


@pytest.fixture
def readers(monkeypatch):
    """The names of the threads that have read pages."""
    names = set()
    monkeypatch.setattr(ranges, "READ_AHEAD", 100)
    monkeypatch.setattr(ranges, "WRITTEN_PAGE", 200)
    monkeypatch.setattr(ranges, "PAGE", 200)
    monkeypatch.setattr(ranges, "SMALLEST_PAGE", 200)
    for method in ("read", "read_calls"):
        real = getattr(MappingTables, method)

        def read(tables, *arguments, _real=real):
            names.add(threading.current_thread().name)
            return _real(tables, *arguments)

        monkeypatch.setattr(MappingTables, method, read)
    return names


def fill(shop):
    shop.make(
        "record_id varchar(20), customer_id varchar(20), version integer",
        *(f"'r{number}', 'c{number % 100}', {number}" for number in range(SOME)),
    )


@pytest.mark.parametrize("mapping", [ORDERED, WRITTEN], ids=["in order", "written"])
def test_each_call_is_sent_once(shop, api, readers, mapping):
    fill(shop)
    shop.manifest(mapping, unique_identifier="record_id")
    result = shop.run()
    assert result.exit_code == 0, result.output
    assert "segconn-reader" in readers
    assert len(api.received) == len(api.accepted) == shop.counts()["confirmed"] == SOME
    if mapping is ORDERED:
        assert all(arrived == sorted(arrived) for arrived in api.arrived("version").values())
    assert not [thread for thread in threading.enumerate() if thread.name == "segconn-reader"]


def test_a_delivery_that_fails_ends_its_readers(shop, api, readers):
    fill(shop)
    shop.manifest(ORDERED, unique_identifier="record_id")
    api.faults = [200, 200, 401]
    assert shop.run().exit_code == 1
    assert "segconn-reader" in readers
    assert not [thread for thread in threading.enumerate() if thread.name == "segconn-reader"]
    assert shop.run().exit_code == 0
    assert len(api.accepted) == SOME


def test_a_reader_that_cannot_read_is_not_needed(shop, api, readers, monkeypatch):
    """As if the connection of a reader broke."""
    fill(shop)
    shop.manifest(ORDERED, unique_identifier="record_id")
    real = MappingTables.read

    def read(tables, *arguments):
        if threading.current_thread().name == "segconn-reader":
            raise WarehouseError("the connection is lost")
        return real(tables, *arguments)

    monkeypatch.setattr(MappingTables, "read", read)
    result = shop.run()
    assert result.exit_code == 0, result.output
    assert len(api.received) == len(api.accepted) == SOME


@pytest.mark.parametrize("mapping", [ORDERED, WRITTEN], ids=["in order", "written"])
def test_a_page_that_is_too_large_is_read_in_parts(shop, api, readers, monkeypatch, mapping):
    """As if the warehouse had too little memory: rows may be wider than all before them."""
    fill(shop)
    shop.manifest(mapping, unique_identifier="record_id")
    for method, first in (("read", 2), ("read_calls", 1)):
        real = getattr(MappingTables, method)

        def read(tables, *arguments, _real=real, _first=first):
            after, upto = arguments[_first : _first + 2]
            if upto > SOME // 2 and upto - after > 50:
                raise WarehouseError("out of memory")
            return _real(tables, *arguments)

        monkeypatch.setattr(MappingTables, method, read)
    result = shop.run()
    assert result.exit_code == 0, result.output
    assert len(api.received) == len(api.accepted) == SOME


def test_a_profile_with_one_thread_has_one_connection(shop, api, readers):
    fill(shop)
    shop.manifest(ORDERED, unique_identifier="record_id")
    profiles = (shop.dir / "profiles.yml").read_text()
    shop.write("profiles.yml", re.sub(r"threads: \d+", "threads: 1", profiles))
    assert shop.run().exit_code == 0
    assert readers == {"segconn_0"}
    assert len(api.accepted) == SOME


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_a_role_with_one_connection_is_enough(shop, api, warehouse, readers):
    fill(shop)
    shop.manifest(ORDERED, unique_identifier="record_id")
    role = f"loader_{warehouse.database}"
    warehouse.execute(
        f"create role {role} login connection limit 1; grant select on all tables in schema public to {role}; "
        f'create schema segconn authorization "{role}"'
    )
    profiles = (shop.dir / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles.replace("user: postgres", f"user: {role}"))
    result = shop.run()
    assert result.exit_code == 0, result.output
    assert readers == {"segconn_0"}
    assert len(api.received) == len(api.accepted) == SOME
