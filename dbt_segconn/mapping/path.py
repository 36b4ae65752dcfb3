"""Paths into a payload: `a.b[0].c`, `a['b']`; and @template, a text with placeholders of paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from dbt_segconn.mapping.javascript import MISSING, WHITE_SPACE, get_property, is_truthy, joined, to_text

# A dot; `[` before a digit or a quote; a quote, with `]` if it follows; `]` after a digit.
# Other brackets are part of a key.
_SEPARATOR = re.compile(r"\.|\[(?=[\"'\d])|[\"']\]?|(?<=\d)\]", re.ASCII)

# `[""]` is a key with an empty name, but `a..b` has no key between its dots. The split leaves an empty piece for both,
# so _EMPTY marks the key until the empty pieces are dropped
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
    """Remove the first `$.`, at any position, as Segment's code does."""
    return path.replace("$.", "", 1)


def column_at(keys: tuple[str, ...]) -> str | None:
    """Return the column at the keys of a path; None if they lead to another value."""
    return keys[1] if len(keys) == 2 and keys[0] == "properties" else None


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
            value = value.get(key, MISSING) if type(value) is dict else _step(value, key)
        return value

    return get


def _one_step(key: str) -> Getter:
    def get(payload: Any) -> Any:
        return payload.get(key, MISSING) if type(payload) is dict else _step(payload, key)

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
    """Return `value[key]`; as in Segment's code, a falsy value ends the path and is its result."""
    return get_property(value, key) if is_truthy(value) else value


_TRIPLE = re.compile(r"\{\{\{([^}]+)\}\}\}")
_DOUBLE = re.compile(r"\{\{([^}]+)\}\}")


def compile_template(template: str) -> Callable[[Any], str]:
    """Compile a template. As in Segment, the value of a {{{path}}} may itself contain {{path}}."""
    if _TRIPLE.search(template):
        triple = _compile(template, _TRIPLE)
        return lambda payload: _compile(triple(payload), _DOUBLE)(payload)
    return _compile(template, _DOUBLE)


def split_template(template: str) -> list[str] | None:
    """Split a template into texts and paths in turn; None if it has a {{{path}}}, whose value may contain paths."""
    if _TRIPLE.search(template):
        return None
    pieces = _DOUBLE.split(template)
    pieces[1::2] = [path.strip(WHITE_SPACE) for path in pieces[1::2]]
    return pieces


def _compile(template: str, placeholder: re.Pattern[str]) -> Callable[[Any], str]:
    pieces = placeholder.split(template)  # text, path, text, path, …, text
    texts = pieces[::2]
    # str.strip() alone would also remove \x1c to \x1f and \x85, which JavaScript's trim() keeps
    getters = [compile_path(path.strip(WHITE_SPACE)) for path in pieces[1::2]]
    if not getters:
        return lambda payload: template  # noqa: ARG005  the signature of all evaluators
    first, rest = texts[0], list(zip(getters, texts[1:], strict=True))

    def render(payload: Any) -> str:
        parts = [first]
        for get, text in rest:
            value = get(payload)
            if type(value) is str:
                parts.append(value)
            elif value is not None and value is not MISSING:
                parts.append(to_text(value))
            parts.append(text)
        return joined("".join(parts))

    return render


def paths(template: str) -> Iterator[str]:
    """Yield the paths that a template reads."""
    for placeholder in (_TRIPLE, _DOUBLE):
        for match in placeholder.finditer(template):
            yield match[1].strip(WHITE_SPACE)
