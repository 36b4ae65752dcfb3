"""A change of the outbox → the event that a mapping sees → its call."""

from __future__ import annotations

import hashlib
from collections import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dbt_segconn.actions import Layout, compile_rows
from dbt_segconn.delivery import Order
from dbt_segconn.engine.kept_columns import Kept
from dbt_segconn.errors import RecordError
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.user_ids import SEGMENT_ID
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.values import CONVERTERS, Column

# What Segment's envelope calls the kinds of change
EVENTS = {"added": "new", "updated": "updated", "deleted": "deleted"}


@dataclass(frozen=True, slots=True)
class Made:
    """Calls with the numbers of their changes, in their order.

    `are_checked`: the calls are known to keep Segment's limits, but for their size.
    """

    numbers: list[int]
    calls: list[Any]
    are_checked: bool


class CallMaker:
    """Makes the call of one change: always the same one, messageId included, however often it is asked.

    A change is a row of the outbox: change number, kind, record id, then the values of `columns`. Kind and record id
    may be None where the mapping does not `reads_record`. Where it `keeps_identifiers`, deleted records get
    the columns of their identifier back: for record ids that are made of the identifier as it is now.
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
    ) -> None:
        self._to_call = mapping.to_call
        self._names = tuple(column.key for column in columns)
        self._converters = tuple(
            (column.key, CONVERTERS[column.value_type]) for column in columns if column.value_type in CONVERTERS
        )
        self._keep_null = mapping.meta.sync_null_values
        self._consent = mapping.consent
        self._names_record = mapping.uses_segment_id
        self._kept = Kept(mapping.identifier, columns) if keeps_identifiers else None
        self._prefix = message_id_prefix(write_key, sync_id)
        self._received_at = f"{started_at:%Y-%m-%dT%H:%M:%S}.{started_at.microsecond // 1000:03}Z"
        self._to_calls = compile_rows(mapping.meta.action, mapping.fields, _layout(mapping, columns), self._prefix)

    @property
    def reads_record(self) -> bool:
        """Whether a call may tell of which kind a change is, and of which record."""
        return self._names_record or self._to_calls is None or bool(self._kept)

    def many(self, changes: Sequence[Row], discard: Callable[[int, str], None]) -> Made:
        """Make the calls of changes; those that cannot be one are handed to `discard`, with the reason."""
        if self._kept:
            restored = self._kept.restored
            changes = [restored(change) if change[1] == "deleted" else change for change in changes]
        calls = self._to_calls(changes) if self._to_calls else [None] * len(changes)
        if None not in calls:
            return Made([change[0] for change in changes], calls, are_checked=True)
        made = Made([], [], are_checked=False)
        for change, call in zip(changes, calls, strict=True):
            try:
                made.calls.append(call or self(change))
            except RecordError as error:
                discard(change[0], str(error))
            else:
                made.numbers.append(change[0])
        return made

    def __call__(self, change: Row) -> dict[str, Any]:
        """Return the change's call; raises RecordError where the record cannot be one."""
        message_id = f"{self._prefix}{change[0]}"
        call = self._to_call(self.event(change, message_id))
        call.setdefault("messageId", message_id)
        return call

    def event(self, change: Row, message_id: str) -> dict[str, Any]:
        """Wrap a change in Segment's envelope, which the paths of a mapping start from."""
        if self._kept:
            change = self._kept.restored(change)
        properties = dict(zip(self._names, change[3:], strict=True))
        for name, convert in self._converters:
            properties[name] = convert(properties[name])
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
            event[SEGMENT_ID] = change[2]  # exported mappings name it here, too
        return event

    def _preferences(self, properties: abc.Mapping[str, Any]) -> dict[str, bool]:
        """Read the consent columns; what is not clearly given counts as withheld."""
        return {category: _is_given(properties[column]) for category, column in self._consent.items()}


def order_of(mapping: Mapping) -> Order | None:
    """Return what calls of a mapping with `order_by` are ordered within; None for a mapping without."""
    return subject_of if mapping.meta.order_by else None


def subject_of(call: abc.Mapping[str, Any]) -> str:
    """Return the user id of a call, else its anonymous id; of a group call, the group id."""
    name = "groupId" if call["type"] == "group" else "userId"
    return str(call.get(name) or call.get("anonymousId") or "")


def _layout(mapping: Mapping, columns: Sequence[Column]) -> Layout:
    types = {column.key: column.value_type for column in columns}
    return Layout(
        columns=tuple(types),
        scalars=frozenset(name for name, value_type in types.items() if value_type != "json"),
        timestamps=frozenset(name for name, value_type in types.items() if value_type in {"timestamp", "timestamptz"}),
        converters={name: CONVERTERS[value_type] for name, value_type in types.items() if value_type in CONVERTERS},
        record_id=SEGMENT_ID,
        keep_null=mapping.meta.sync_null_values,
    )


def _is_given(value: Any) -> bool:
    """Read a consent column; `sql/consent.sql` knows of more values that they are clear, and of none of these less."""
    return value.lower() in {"true", "t", "1"} if isinstance(value, str) else value in (True, 1)


def message_id_prefix(write_key: str, sync_id: str) -> str:
    """Return what all messageIds of a sync start with; the change number makes each one unique.

    The outbox is frozen, so a change number names the same record on every attempt of this sync; no
    other sync, of whichever mapping, shares its random id, so that a record which returns to an earlier
    state is sent again.
    """
    digest = hashlib.blake2b(f"{write_key}\x1f{sync_id}".encode(), digest_size=16)
    return f"{digest.hexdigest()}-"
