"""The columns that a mapping reads: the keys after `properties` in its paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from dbt_segconn.mapping.path import relative, steps
from dbt_segconn.mapping.template import paths

PROPERTIES = "properties"
ALL_COLUMNS: Final = None
"""Result of `columns_used` if a mapping reads the whole record, or a path that depends on the record."""


def columns_used(mapping: Any) -> frozenset[str] | None:
    """Return the columns that a mapping reads, or ALL_COLUMNS."""
    return ALL_COLUMNS if ALL_COLUMNS in set(_columns(mapping)) else columns_named(mapping)


def columns_named(mapping: Any) -> frozenset[str]:
    """Return the columns that a mapping names, even if it also reads the whole record."""
    return frozenset(name for name in _columns(mapping) if name is not ALL_COLUMNS)


def _columns(value: Any) -> Iterator[str | None]:
    if isinstance(value, list):
        for one in value:
            yield from _columns(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _of_directive(key, one) if key.startswith("@") else _columns(one)


def _of_directive(name: str, value: Any) -> Iterator[str | None]:
    if name == "@arrayPath" and isinstance(value, list) and value:
        yield from _of_path(value[0])  # paths in the shape of an item start at the item
    elif name == "@path":
        yield from _of_path(value)
    elif name == "@template":
        yield from _of_texts(value, paths)
    elif name == "@liquid":
        from dbt_segconn.mapping.liquid import paths as liquid_paths

        yield from _of_texts(value, liquid_paths)
    elif name == "@transform" and isinstance(value, dict):
        yield from _columns(value.get("apply"))  # its `mapping` reads the result of `apply`
    else:
        yield from _columns(value)


def _of_texts(value: Any, paths_of: Any) -> Iterator[str | None]:
    if not isinstance(value, str):
        yield ALL_COLUMNS
        return
    for path in paths_of(value):
        yield from _of_path(path)


def _of_path(path: Any) -> Iterator[str | None]:
    if isinstance(path, dict):
        yield from _columns(path)
        if "@path" in path or "@template" in path or "@liquid" in path:
            yield ALL_COLUMNS  # the path depends on the record
        return
    keys = steps(relative(path)) if isinstance(path, str) else ()
    if not keys or keys == (PROPERTIES,):
        yield ALL_COLUMNS
    elif keys[0] == PROPERTIES:
        yield keys[1]


def uses(mapping: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every column that a mapping names, with the path of the value that reads it."""
    if isinstance(mapping, dict) and not any(key.startswith("@") for key in mapping):
        for key, one in mapping.items():
            yield from uses(one, (*path, key))
    elif isinstance(mapping, list):
        for at, one in enumerate(mapping):
            yield from uses(one, (*path, str(at)))
    else:
        yield from ((path, column) for column in sorted(columns_named(mapping)))
