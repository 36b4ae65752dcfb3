"""Which messageIds have come before, in little memory."""

from __future__ import annotations

from array import array

REMEMBERED = 1_000_000
_SLOTS = 1 << 21  # at most half full, so that a search ends after a step or two


class SeenIds:
    """Remembers the last 1,000,000 to 2,000,000 messageIds in 16 MB each million; Segment does for a day or more.

    Only 64 bits of each are kept, under Python's own keyed hash: that a new one is taken for an old one
    happens once in about 10^13. Two tables take turns, so that forgetting costs nothing.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._young, self._old = _table(), _table()
        self._count = 0

    def add(self, message_id: str) -> bool:
        """Remember a messageId; False where it has been seen before."""
        mark = hash(message_id) & 0xFFFF_FFFF_FFFF_FFFF or 1
        if self._old[_slot(self._old, mark)] == mark:
            return False
        slot = _slot(self._young, mark)
        if self._young[slot] == mark:
            return False
        self._young[slot] = mark
        self._count += 1
        if self._count == self._remembered:
            self._young, self._old, self._count = _table(), self._young, 0
        return True


def _table() -> array[int]:
    return array("Q", bytes(8)) * _SLOTS


def _slot(table: array[int], mark: int) -> int:
    """Find the slot that holds a mark, or the free one where it belongs."""
    slot = mark % _SLOTS
    while table[slot] not in (0, mark):
        slot = (slot + 1) % _SLOTS
    return slot
