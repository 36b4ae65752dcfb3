"""How counts and texts from data read, wherever they are shown."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Say how many there are of something: `1 mapping`, `1,000 mappings`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str, keep: str = "") -> str:
    """Escape what cannot be printed, except for the characters to `keep`."""
    return "".join(one if one.isprintable() or one in keep else ascii(one)[1:-1] for one in text)
