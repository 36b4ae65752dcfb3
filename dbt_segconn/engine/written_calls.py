"""Calls that the warehouse writes: the JSON of a mapping's calls as parts of a text, which `sql/calls.sql` renders.

`calls.py` defines what a call is. If the warehouse cannot write the call of a change exactly, `calls.py` makes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dbt_segconn.actions.shape import Leaf, Shape, find_shape
from dbt_segconn.limits import CALL_BYTES
from dbt_segconn.project.identifiers import SEGMENT_ID
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.warehouse.source import NUMBERS, WHOLE_NUMBERS, Column

# Value types whose text in the outbox is that of String(value) in JavaScript, which Segment's mappings use. The SQL
# leaves large integers to Python
_TEXTS = frozenset({"text", "exact", "date", "timestamp", "timestamptz", "interval", "binary", "boolean"})
_CONSENTS = (_TEXTS | NUMBERS) - {"exact"}
_TIMES = frozenset({"timestamp", "timestamptz"})
# Types that keep JSON as it was written. It may have a key twice, of which Python keeps the last one
_MAY_REPEAT_KEYS = re.compile(r"json(?!b)|record|variant", re.IGNORECASE)
# A call with a JSON column must be this many times smaller: written again by Python, its JSON may need more bytes
_JSON_SHARE = 4


@dataclass(frozen=True, slots=True)
class Filled:
    """A leaf of a call with its columns: `pieces` are texts and columns in turn, first a text.

    `before` is the text before the value, such as its key. It is sent only if the value is.
    """

    pieces: tuple[str | Column, ...]
    form: str
    drops: str = "never"
    before: str = ""

    @property
    def column(self) -> Column:
        """The column of a leaf that is not a template: it has only one."""
        return self.columns[0]

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the leaf."""
        return tuple(one for one in self.pieces if isinstance(one, Column))


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Members of an object whose first one may be left out. Each begins with a comma; SQL removes the first comma."""

    parts: tuple[Part, ...]


Part = str | Filled | Trimmed


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """The parts of a call up to its messageId, and the conditions under which the warehouse writes it.

    At least one leaf of each group in `required` must not be empty. `timestamp` is the column of the call's timestamp,
    which is checked. `most_bytes` is the largest size of a call in bytes.
    """

    parts: tuple[Part, ...]
    required: tuple[tuple[Filled, ...], ...]
    timestamp: Column | None
    leaves: tuple[Filled, ...]
    prefix: str
    most_bytes: int


def find_written_call(
    mapping: Mapping, columns: Sequence[Column], prefix: str, value_types: Collection[str]
) -> WrittenCall | None:
    """Return how the warehouse writes the calls of a mapping; None if Python makes them.

    `value_types` are those with exact JSON in the warehouse's dialect. With `order_by`, Python makes the calls: it
    needs the user of each call, to send the calls of one user one after the other.
    """
    known = {column.key: column for column in columns}
    if mapping.uses_segment_id:
        known[SEGMENT_ID] = Column(SEGMENT_ID, "", "", "record_id", "text")
    if not value_types or mapping.meta.order_by or (not mapping.uses_segment_id and SEGMENT_ID in known):
        return None
    shape = find_shape(
        mapping.meta.action,
        mapping.fields,
        consent=tuple(mapping.consent.items()),
        columns=tuple(known),
        keep_null=mapping.meta.sync_null_values,
    )
    if shape is None:
        return None
    writer = _Writer(known)
    try:
        integrations = {"integrations": mapping.integrations} if mapping.integrations else {}
        parts = tuple(_joined(writer.value({**shape.call, **integrations})))
    except UnicodeEncodeError:  # a key that is not valid UTF-8
        return None
    if not all(_is_supported(one, value_types) for one in writer.leaves):
        return None
    return _written(shape, writer, parts, prefix)


def _written(shape: Shape, writer: _Writer, parts: tuple[Part, ...], prefix: str) -> WrittenCall | None:
    timestamp = writer.known[shape.timestamp] if shape.timestamp else None
    if timestamp and timestamp.value_type not in _TIMES:
        return None
    has_json = any(column.value_type == "json" for one in writer.leaves for column in one.columns)
    return WrittenCall(
        (*parts[:-1], f"{str(parts[-1])[:-1]},"),  # the closing brace follows the messageId
        tuple(tuple(map(writer.filled, leaves)) for leaves in shape.required),
        timestamp,
        tuple(writer.leaves),
        prefix,
        CALL_BYTES // _JSON_SHARE if has_json else CALL_BYTES,
    )


def _is_supported(leaf: Filled, value_types: Collection[str]) -> bool:
    found = {column.value_type for column in leaf.columns}
    if any(column.value_type == "json" and _MAY_REPEAT_KEYS.search(column.data_type) for column in leaf.columns):
        return False
    allowed = {"json": value_types, "consent": _CONSENTS}.get(leaf.form, _TEXTS | WHOLE_NUMBERS)
    return found <= set(allowed) & set(value_types)


@dataclass(slots=True)
class _Writer:
    """Writes a call as parts of JSON text. If a value is left out, its key is left out, too."""

    known: dict[str, Column]
    leaves: list[Filled] = field(default_factory=list)

    def filled(self, leaf: Leaf) -> Filled:
        pieces = tuple(self.known[one] if at % 2 else one for at, one in enumerate(leaf.pieces))
        return Filled(pieces, leaf.form, leaf.drops)

    def value(self, value: Any) -> Iterator[Part]:
        if isinstance(value, Leaf):
            self.leaves.append(self.filled(value))
            yield self.leaves[-1]
        elif isinstance(value, dict):
            yield "{"
            yield from self._members(value)
            yield "}"
        elif isinstance(value, list):
            yield "["
            for at, one in enumerate(value):
                yield "," if at else ""
                yield from self.value(one)
            yield "]"
        else:
            yield _json(value)

    def _members(self, members: dict[str, Any]) -> Iterator[Part]:
        pairs = list(members.items())
        # if the first member is dropped, the second one must not begin with a comma
        if pairs and _may_drop(pairs[0][1]):
            yield Trimmed(tuple(_joined(part for key, one in pairs for part in self._member(f",{_json(key)}:", one))))
            return
        for at, (key, one) in enumerate(pairs):
            yield from self._member(f"{',' if at else ''}{_json(key)}:", one)

    def _member(self, before: str, value: Any) -> Iterator[Part]:
        if _may_drop(value):
            (leaf,) = self.value(value)
            yield replace(leaf, before=before)  # type: ignore[type-var]
        else:
            yield before
            yield from self.value(value)


def _may_drop(value: Any) -> bool:
    return (
        isinstance(value, Leaf) and value.drops != "never" and not (value.form == "template" and value.drops == "null")
    )


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text.encode()  # raises UnicodeEncodeError for a half of a surrogate pair
    return text


def _joined(parts: Iterator[Part]) -> Iterator[Part]:
    """Join neighbouring texts."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        yield part
        text = ""
    if text:
        yield text
