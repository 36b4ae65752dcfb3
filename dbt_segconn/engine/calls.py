"""A change of the outbox → the event that a mapping reads → its call, made here or written by the warehouse.

`CallMaker` defines what a call is. If the warehouse cannot write the call of a change exactly, `CallMaker` makes it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import abc
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from dbt_segconn.actions.calls import Leaf, Shape, find_shape
from dbt_segconn.delivery import Order
from dbt_segconn.errors import RecordError
from dbt_segconn.limits import CALL_BYTES
from dbt_segconn.project.identifiers import SEGMENT_ID
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.tracking_plan import ViolationCounts, reason_of
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import CONVERTERS, NUMBERS, WHOLE_NUMBERS, Column

# Value types whose text in the outbox is that of String(value) in JavaScript, which Segment's mappings use. The SQL
# leaves large integers to Python
_TEXTS = frozenset({"text", "exact", "date", "timestamp", "timestamptz", "interval", "binary", "boolean"})
_CONSENTS = (_TEXTS | NUMBERS) - {"exact"}
_TIMES = frozenset({"timestamp", "timestamptz"})
# Types that keep JSON as it was written. It may have a key twice, of which Python keeps the last one
_MAY_REPEAT_KEYS = re.compile(r"json(?!b)|record|variant", re.IGNORECASE)
# A call with a JSON column must be this many times smaller: written again by Python, its JSON may need more bytes
_JSON_SHARE = 4
# One column of a record id, with the '|' after it. segconn_record_id escapes a '|' inside a column
_PART = re.compile(r"((?:[^|\\]|\\.)*)\|", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# A change is: number, change type, record id, then the columns
_FIRST = 3


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
    """The JSON of a call as parts of a text up to its messageId, and when the warehouse writes it by `sql/calls.sql`.

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


class KeptColumns:
    """The columns of a change that belong to the identifier. It is false if there are none.

    In a deleted record they are null, but a mapping needs them for ids. They are parsed from the record id.
    """

    def __init__(self, identifier: Sequence[str], columns: Sequence[Column]) -> None:
        self._parts = len(identifier)
        self._columns = [
            (at, part, column.value_type)
            for at, column in enumerate(columns, start=_FIRST)
            if (part := _part_of(column.name, identifier, columns)) is not None
        ]

    def __bool__(self) -> bool:
        return bool(self._columns)

    def restored(self, change: Row) -> Row:
        """Return the change of a deleted record with its identifier columns. Return any other change unchanged."""
        if change[1] != "deleted" or change[2] is None:
            return change
        parts = [change[2]] if self._parts == 1 else _parts_of(change[2])
        if len(parts) != self._parts:
            return change
        values = list(change)
        for at, part, value_type in self._columns:
            values[at] = _value(parts[part], value_type)
        return tuple(values)


def _part_of(name: str, identifier: Sequence[str], columns: Sequence[Column]) -> int | None:
    """Return the position of a column in the identifier: by its exact name, else by the only name in another case."""
    if name in identifier:
        return identifier.index(name)
    exact = {column.name for column in columns}
    alike = [at for at, one in enumerate(identifier) if one not in exact and one.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _parts_of(record_id: str) -> list[str]:
    return [_ESCAPED.sub(r"\1", part) for part in _PART.findall(f"{record_id}|")]


def _value(text: str, value_type: str) -> Any:
    """Parse the text that segconn_as_text wrote to the value of a column of this type."""
    # a text that cannot be parsed is returned as it is
    with suppress(ValueError, ArithmeticError):
        return _READERS.get(value_type, str)(text)
    return text


def _finite(text: str) -> float | None:
    # JSON has no NaN and no infinity: both are sent as null
    number = float(text)
    return number if math.isfinite(number) else None


_READERS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "whole": int,
    "number": Decimal,
    "decimal": _finite,
    "float": _finite,
    "single": _finite,
    "boolean": lambda text: text.lower() in {"true", "t", "1"},
}


# change type → its name in the envelope of Segment Reverse ETL
EVENTS = {"added": "new", "updated": "updated", "deleted": "deleted"}


@dataclass(frozen=True, slots=True)
class Made:
    """Calls with the numbers of their changes, in the same order."""

    numbers: list[int]
    calls: list[Any]

    def only(self, places: Sequence[int]) -> Made:
        """Return the calls at these places."""
        return Made([self.numbers[at] for at in places], [self.calls[at] for at in places])


