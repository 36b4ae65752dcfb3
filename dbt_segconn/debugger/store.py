"""The calls that have arrived: the newest of them, and counts of all."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

KEPT_CALLS = 10_000
# 16 bytes each: Segment remembers messageIds for a day or more, the debugger so many
KEPT_MESSAGE_IDS = 2_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One call: its number in the order of arrival, and why it was dropped, if it was."""

    number: int
    call: dict[str, Any]
    dropped: str | None

    def as_json(self) -> dict[str, Any]:
        """Return what the page and the log show."""
        return {"number": self.number, "dropped": self.dropped, "call": self.call}


class Store:
    """Takes calls from any thread; keeps the newest, counts all, and appends accepted ones to a log."""

    def __init__(self, log: Path | None = None, kept: int = KEPT_CALLS) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._by_type: Counter[str] = Counter()
        self._by_reason: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._log: BinaryIO | None = log.open("ab", buffering=0) if log else None
        self.last = 0

    def count_request(self) -> None:
        """Count a request."""
        self._counts["requests"] += 1

    def add(self, calls: list[tuple[dict[str, Any], str | None]]) -> None:
        """Take calls, each with the reason why it is dropped, if it is. A messageId counts once."""
        with self._guard:
            entries = [self._entry(call, dropped) for call, dropped in calls]
            self._entries.extend(entries)
            if self._log is not None:
                self._log.write(b"".join(orjson.dumps(one.call) + b"\n" for one in entries if not one.dropped))

    def _entry(self, call: dict[str, Any], dropped: str | None) -> Entry:
        dropped = dropped or self._duplicate(call.get("messageId"))
        self.last += 1
        self._counts["received"] += 1
        self._counts["dropped" if dropped else "accepted"] += 1
        self._by_type[str(call.get("type"))[:20]] += 1
        if dropped:
            self._by_reason[dropped] += 1
        return Entry(self.last, call, dropped)

    def _duplicate(self, message_id: Any) -> str | None:
        if not message_id:
            return None
        digest = hashlib.blake2b(str(message_id).encode("utf-8", "replace"), digest_size=16).digest()
        if digest in self._seen:
            return "messageId seen before"
        self._seen[digest] = None
        if len(self._seen) > KEPT_MESSAGE_IDS:
            self._seen.popitem(last=False)
        return None

    def newest(
        self, *, limit: int, after: int = 0, type_: str = "", text: str = "", dropped: bool | None = None
    ) -> list[Entry]:
        """Return the newest calls that fit, newest first."""
        with self._guard:
            entries = list(self._entries)
        return list(_first(limit, (one for one in reversed(entries) if _fits(one, after, type_, text, dropped))))

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def stats(self) -> dict[str, Any]:
        """Return the counts of all calls since the start, or since they were cleared."""
        counts = {name: self._counts[name] for name in ("requests", "received", "accepted", "dropped")}
        return {**counts, "by_type": dict(self._by_type), "by_reason": dict(self._by_reason)}

    def clear(self) -> None:
        """Forget the calls and the counts; messageIds stay known, as Segment's do."""
        with self._guard:
            self._entries.clear()
            for counter in (self._counts, self._by_type, self._by_reason):
                counter.clear()


def _fits(entry: Entry, after: int, type_: str, text: str, dropped: bool | None) -> bool:  # noqa: FBT001  private
    if entry.number <= after or (type_ and entry.call.get("type") != type_):
        return False
    if dropped is not None and bool(entry.dropped) is not dropped:
        return False
    return not text or text.casefold() in orjson.dumps(entry.call).decode().casefold()


def _first(limit: int, entries: Iterator[Entry]) -> Iterator[Entry]:
    for _, entry in zip(range(limit), entries, strict=False):
        yield entry
