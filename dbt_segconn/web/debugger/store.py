"""Calls that have arrived: the newest calls, counts of all calls, and known messageIds."""

from __future__ import annotations

import threading
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from dbt_segconn.web.debugger.ingestion import CALL_TYPES
from dbt_segconn.web.files import open_private

KEPT_CALLS = 10_000
KEPT_BYTES = 32_000_000
# Approximate memory of an entry besides its text
ENTRY_BYTES = 250
# Size of one write to the log
LOG_BYTES = 1_000_000
KNOWN_IDS = 1_000_000
_SLOTS = 1 << 21  # a table is at most half full, so that a lookup takes one or two steps


@dataclass(frozen=True, slots=True)
class Entry:
    """One call as JSON, its number in the order of arrival, and the reason if it was dropped."""

    number: int
    type: Any
    dropped: str | None
    text: bytes

    @property
    def size(self) -> int:
        """The approximate memory of the entry in bytes."""
        return len(self.text) + ENTRY_BYTES

    def as_line(self) -> bytes:
        """Return the entry as a line of JSON."""
        call = orjson.Fragment(self.text)
        return orjson.dumps({"number": self.number, "dropped": self.dropped, "call": call}) + b"\n"


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of calls by type, by text anywhere in the call, and by whether they were dropped."""

    type: str = ""
    text: str = ""
    dropped: bool | None = None

    def __call__(self, entry: Entry) -> bool:
        """Return whether an entry matches."""
        if self.type and entry.type != self.type:
            return False
        if self.dropped is not None and (entry.dropped is not None) is not self.dropped:
            return False
        return not self.text or self.text.casefold() in entry.text.decode().casefold()


ALL = Filter()


class Store:
    """A thread-safe store that keeps the newest calls, counts all calls, and appends them to a log.

    The log is JSON lines in a private file: accepted calls, and with `log_dropped` also dropped calls, with the
    reason in `dropped`. Raises OSError if the log cannot be opened or made private.
    """

    def __init__(self, log: Path | None = None, *, log_dropped: bool = False) -> None:
        self._entries: deque[Entry] = deque()
        self._kept_bytes = 0
        self._seen = SeenIds()
        self._counts: Counter[str] = Counter()
        self._by_type: Counter[str] = Counter()
        self._by_reason: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._log: BinaryIO | None = open_private(log, appends=True) if log else None
        self._log_dropped = log_dropped
        self.last = 0
        self.cleared = 0  # tells pages to remove their calls

    def count_request(self) -> None:
        """Count a request, also one that gets an error."""
        self._counts["requests"] += 1

    def add(self, calls: Iterable[tuple[dict[str, Any], str | None]]) -> None:
        """Add calls, each with its drop reason or None. A call with a known messageId is dropped."""
        lines = bytearray()
        with self._lock:
            for call, reason in calls:
                dropped = reason or self._duplicate(call.get("messageId"))
                # a copy of the exact size: orjson's own bytes have a larger buffer, and leave gaps in the heap
                text = bytes(memoryview(orjson.dumps(call)))
                self._count(call.get("type"), dropped)
                self._keep(Entry(self.last, call.get("type"), dropped, text))
                if dropped is None:
                    lines += text + b"\n"
                elif self._log_dropped:
                    lines += orjson.dumps({**call, "dropped": dropped}) + b"\n"
                if len(lines) > LOG_BYTES:
                    self._write(lines)
            self._write(lines)

    def _keep(self, entry: Entry) -> None:
        """Add an entry, and evict the oldest entries beyond the limits."""
        self._entries.append(entry)
        self._kept_bytes += entry.size
        while len(self._entries) > KEPT_CALLS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= self._entries.popleft().size

    def _write(self, lines: bytearray) -> None:
        """Append lines to the log. Count them in `not_logged` if the disk is full; their calls stay accepted."""
        try:
            if self._log is not None:
                self._log.write(lines)
        except OSError:
            self._counts["not_logged"] += lines.count(b"\n")
        lines.clear()

    def _duplicate(self, message_id: Any) -> str | None:
        return None if not message_id or self._seen.add(str(message_id)) else "messageId seen before"

    def _count(self, call_type: Any, dropped: str | None) -> None:
        self.last += 1
        self._counts["received"] += 1
        # senders may invent any number of types: memory stays bounded
        self._by_type[call_type if call_type in CALL_TYPES else "unknown"] += 1
        if dropped:
            self._by_reason[dropped] += 1

    def newest(self, matches: Filter = ALL, *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return the newest matching calls with numbers above `after`, newest first."""
        with self._lock:
            # a copy: matching takes long, and arriving calls must not wait for it
            entries = list(takewhile(lambda entry: entry.number > after, reversed(self._entries)))
        return list(islice(filter(matches, entries), limit))

    def stats(self) -> dict[str, Any]:
        """Return the counts of all calls since the start or the last `clear`. `evicted` calls are no longer kept."""
        with self._lock:
            received, dropped = self._counts["received"], self._by_reason.total()
            return {
                "requests": self._counts["requests"],
                "received": received,
                "accepted": received - dropped,
                "dropped": dropped,
                "evicted": received - len(self._entries),
                "not_logged": self._counts["not_logged"],
                "by_type": dict(self._by_type),
                "by_reason": dict(self._by_reason),
            }

    def clear(self) -> None:
        """Delete the calls and the counts. MessageIds stay known, as in Segment."""
        with self._lock:
            self._entries.clear()
            self._kept_bytes = 0
            for counter in (self._counts, self._by_type, self._by_reason):
                counter.clear()
            self.cleared += 1

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()


class SeenIds:
    """A set of the last 1,000,000 to 2,000,000 messageIds, in two tables of 16 MB. Segment keeps them for a day.

    It stores 64 bits of Python's keyed hash of each messageId. A new messageId is taken for a known one once in
    about 10^13. When the young table is full, it replaces the old one, so that deletion needs no search.
    """

    def __init__(self, known: int = KNOWN_IDS) -> None:
        self._known = known
        self._young, self._old = _empty_table(), _empty_table()
        self._count = 0

    def add(self, message_id: str) -> bool:
        """Add a messageId. Return False if it is already known."""
        mark = hash(message_id) & 0xFFFF_FFFF_FFFF_FFFF or 1  # 0 is a free slot
        if self._old[_slot(self._old, mark)] == mark:
            return False
        slot = _slot(self._young, mark)
        if self._young[slot] == mark:
            return False
        self._young[slot] = mark
        self._count += 1
        if self._count == self._known:
            self._young, self._old, self._count = _empty_table(), self._young, 0
        return True


def _empty_table() -> array[int]:
    return array("Q", bytes(8)) * _SLOTS


def _slot(table: array[int], mark: int) -> int:
    """Return the slot that holds a mark, or the free slot for it."""
    slot = mark % _SLOTS
    while table[slot] not in (0, mark):
        slot = (slot + 1) % _SLOTS
    return slot