class CallMaker:
    """Makes the calls of changes. The call of a change is the same on every attempt, with the same messageId.

    A change is a row of the outbox: change number, change type, record id, then the values of `columns`. With
    `keeps_identifiers`, the identifier columns of deleted records are restored from the record id.
    """

    def __init__(
        self,
        mapping: Mapping,
        columns: Sequence[Column],
        *,
        write_key: str,
        sync_id: str,
        started_at: datetime,
        keeps_identifiers: bool = True,
        violations: ViolationCounts | None = None,
    ) -> None:
        self.violations = violations or ViolationCounts()
        self._mapping = mapping
        self._columns = columns
        self._to_call = mapping.to_call
        self._names = tuple(column.key for column in columns)
        self._converters = tuple(
            (column.key, CONVERTERS[column.value_type]) for column in columns if column.value_type in CONVERTERS
        )
        self._keep_null = mapping.meta.sync_null_values
        self._consent = mapping.consent
        self._names_record = mapping.uses_segment_id
        self._kept = KeptColumns(mapping.identifier, columns) if keeps_identifiers else None
        self._prefix = message_id_prefix(write_key, sync_id)
        self._received_at = f"{started_at:%Y-%m-%dT%H:%M:%S}.{started_at.microsecond // 1000:03}Z"
        self._integrations = mapping.integrations
        self._is_checked = mapping.tracking_plan is not None or mapping.meta.event_version is not None

    def written(self, value_types: Collection[str]) -> WrittenCall | None:
        """Return how a warehouse that has exact JSON of these value types writes the calls; None if Python makes them.

        Calls that are checked against a tracking plan are made in Python: parsing their JSON again would cost more.
        """
        if self._is_checked:
            return None
        return find_written_call(self._mapping, self._columns, self._prefix, value_types)

    def many(self, changes: Sequence[Row], discard: Callable[[int, str], None]) -> Made:
        """Make the calls of changes. Call `discard` with the number and the reason of each change without a call."""
        made = Made([], [])
        for change in changes:
            try:
                made.calls.append(self._make(change))
            except RecordError as error:
                discard(change[0], str(error))
            else:
                made.numbers.append(change[0])
        return made

    def checked(self, made: Made, discard: Callable[[int, str], None]) -> Made:
        """Check calls against the tracking plan, count violations, and return the calls to send.

        Call `discard` with the number and the reason of each other call.
        """
        if not self._is_checked:
            return made
        reasons = [*map(self._violation, made.calls)]
        for number, reason in zip(made.numbers, reasons, strict=True):
            if reason:
                discard(number, reason)
        return made.only([at for at, reason in enumerate(reasons) if reason is None])

    def _violation(self, call: dict[str, Any]) -> str | None:
        """Add the event's version to a call and check it. Return the reason to discard it, if any."""
        plan, version = self._mapping.tracking_plan, self._mapping.meta.event_version
        if version:
            # without a version, Segment checks against the oldest one of the event
            call["context"]["protocols"] = {"event_version": version}
        found = plan.violations(call, version) if plan else ()
        # a messageId that the mapping sets may be a value of a row, which must not be in a report
        sample = call["messageId"] if call["messageId"].startswith(self._prefix) else ""
        for violation in dict.fromkeys(found):
            self.violations.add(violation, 1, sample)
        return reason_of(found) if found and plan and plan.discards else None

    def __call__(self, change: Row) -> dict[str, Any]:
        """Return the call of a change. Raise RecordError if the record makes none, or one that must not be sent."""
        call = self._make(change)
        if reason := self._violation(call):
            raise RecordError(reason)
        return call

    def _make(self, change: Row) -> dict[str, Any]:
        message_id = f"{self._prefix}{change[0]}"
        call = self._to_call(self.event(change, message_id))
        # in each call: it is not documented how Segment merges this object of a batch with that of a call
        if self._integrations:
            call["integrations"] = self._integrations
        call.setdefault("messageId", message_id)  # a mapping may set its own
        return call

    def event(self, change: Row, message_id: str) -> dict[str, Any]:
        """Return a change in the envelope of Segment Reverse ETL. Paths in a mapping start at its root."""
        if self._kept:
            change = self._kept.restored(change)
        properties = dict(zip(self._names, change[3:], strict=True))
        for name, convert in self._converters:
            properties[name] = convert(properties[name])
        # without consent columns there is no object: Segment then sends the call to all destinations
        context = {"consent": {"categoryPreferences": self._preferences(properties)}} if self._consent else {}
        if not self._keep_null:
            properties = {name: value for name, value in properties.items() if value is not None}
        if self._names_record or change[1] == "deleted":
            properties[SEGMENT_ID] = change[2]
        event = {
            "type": "track",
            "event": EVENTS.get(change[1]),
            "messageId": message_id,
            "receivedAt": self._received_at,
            "properties": properties,
            "context": context,
        }
        if self._names_record or change[1] == "deleted":
            event[SEGMENT_ID] = change[2]  # some exported mappings read it here
        return event

    def _preferences(self, properties: abc.Mapping[str, Any]) -> dict[str, bool]:
        """Read the consent columns: category → consent. A value that is not clearly true withholds consent."""
        return {category: _is_given(properties[column]) for category, column in self._consent.items()}


def order_of(mapping: Mapping) -> Order | None:
    """Return the function by which calls are grouped, if each group must stay in order; None without `order_by`."""
    return subject_of if mapping.meta.order_by else None


def subject_of(call: abc.Mapping[str, Any]) -> str:
    """Return the user id of a call, or the group id of a group call; without one, the anonymous id."""
    name = "groupId" if call["type"] == "group" else "userId"
    return str(call.get(name) or call.get("anonymousId") or "")


def _is_given(value: Any) -> bool:
    """Check one value of a consent column. The values of `sql/consent.sql` are a superset of these."""
    return value.lower() in {"true", "t", "1"} if isinstance(value, str) else value in (True, 1)


def message_id_prefix(write_key: str, sync_id: str) -> str:
    """Return the prefix of all messageIds of a sync. The change number makes each one unique.

    The outbox is frozen: a change number means the same record on every attempt. The sync id is random: if a record
    returns to an earlier state, its call has another messageId, so Segment does not drop it as repeated.
    """
    # Segment compares messageIds across all workspaces, and allows 100 characters
    digest = hashlib.blake2b(f"{write_key}\x1f{sync_id}".encode(), digest_size=16)
    return f"{digest.hexdigest()}-"
