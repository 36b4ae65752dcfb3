"""Rows of flat mappings become the same calls as payloads, or None if a row is not plain."""

from __future__ import annotations

import doctest
from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_segconn.actions import compile_action, flat, rows
from dbt_segconn.engine.calls import CallMaker
from dbt_segconn.errors import RecordError
from dbt_segconn.limits import violation
from dbt_segconn.mapping.compiler import expand

VALUE_TYPES = {"id": "integer", "name": "text", "price": "decimal", "at": "timestamp", "doc": "json"}
TEXTS = st.sampled_from(["$id", "$name", "$price", "$at", "$doc", "$__segment_id", "fixed", "${name}!"])
VALUES = st.fixed_dictionaries(
    {
        "id": st.none() | st.integers(0, 2**70),
        "name": st.none() | st.sampled_from(["", "Ada", "0", "ü\ud800"]),
        "price": st.none() | st.sampled_from([1.5, Decimal("12.50"), 0]),
        "at": st.none() | st.sampled_from(["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678901Z", "12026-01-02"]),
        "doc": st.none() | st.sampled_from(['{"a": 1}', "[]", "7"]),
    }
)
CHANGES = st.lists(st.tuples(st.sampled_from(["added", "updated", "deleted"]), VALUES), max_size=5)


def maker(action, fields, **mapping):
    sync = SimpleNamespace(
        meta=SimpleNamespace(action=action, **mapping),
        fields=fields,
        consent={},
        to_call=compile_action(action, fields),
        uses_segment_id="__segment_id" in str(fields),
        identifier=[],
    )
    columns = [SimpleNamespace(key=name, name=name, value_type=value_type) for name, value_type in VALUE_TYPES.items()]
    return CallMaker(sync, columns, write_key="wk", sync_id="s", started_at=datetime(2026, 1, 2, tzinfo=timezone.utc))


@given(
    st.sampled_from(["identify", "track", "group"]),
    st.fixed_dictionaries({"user_id": TEXTS}, optional={"anonymous_id": TEXTS, "timestamp": TEXTS}),
    st.dictionaries(st.sampled_from(["email", "plan", "a b"]), TEXTS | st.sampled_from([7, None, True])),
    st.booleans(),
    CHANGES,
)
def test_rows_and_payloads_make_equal_calls(action, ids, members, keep_null, changes):
    body = "properties" if action == "track" else "traits"
    own = {"track": {"event_name": "Bought"}, "group": {"group_id": "$name"}}.get(action, {})
    make = maker(action, expand({**ids, **own, body: members}), sync_null_values=keep_null)
    rows = [(number, kind, f"r{number}", *values.values()) for number, (kind, values) in enumerate(changes, start=1)]
    wanted, refused = {}, []
    for row in rows:
        try:
            wanted[row[0]] = make(row)
        except RecordError:
            refused.append(row[0])
    heard = []
    made = make.many(rows, lambda number, _reason: heard.append(number))
    assert heard == refused
    assert dict(zip(made.numbers, map(repr, made.calls), strict=True)) == {
        number: repr(call) for number, call in wanted.items()
    }
    if not make.reads_record:
        unnamed = make.many([(number, None, None, *values) for number, _, _, *values in rows], lambda *_: None)
        assert repr(unnamed) == repr(made)
    if made.are_checked:
        assert not any(map(violation, made.calls))


def test_flat_mapping_is_compiled_for_rows():
    fields = expand({"user_id": "$id", "timestamp": "$at", "traits": {"name": "$name", "price": "$price"}})
    make = maker("identify", fields, sync_null_values=True)
    row = (1, "added", "r1", 7, "Ada", Decimal("12.50"), "2026-01-02T03:04:05.678Z", None)
    assert make.many([row], print).are_checked
    assert not make.many([(*row[:6], "yesterday", None)], print).are_checked


@pytest.mark.parametrize("module", [flat, rows])
def test_documented_source_is_generated(module):
    assert doctest.testmod(module).attempted > 3
    assert doctest.testmod(module).failed == 0
