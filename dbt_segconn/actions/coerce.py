"""Values → the types of their fields, by the rules of the JSON Schema validator that Segment uses.

Ajv with `coerceTypes: "array"`: https://ajv.js.org/coercion.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dbt_segconn.actions.fields import Field
from dbt_segconn.mapping.javascript import MISSING, to_number, to_text, type_of

Coerce = Callable[[Any, list[str]], Any]


def coercion(field: Field) -> Coerce:
    """Compile a field's coercion: the function returns the coerced value, or appends to `problems`."""
    if field.type == "object":
        return _fixed_object(field) if field.properties else _any_object(field)
    convert = _CONVERTERS[field.type]

    def coerce(value: Any, problems: list[str]) -> Any:
        single = value[0] if type(value) is list and len(value) == 1 else value
        converted = convert(single)
        if converted is MISSING:
            problems.append(_mismatch(field, single))
        return converted

    return _text_first(coerce) if field.type == "string" else coerce


def _text_first(coerce: Coerce) -> Coerce:
    """Return a text unchanged, by far the most frequent case; coerce any other value."""
    return lambda value, problems: value if type(value) is str else coerce(value, problems)


def _mismatch(field: Field, value: Any) -> str:
    actual = type_of(value)
    return f"{field.label} must be {_with_article(field.type)} but it was {_with_article(actual)}."


def _with_article(type_name: str) -> str:
    return f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}"


def _any_object(field: Field) -> Coerce:
    def coerce(value: Any, problems: list[str]) -> Any:
        if type(value) is not dict:
            problems.append(_mismatch(field, value))
        return value

    return coerce


def _fixed_object(field: Field) -> Coerce:
    """Compile the coercion of an object with fixed properties; it drops nulls and unknown keys."""
    coercions: Mapping[str, tuple[Coerce, bool]] = {
        one.name: (coercion(one), one.type != "string") for one in field.properties
    }

    def coerce(value: Any, problems: list[str]) -> Any:
        if type(value) is not dict:
            problems.append(_mismatch(field, value))
            return value
        wrong: dict[str, list[str]] = {}
        kept = {}
        for name, one in value.items():
            known = coercions.get(name)
            if known is not None and one is not None and not (one == "" and known[1]):
                kept[name] = known[0](one, wrong.setdefault(name, []))
        problems.extend(text for name in coercions for text in wrong.get(name, ()))
        return kept

    return coerce


def _to_string(value: Any) -> Any:
    if isinstance(value, (str, bool, int, float)):
        return to_text(value)
    return "" if value is None else MISSING


def _to_number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and value:
        number = to_number(value)
        return MISSING if number is None else number
    return 0 if value is None else MISSING


def _to_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if value == "true" or (type(value) in {int, float} and value == 1):
        return True
    if value is None or value == "false" or (type(value) in {int, float} and value == 0):
        return False
    return MISSING


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _to_string,
    "number": _to_number,
    "boolean": _to_boolean,
}
