"""Paths into a payload: `a.b[0].c`, `a['b']`. The first `$.` is removed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dbt_segconn.mapping.javascript import MISSING, get_property, is_truthy

# A dot; `[` before a digit or a quote; a quote, with `]` if it follows; `]` after a digit.
# Other brackets are part of a key.
_SEPARATOR = re.compile(r"\.|\[(?=[\"'\d])|[\"']\]?|(?<=\d)\]", re.ASCII)

# [""] is an empty key; the two dots of a..b are not
_EMPTY_KEY = re.compile(r"\[(\"\"|'')\]")
_EMPTY = "\0"

Getter = Callable[[Any], Any]


def steps(path: str) -> tuple[str, ...]:
    """Split a path into keys. The empty path and `.` have none: they are the payload itself."""
    if path in {"", "."}:
        return ()
    pieces = _SEPARATOR.split(_EMPTY_KEY.sub(f".{_EMPTY}.", path))
    return tuple("" if piece == _EMPTY else piece for piece in pieces if piece)


def relative(path: str) -> str:
    """Remove the first `$.`, at any position."""
    return path.replace("$.", "", 1)


def compile_path(path: str) -> Getter:
    """Compile a path (without its `$.`) to a function from payload to value."""
    keys = steps(path)
    if not keys:
        return lambda payload: payload
    if len(keys) == 1:
        return _one_step(keys[0])
    if len(keys) == 2:
        return _two_steps(*keys)

    def get(payload: Any) -> Any:
        value = payload
        for key in keys:
            if type(value) is dict and value:
                value = value.get(key, MISSING)
            elif not is_truthy(value):
                return value  # as Segment does: a falsy value ends the path
            else:
                value = get_property(value, key)
        return value

    return get


def _one_step(key: str) -> Getter:
    def get(payload: Any) -> Any:
        if type(payload) is dict:
            return payload.get(key, MISSING)
        return get_property(payload, key) if is_truthy(payload) else payload

    return get


def _two_steps(first: str, second: str) -> Getter:
    """Compile a path of two keys, by far the most frequent: `$.properties.column`."""

    def get(payload: Any) -> Any:
        value = payload.get(first, MISSING) if type(payload) is dict else _step(payload, first)
        if type(value) is dict:
            return value.get(second, MISSING)
        return _step(value, second)

    return get


def _step(value: Any, key: str) -> Any:
    return get_property(value, key) if is_truthy(value) else value
