"""Calls → batches: serialised, within Segment's limits, each ready to be the body of a request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from dbt_segconn.limits import BATCH_BYTES, BATCH_CALLS, CALL_BYTES, NOT_JSON, NOT_UTF8, TOO_LARGE, violation
from dbt_segconn.version import __version__

# Calls serialised at once: if the chunk is within CALL_BYTES, so is each of its calls
CHUNK = 64

_LIBRARY = orjson.dumps({"library": {"name": "dbt-segconn", "version": __version__}})
_HEAD = b'{"batch":['
_TAIL = b'],"context":%b,"sentAt":"%b"}'
# The bytes that body() adds to the calls; every `sentAt` has this width
ENVELOPE_BYTES = len(_HEAD) + len(_TAIL % (_LIBRARY, b"2026-01-02T03:04:05.678Z"))


# Between two calls that the warehouse has written; no call contains a line feed
SEPARATOR = b",\n"


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """Serialised calls, joined by commas; `last` is the highest of their change numbers.

    `numbers` are the change numbers. It is None if the warehouse has written the calls, joined by SEPARATOR: their
    messageIds end with the numbers.
    """

    text: memoryview | bytes
    count: int
    last: int
    numbers: Sequence[int] | None = None

    def calls(self) -> Iterator[Chunk]:
        """Yield each call as a chunk. Chunks of several calls come from orjson, which reads them back exactly."""
        if self.numbers is None:
            for text in bytes(self.text).split(SEPARATOR):
                number = int(text[text.rindex(b"-") + 1 : -2])  # …"messageId":"prefix-number"}
                yield Chunk(text, 1, number, [number])
        elif self.count == 1:
            yield self
        else:
            for number, call in zip(self.numbers, orjson.loads(b"[" + self.text + b"]"), strict=True):
                yield Chunk(orjson.dumps(call), 1, number, [number])


@dataclass(slots=True, repr=False)
class Batch:
    """The serialised calls of one request. `is_repeated`: an attempt had no answer and may have arrived."""

    chunks: list[Chunk] = field(default_factory=list)
    count: int = 0
    size: int = ENVELOPE_BYTES
    is_repeated: bool = False

    def __len__(self) -> int:
        return self.count

    def has_room(self, chunk: Chunk) -> bool:
        """Return whether these calls fit, too."""
        return self.size + len(chunk.text) + 1 <= BATCH_BYTES and self.count + chunk.count <= BATCH_CALLS

    def add(self, chunk: Chunk) -> None:
        """Add serialised calls."""
        self.chunks.append(chunk)
        self.count += chunk.count
        self.size += len(chunk.text) + 1

    def body(self, sent_at: datetime) -> bytes:
        """Return the request's JSON. Segment corrects timestamps by `sentAt`, so it is new for each attempt."""
        time = f"{sent_at:%Y-%m-%dT%H:%M:%S}.{sent_at.microsecond // 1000:03}Z".encode()
        return _HEAD + b",".join([chunk.text for chunk in self.chunks]) + _TAIL % (_LIBRARY, time)

    def split(self) -> tuple[Batch, Batch]:
        """Return two batches with half of the calls each, under the same messageIds."""
        halves = (Batch(is_repeated=self.is_repeated), Batch(is_repeated=self.is_repeated))
        for at, call in enumerate(self.calls()):
            halves[at >= len(self) // 2].add(call)
        return halves

    def calls(self) -> Iterator[Chunk]:
        """Yield each call as a chunk with its change number."""
        for chunk in self.chunks:
            yield from chunk.calls()


class Batcher:
    """Fill batches with calls in order. A call that violates a limit goes to `discard`, with number and reason.

    Calls are freed after serialisation: batches in the queue take most of the memory of a delivery.
    """

    def __init__(self, discard: Callable[[int, str], None]) -> None:
        self._discard = discard
        self._open = Batch()

    def add(self, numbers: Sequence[int], calls: Sequence[dict[str, Any]]) -> Iterator[Batch]:
        """Add calls and yield each full batch."""
        valid = [at for at, call in enumerate(calls) if self._is_valid(numbers[at], call)]
        if len(valid) < len(calls):
            numbers, calls = [numbers[at] for at in valid], [calls[at] for at in valid]
        for at in range(0, len(calls), CHUNK):
            some = slice(at, at + CHUNK)
            for chunk in self._serialise(numbers[some], calls[some]):
                yield from self.add_chunk(chunk)

    def add_chunk(self, chunk: Chunk) -> Iterator[Batch]:
        """Add serialised calls of valid size and yield each full batch."""
        if not Batch().has_room(chunk):
            for one in chunk.calls():
                yield from self.add_chunk(one)
            return
        if not self._open.has_room(chunk):
            yield from self.flush()
        self._open.add(chunk)

    def flush(self) -> Iterator[Batch]:
        """Yield the open batch unless it is empty."""
        if self._open.count:
            full, self._open = self._open, Batch()
            yield full

    def _is_valid(self, number: int, call: dict[str, Any]) -> bool:
        reason = violation(call)
        if reason:
            self._discard(number, reason)
        return not reason

    def _serialise(self, numbers: Sequence[int], calls: Sequence[dict[str, Any]]) -> Iterator[Chunk]:
        """Serialise a chunk at once; if that fails or is too large, serialise each call."""
        try:
            text = orjson.dumps(calls)
        except TypeError:  # huge integers, lone surrogates
            text = b""
        if text and len(text) <= CALL_BYTES:
            yield Chunk(memoryview(text)[1:-1], len(numbers), numbers[-1], numbers)
            return
        for number, call in zip(numbers, calls, strict=True):
            serialised, reason = _serialise_call(call)
            if reason:
                self._discard(number, reason)
            else:
                yield Chunk(serialised, 1, number, [number])


def discard_reason(call: dict[str, Any]) -> str | None:
    """Return the reason for which a Batcher discards this call; None for a valid call."""
    return violation(call) or _serialise_call(call)[1]


def _serialise_call(call: dict[str, Any]) -> tuple[bytes, str | None]:
    """Return the JSON of one call, and the reason to discard it, if any."""
    try:
        serialised = orjson.dumps(call)
    except TypeError as error:
        if "Recursion" in str(error):  # above 254 levels; the limit of json differs between Python versions
            return b"", NOT_JSON
        try:
            # slower than orjson, but exact for integers of any size
            serialised = json.dumps(call, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            return b"", NOT_UTF8
        except (TypeError, ValueError, RecursionError):
            return b"", NOT_JSON
    return serialised, TOO_LARGE if len(serialised) > CALL_BYTES else None
