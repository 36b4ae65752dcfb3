"""Rows of the outbox → calls of a flat mapping, without a payload in between: for the speed of large syncs.

>>> from dbt_segconn.actions.fields import find_action
>>> email = {"@path": "$.properties.email"}
>>> flat = find_flat(find_action("identify"), {"user_id": {"@path": "$.properties.id"}, "traits": {"email": email}})
>>> layout = Layout(["id", "email"], frozenset({"id", "email"}), frozenset(), {"id": int}, "__segment_id", False)
>>> print("\\n".join(_source(flat, layout, Writer(flat))))
def to_calls(rows):
  calls = []
  append = calls.append
  for number, _, record_id, column_0, column_1, in rows:
    if type(column_0) is Decimal: column_0 = convert_0(column_0)
    user_id = column_0
    if type(user_id) is int: user_id = str(user_id)
    if type(user_id) is not str or not user_id or column_0 is None or column_1 is None:
      append(None)
    else:
      append({'userId': user_id, 'context': {'consent': {}}, 'traits': {'placeholder 0': column_1}, 'type': \
'identify', 'messageId': f'{prefix}{number}'})
  return calls

`flat.py` describes the placeholders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dbt_segconn.actions.fields import find_action
from dbt_segconn.actions.flat import Call, Flat, Writer, column_of, find_flat

Row = tuple[Any, ...]
ToCalls = Callable[[Sequence[Row]], list[Call | None]]
# 2026-01-02T03:04:05.678Z, and with microseconds
_TIMESTAMP_LENGTHS = (24, 27)
# Far below Segment's limit of 10,000, and it bounds the source
_MAX_MEMBERS = 1_000
_MESSAGE_ID = ", 'messageId': f'{prefix}{number}'"
_INTEGRATIONS = ", 'integrations': integrations"


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a row: change number, change type, record id, then the values of `columns`.

    `scalars` are columns that never hold an object or an array; `timestamps` are columns of ISO-8601 text.
    `converters` convert the Decimals of a column to JSON numbers. `record_id` is the column name that mappings use for
    the record id. Unless `keep_null` is set, calls do not have null columns.
    """

    columns: Sequence[str]
    scalars: frozenset[str]
    timestamps: frozenset[str]
    converters: Mapping[str, Callable[[Any], Any]]
    record_id: str
    keep_null: bool


def compile_rows(
    action: str, fields: Any, layout: Layout, message_id_prefix: str, integrations: Mapping[str, Any] | None = None
) -> ToCalls | None:
    """Compile a flat mapping to a function rows → calls; returns None for any other mapping.

    The function returns None for a row that is not plain: `compile_action` handles these. The ids and timestamp of
    every returned call are valid; its size is not checked yet. All calls have the same `integrations`.
    """
    flat = find_flat(find_action(action), fields)
    if flat is None or not _is_supported(layout, flat):
        return None
    writer = Writer(flat)
    more = (_INTEGRATIONS if integrations else "") + _MESSAGE_ID
    lines = _source(flat, layout, writer, more)
    namespace = {"Decimal": Decimal, "lengths": _TIMESTAMP_LENGTHS, "prefix": message_id_prefix}
    namespace |= {"integrations": integrations}
    namespace |= {f"convert_{at}": layout.converters.get(name) for at, name in enumerate(layout.columns)}
    to_calls: ToCalls = writer.compile_source(lines, "to_calls", namespace)
    return to_calls


def _is_supported(layout: Layout, flat: Flat) -> bool:
    timestamp = flat.texts.get("timestamp")
    return (
        set(flat.columns) <= {*layout.scalars, layout.record_id}
        and (timestamp is None or column_of(timestamp) in layout.timestamps)
        and len(flat.members) <= _MAX_MEMBERS
    )


def _source(flat: Flat, layout: Layout, writer: Writer, more: str = _MESSAGE_ID) -> Iterator[str]:
    variables = {name: f"column_{at}" for at, name in enumerate(layout.columns)}
    read = {**variables, layout.record_id: "record_id"}.__getitem__
    conditions = [writer.is_not_plain, *(f"{read(name)} is None" for name in flat.columns if not layout.keep_null)]
    if "timestamp" in flat.texts:
        conditions.append("len(timestamp) not in lengths")
    yield "def to_calls(rows):"
    yield "  calls = []"
    yield "  append = calls.append"
    yield f"  for number, _, record_id, {''.join(f'{one}, ' for one in variables.values())}in rows:"
    for name in layout.converters:
        one = variables[name]
        yield f"    if type({one}) is Decimal: {one} = {one.replace('column', 'convert')}({one})"
    yield from (f"    {statement}" for statement in writer.statements(read))
    yield f"    if {' or '.join(conditions)}:"
    yield "      append(None)"
    yield "    else:"
    yield f"      append({writer.call(read, more=more)})"
    yield "  return calls"
