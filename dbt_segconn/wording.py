"""How counts read, wherever they are shown."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Say how many there are of something: `1 mapping`, `1,000 mappings`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
