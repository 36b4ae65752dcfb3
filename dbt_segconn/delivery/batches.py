"""Calls → batches of serialised events, within Segment's limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from dbt_segconn.limits import (
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


@dataclass(slots=True, repr=False)
class Batch:
    """The events of one request, serialised once for all attempts, with their changes' numbers.

    `is_repeated`: an attempt has had no answer, and may have arrived.
    """

    numbers: list[int] = field(default_factory=list)
    parts: list[memoryview] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    size: int = ENVELOPE_BYTES
    is_repeated: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def takes(self, size: int, events: int) -> bool:
        """Say whether so much more fits."""
        return self.size + size <= BATCH_BYTES and len(self.numbers) + events <= BATCH_EVENTS

    def add(self, numbers: Sequence[int], part: memoryview) -> None:
        """Add events, joined by commas."""
        self.numbers.extend(numbers)
        self.parts.append(part)
        self.counts.append(len(numbers))
        self.size += len(part) + 1

    def body(self, sent_at: datetime) -> bytes:
        """Return the request's JSON. `sentAt` is fresh on every attempt: Segment corrects times by it."""
        time = f"{sent_at:%Y-%m-%dT%H:%M:%S}.{sent_at.microsecond // 1000:03}Z".encode()
        return _HEAD + b",".join(self.parts) + _TAIL % (_LIBRARY, time)

    def halves(self) -> tuple[Batch, Batch]:
        """Split it in two, of the same events under the same messageIds."""
        halves = (Batch(is_repeated=self.is_repeated), Batch(is_repeated=self.is_repeated))
        for at, event in enumerate(self._events()):
            halves[at >= len(self) // 2].add([self.numbers[at]], event)
        return halves

    def _events(self) -> Iterator[memoryview]:
        """Take groups apart. What was serialised in a group can be read again without a loss."""
        for part, count in zip(self.parts, self.counts, strict=True):
            if count == 1:
                yield part
            else:
                yield from (memoryview(orjson.dumps(event)) for event in orjson.loads(b"[" + part + b"]"))


class Batcher:
    """Fills batches with calls in their order; what breaks a limit goes to `refuse` with number and reason.

    Calls are let go of once they are serialised: what waits to be sent is most of what a delivery holds in memory.
    """

    def __init__(self, refuse: Callable[[int, str], None]) -> None:
        self._refuse = refuse
        self._open = Batch()

    def add(
        self,
        numbers: Sequence[int],
        calls: Sequence[dict[str, Any]],
        *,
        are_checked: bool = False,
    ) -> Iterator[Batch]:
        """Take calls, and yield every batch that they fill; those that `are_checked` are only measured."""
        if not are_checked:
            allowed = [at for at, call in enumerate(calls) if self._allowed(numbers[at], call)]
            numbers, calls = [numbers[at] for at in allowed], [calls[at] for at in allowed]
        for at in range(0, len(calls), GROUP):
            group = slice(at, at + GROUP)
            for some, part in self._serialise(numbers[group], calls[group]):
                if not self._open.takes(len(part) + 1, len(some)):
                    yield from self.flush()
                self._open.add(some, part)

    def flush(self) -> Iterator[Batch]:
        """Yield the open batch, if it holds anything."""
        if self._open.numbers:
            full, self._open = self._open, Batch()
            yield full

    def _allowed(self, number: int, call: dict[str, Any]) -> bool:
        reason = refusal(call)
        if reason:
            self._refuse(number, reason)
        return not reason

    def _serialise(
        self, numbers: Sequence[int], calls: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[Sequence[int], memoryview]]:
        """Serialise a group at once; only where that fails or is too large, each call by itself."""
        try:
            text = orjson.dumps(calls)
        except TypeError:  # orjson's refusal of huge integers and lone surrogates
            text = b""
        if text and len(text) <= EVENT_BYTES:
            yield numbers, memoryview(text)[1:-1]
            return
        for number, call in zip(numbers, calls, strict=True):
            event, reason = _event(call)
            if reason:
                self._refuse(number, reason)
            else:
                yield [number], memoryview(event)


def refusal_of(call: dict[str, Any]) -> str | None:
    """Return why a batch would refuse a call by itself; None where it takes it."""
    return refusal(call) or _event(call)[1]


def _event(call: dict[str, Any]) -> tuple[bytes, str | None]:
    """Serialise one call: the bytes, or why there are none."""
    try:
        event = orjson.dumps(call)
    except TypeError as error:
        if "Recursion" in str(error):  # 254 levels deep; json's own limit differs from Python to Python
            return b"", NOT_JSON
        try:
            # slower, but integers of any size keep their exact value
            event = json.dumps(call, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            return b"", NOT_UTF8
        except (TypeError, ValueError, RecursionError):
            return b"", NOT_JSON
    return event, TOO_LARGE if len(event) > EVENT_BYTES else None
