"""Which values of a mapping are the same for every record, or one of a few that the mapping spells out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dbt_segconn.mapping.path import relative, steps
from dbt_segconn.mapping.template import paths

# Keys of Segment's envelope that do not differ from record to record
_SHARED = frozenset({"type", "event", "receivedAt"})


def is_constant(value: Any) -> bool:
    """Whether no record can fill a value of a mapping with anything of its own.

    An @if is constant if both of its branches are, whatever it asks; @literal evaluates what is in it.
    """
    if isinstance(value, list):
        return all(map(is_constant, value))
    if not isinstance(value, dict):
        return True
    names = [key for key in value if key.startswith("@")]
    if not names:
        return all(map(is_constant, value.values()))
    return len(names) == 1 and _is_constant_directive(names[0], value[names[0]])


def _is_constant_directive(name: str, given: Any) -> bool:
    if name in {"@path", "@template", "@liquid"}:
        return isinstance(given, str) and all(map(_is_shared, _PATHS[name](given)))
    if name == "@arrayPath":
        return isinstance(given, list) and bool(given) and _is_constant_directive("@path", given[0])
    options = given if isinstance(given, dict) else {}
    if name == "@if":
        return is_constant([options.get("then"), options.get("else")])
    if name == "@transform":
        return is_constant(options.get("apply")) or is_constant(options.get("mapping"))
    if name == "@merge":
        return is_constant(options.get("objects"))
    if name in {"@literal", "@excludeWhenNull"}:
        return is_constant(given)
    return is_constant(options.get("value"))


def _is_shared(path: str) -> bool:
    keys = steps(path)
    return bool(keys) and keys[0] in _SHARED


def _of_liquid(template: str) -> Iterable[str]:
    """List the paths of a template that prints anything; its tags alone print what stands in it."""
    from dbt_segconn.mapping.liquid import paths as liquid_paths

    return liquid_paths(template) if "{{" in template else ()


_PATHS: dict[str, Callable[[str], Iterable[str]]] = {
    "@path": lambda path: (relative(path),),
    "@template": paths,
    "@liquid": _of_liquid,
}
