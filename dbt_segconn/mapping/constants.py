"""Constants of a mapping: values without data of the record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dbt_segconn.mapping.path import relative, steps
from dbt_segconn.mapping.template import paths

# Keys of the payload that are the same for all records
_SHARED = frozenset({"type", "event", "receivedAt"})


def is_constant(value: Any) -> bool:
    """Return whether a value never contains data of the record.

    An @if is constant if both of its branches are constant, whatever its condition. @literal evaluates its content.
    """
    if isinstance(value, list):
        return all(map(is_constant, value))
    if not isinstance(value, dict):
        return True
    names = [key for key in value if key.startswith("@")]
    if not names:
        return all(map(is_constant, value.values()))
    return len(names) == 1 and _is_constant_directive(names[0], value[names[0]])


def _is_constant_directive(name: str, argument: Any) -> bool:
    if name in {"@path", "@template", "@liquid"}:
        return isinstance(argument, str) and all(map(_is_shared, _PATHS[name](argument)))
    if name == "@arrayPath":
        return isinstance(argument, list) and bool(argument) and _is_constant_directive("@path", argument[0])
    options = argument if isinstance(argument, dict) else {}
    if name == "@if":
        return is_constant([options.get("then"), options.get("else")])
    if name == "@transform":
        return is_constant(options.get("apply")) or is_constant(options.get("mapping"))
    if name == "@merge":
        return is_constant(options.get("objects"))
    if name in {"@literal", "@excludeWhenNull"}:
        return is_constant(argument)
    return is_constant(options.get("value"))


def _is_shared(path: str) -> bool:
    keys = steps(path)
    return bool(keys) and keys[0] in _SHARED


def _of_liquid(template: str) -> Iterable[str]:
    """Return the paths of a template with output; without `{{`, it prints only its own text."""
    from dbt_segconn.mapping.liquid import paths as liquid_paths

    return liquid_paths(template) if "{{" in template else ()


_PATHS: dict[str, Callable[[str], Iterable[str]]] = {
    "@path": lambda path: (relative(path),),
    "@template": paths,
    "@liquid": _of_liquid,
}
