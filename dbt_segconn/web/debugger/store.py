"""The calls that have arrived: the newest of them, and counts of all."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from dbt_segconn.web.debugger.rules import TYPES
from dbt_segconn.web.debugger.seen import SeenIds
from dbt_segconn.web.private import open_private

KEPT_CALLS = 10_000
KEPT_BYTES = 32_000_000
# What an entry takes beside its text
ENTRY_BYTES = 250
# So much of the log is written at once
LOG_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One call as JSON, its number in the order of arrival, and why it was dropped, if it was."""

    number: int
    type: Any
    dropped: str | None
    text: bytes

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.text) + ENTRY_BYTES

    def as_line(self) -> bytes:
        """Return the entry as a line of JSON."""
        call = orjson.Fragment(self.text)
        return orjson.dumps({"number": self.number, "dropped": self.dropped, "call": call}) + b"\n"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which calls to show: of one type, with a text anywhere, dropped or not; all by default."""

    type: str = ""
    text: str = ""
    dropped: bool | None = None

    def __call__(self, entry: Entry) -> bool:
        """Say whether an entry fits."""
        if self.type and entry.type != self.type:
            return False
        if self.dropped is not None and (entry.dropped is not None) is not self.dropped:
            return False
        return not self.text or self.text.casefold() in entry.text.decode().casefold()


ALL = Filter()


class Store:
    """Takes calls from any thread; keeps the newest, counts all, and appends them to a log.

    The log is JSON lines, for its owner alone to read: accepted calls as they are, and with `log_dropped` the others,
    too, each with its reason as `dropped`. OSError where it cannot be opened, or stays open to others.
    """

    def __init__(self, log: Path | None = None, *, log_dropped: bool = False) -> None:
        self._entries: deque[Entry] = deque()
        self._kept_bytes = 0
        self._seen = SeenIds()
        self._counts: Counter[str] = Counter()
        self._by_type: Counter[str] = Counter()
        self._by_reason: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._log: BinaryIO | None = open_private(log, appends=True) if log else None
        self._log_dropped = log_dropped
        self.last = 0
        self.cleared = 0

    def count_request(self) -> None:
        """Count a request, refused or not."""
        self._counts["requests"] += 1

    def add(self, calls: Iterable[tuple[dict[str, Any], str | None]]) -> None:
        """Take calls, each with the reason why it is dropped, if it is. A messageId counts once."""
        lines = bytearray()
        with self._guard:
            for call, reason in calls:
                dropped = reason or self._duplicate(call.get("messageId"))
                # a copy of its very size: what orjson returns leaves gaps in memory that nothing else fits
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
        """Keep an entry, and let go of the oldest ones that are too many with it."""
        self._entries.append(entry)
        self._kept_bytes += entry.size
        while len(self._entries) > KEPT_CALLS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= self._entries.popleft().size

    def _write(self, lines: bytearray) -> None:
        """Append lines to the log; a full disk is told of by the counts, and refuses no calls."""
        try:
            if self._log is not None:
                self._log.write(lines)
        except OSError:
            self._counts["not_logged"] += lines.count(b"\n")
        lines.clear()

    def _duplicate(self, message_id: Any) -> str | None:
        return None if not message_id or self._seen.add(str(message_id)) else "messageId seen before"

    def _count(self, type_: Any, dropped: str | None) -> None:
        self.last += 1
        self._counts["received"] += 1
        self._by_type[type_ if type_ in TYPES else "unknown"] += 1
        if dropped:
            self._by_reason[dropped] += 1

    def newest(self, fits: Filter = ALL, *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return the newest calls that fit and came after number `after`, newest first."""
        with self._guard:
            entries = list(takewhile(lambda one: one.number > after, reversed(self._entries)))
        return list(islice(filter(fits, entries), limit))

    def stats(self) -> dict[str, Any]:
        """Return the counts of all calls since the start, or since they were cleared; `let_go` are kept no more."""
        with self._guard:
            received, dropped = self._counts["received"], self._by_reason.total()
            return {
                "requests": self._counts["requests"],
                "received": received,
                "accepted": received - dropped,
                "dropped": dropped,
                "let_go": received - len(self._entries),
                "not_logged": self._counts["not_logged"],
                "by_type": dict(self._by_type),
                "by_reason": dict(self._by_reason),
            }

    def clear(self) -> None:
        """Forget the calls and the counts; messageIds stay known, as Segment's do."""
        with self._guard:
            self._entries.clear()
            self._kept_bytes = 0
            for counter in (self._counts, self._by_type, self._by_reason):
                counter.clear()
            self.cleared += 1

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
