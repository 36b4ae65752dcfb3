"""Rows of a flat mapping's columns → calls, without an event in between: for the speed of large syncs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dbt_segconn.actions.fields import find_action
from dbt_segconn.actions.flat import Call, Flat, Writer, column_of, find_flat

Row = tuple[Any, ...]
ToCalls = Callable[[Sequence[Row]], list[Call | None]]
# Lengths of 2026-01-02T03:04:05.678Z and of the same with microseconds
_TIMESTAMP_LENGTHS = (24, 27)
# Far below Segment's 10,000: no mapping of so many is written out
_MOST_MEMBERS = 1_000
_MESSAGE_ID = ", 'messageId': f'{prefix}{number}'"


@dataclass(frozen=True, slots=True)
class Layout:
    """What rows hold: a change's number, its kind, its record's id, then the values of `columns`.

    `scalars` are the columns that never hold an object or an array, `timestamps` those of ISO-8601 text.
    `converters` make JSON numbers of a column's Decimals. `record_id` is the mapping's name for the id.
    Where not `keep_null`, null columns are left out of a call.
    """

    columns: Sequence[str]
    scalars: frozenset[str]
    timestamps: frozenset[str]
    converters: Mapping[str, Callable[[Any], Any]]
    record_id: str
    keep_null: bool


def compile_rows(action: str, fields: Any, layout: Layout, message_id_prefix: str) -> ToCalls | None:
    """Compile a flat mapping to a function rows → calls; returns None for any other mapping.

    In place of a call stands None where a row is not plain and has to go the general way. Every call that
    is made has its ids and its time as Segment wants them; only its size is left to be checked.
    """
    flat = find_flat(find_action(action), fields)
    if flat is None or not _serves(layout, flat):
        return None
    writer = Writer(flat)
    lines = _source(flat, layout, writer)
    namespace = {"Decimal": Decimal, "lengths": _TIMESTAMP_LENGTHS, "prefix": message_id_prefix}
    namespace |= {f"convert_{at}": layout.converters.get(name) for at, name in enumerate(layout.columns)}
    to_calls: ToCalls = writer.compile(lines, "to_calls", namespace)
    return to_calls


def _serves(layout: Layout, flat: Flat) -> bool:
    timestamp = flat.texts.get("timestamp")
    return (
        set(flat.columns) <= {*layout.scalars, layout.record_id}
        and (timestamp is None or column_of(timestamp) in layout.timestamps)
        and len(flat.members) <= _MOST_MEMBERS
    )


def _source(flat: Flat, layout: Layout, writer: Writer) -> Iterator[str]:
    variables = {name: f"column_{at}" for at, name in enumerate(layout.columns)}
    read = {**variables, layout.record_id: "record_id"}.__getitem__
    unfit = [writer.unfit, *(f"{read(name)} is None" for name in flat.columns if not layout.keep_null)]
    if "timestamp" in flat.texts:
        unfit.append("len(timestamp) not in lengths")
    yield "def to_calls(rows):"
    yield "  calls = []"
    yield "  append = calls.append"
    yield f"  for number, _, record_id, {''.join(f'{one}, ' for one in variables.values())}in rows:"
    for name in layout.converters:
        one = variables[name]
        yield f"    if type({one}) is Decimal: {one} = {one.replace('column', 'convert')}({one})"
    yield from (f"    {statement}" for statement in writer.statements(read))
    yield f"    if {' or '.join(unfit)}:"
    yield "      append(None)"
    yield "    else:"
    yield f"      append({writer.call(read, more=_MESSAGE_ID)})"
    yield "  return calls"
