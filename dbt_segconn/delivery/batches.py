"""Calls → batches of serialised events, within Segment's limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from dbt_segconn.delivery.limits import (
    BATCH_BYTES,
    BATCH_EVENTS,
    EVENT_BYTES,
    NOT_JSON,
    NOT_UTF8,
    TOO_LARGE,
    refusal,
)
from dbt_segconn.version import __version__

# Serialised together: a group within EVENT_BYTES proves that each of its events is
GROUP = 64

_LIBRARY = orjson.dumps({"library": {"name": "dbt-segconn", "version": __version__}})
_HEAD = b'{"batch":['
_TAIL = b'],"context":%b,"sentAt":"%b"}'
# What body() adds to the events, with the widest possible time
ENVELOPE_BYTES = len(_HEAD) + len(_TAIL % (_LIBRARY, b"2026-01-02T03:04:05.678Z"))


class Outgoing(NamedTuple):
    """A call on its way: the number of its change, and the identifier that errors name it by."""

    number: int
    record_id: str
    call: dict[str, Any]

    def __repr__(self) -> str:
        return f"Outgoing(number={self.number}, record_id={self.record_id!r})"  # payloads are never shown


@dataclass(slots=True, repr=False)
class Batch:
    """The events of one request, serialised once for all attempts; `calls` are kept for splitting.

    `is_repeated`: an attempt has had no answer, and may have arrived.
    """

    calls: list[Outgoing] = field(default_factory=list)
    parts: list[memoryview] = field(default_factory=list)
    size: int = ENVELOPE_BYTES
    is_repeated: bool = False

    def takes(self, size: int, events: int) -> bool:
        """Say whether so much more fits."""
        return self.size + size <= BATCH_BYTES and len(self.calls) + events <= BATCH_EVENTS

    def add(self, calls: Sequence[Outgoing], part: memoryview) -> None:
        """Add calls and their events, joined by commas."""
        self.calls.extend(calls)
        self.parts.append(part)
        self.size += len(part) + 1

    def body(self, sent_at: datetime) -> bytes:
        """Return the request's JSON. `sentAt` is fresh on every attempt: Segment corrects times by it."""
        time = f"{sent_at:%Y-%m-%dT%H:%M:%S}.{sent_at.microsecond // 1000:03}Z".encode()
        return _HEAD + b",".join(self.parts) + _TAIL % (_LIBRARY, time)


class Batcher:
    """Fills batches with calls in their order; what breaks a limit goes to `refuse` with the reason."""

    def __init__(self, refuse: Callable[[Outgoing, str], None]) -> None:
        self._refuse = refuse
        self._open = Batch()

    def add(self, calls: Sequence[Outgoing], *, are_checked: bool = False) -> Iterator[Batch]:
        """Take calls, and yield every batch that they fill; those that `are_checked` are only measured."""
        allowed = calls if are_checked else [one for one in calls if self._allowed(one)]
        for at in range(0, len(allowed), GROUP):
            group = allowed[at : at + GROUP]
            for some, part in self._serialise(group):
                if not self._open.takes(len(part) + 1, len(some)):
                    yield from self.flush()
                self._open.add(some, part)

    def flush(self) -> Iterator[Batch]:
        """Yield the open batch, if it holds anything."""
        if self._open.calls:
            full, self._open = self._open, Batch()
            yield full

    def _allowed(self, one: Outgoing) -> bool:
        reason = refusal(one.call)
        if reason:
            self._refuse(one, reason)
        return not reason

    def _serialise(self, group: Sequence[Outgoing]) -> Iterator[tuple[Sequence[Outgoing], memoryview]]:
        """Serialise a group at once; only where that fails or is too large, each call by itself."""
        if not group:
            return
        try:
            text = orjson.dumps([one.call for one in group])
        except TypeError:  # orjson's refusal of huge integers and lone surrogates
            text = b""
        if text and len(text) <= EVENT_BYTES:
            yield group, memoryview(text)[1:-1]
            return
        for one in group:
            event, reason = _event(one.call)
            if reason:
                self._refuse(one, reason)
            else:
                yield [one], memoryview(event)


def _event(call: dict[str, Any]) -> tuple[bytes, str | None]:
    """Serialise one call: the bytes, or why there are none."""
    try:
        event = orjson.dumps(call)
    except TypeError:
        try:
            # slower, but integers of any size keep their exact value
            event = json.dumps(call, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            return b"", NOT_UTF8
        except (TypeError, ValueError, RecursionError):
            return b"", NOT_JSON
    return event, TOO_LARGE if len(event) > EVENT_BYTES else None
