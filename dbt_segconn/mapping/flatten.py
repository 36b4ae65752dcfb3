"""@flatten: nested objects and arrays → one object whose keys are paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def flatten(value: Any, separator: str, *, omit_arrays: bool = False, prefix: str = "") -> dict[str, Any]:
    """Flatten a value; arrays stay as they are where they are omitted. Empty containers vanish."""
    return dict(_leaves(value, prefix, separator, omit_arrays=omit_arrays))


def _leaves(value: Any, prefix: str, separator: str, *, omit_arrays: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list) and not omit_arrays:
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        yield prefix, value
        return
    for key, item in items:
        path = f"{prefix}{separator}{key}" if prefix else key
        yield from _leaves(item, path, separator, omit_arrays=omit_arrays)
