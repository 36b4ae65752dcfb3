"""Types of fields: coercion and JSON Schema, by the rules of the validator that Segment's destination uses."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dbt_segconn.actions.fields import Field, find_action
from dbt_segconn.mapping.compiler import ROOT_DIRECTIVE, is_directive
from dbt_segconn.mapping.directives import DIRECTIVE, METADATA
from dbt_segconn.mapping.javascript import MISSING, to_number, to_text, type_of
from dbt_segconn.mapping.problems import with_article
from dbt_segconn.mapping.schema import AT_KEY, FIELD

Coerce = Callable[[Any, list[str]], Any]


def coercion(field: Field) -> Coerce:
    """Compile a field's coercion: the function returns the coerced value, or appends to `problems`.

    Segment's destination validates with Ajv: https://ajv.js.org/coercion.html
    """
    if field.type == "object":
        return _fixed_object(field) if field.properties else _any_object(field)
    convert = _CONVERTERS[field.type]

    def coerce(value: Any, problems: list[str]) -> Any:
        single = value[0] if type(value) is list and len(value) == 1 else value  # by Ajv's option coerceTypes: "array"
        converted = convert(single)
        if converted is MISSING:
            problems.append(_mismatch(field, single))
        return converted

    if field.type == "string":  # a text stays as it is, by far the most frequent case
        return lambda value, problems: value if type(value) is str else coerce(value, problems)
    return coerce


def _mismatch(field: Field, value: Any) -> str:
    return f"{field.label} must be {with_article(field.type)} but it was {with_article(type_of(value))}."


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
            # as in Segment's destination, '' stays for a text and is removed for a number or boolean
            if known is not None and one is not None and not (one == "" and known[1]):
                kept[name] = known[0](one, wrong.setdefault(name, []))
        # Ajv reports problems in the order of the schema, not of the record
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
    if isinstance(value, str) and value:  # Number("") is 0, but Ajv accepts no empty text
        number = to_number(value)
        return MISSING if number is None else number
    return 0 if value is None else MISSING


def _to_boolean(value: Any) -> Any:
    if value is None:
        return False
    return _BOOLEANS.get(value, MISSING) if isinstance(value, (str, int, float)) else MISSING


# Ajv accepts no other values: neither "yes" nor 2. In Python, 1, 1.0 and True are one key
_BOOLEANS: dict[str | float, bool] = {"true": True, "false": False, 1: True, 0: False}


# Ajv converts null to '', 0 or false. Only a null in a list of one item arrives here: other nulls are removed before
_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _to_string,
    "number": _to_number,
    "boolean": _to_boolean,
}


# Settings of Segment's user interface in exported mappings; they do not change the call
_OF_SEGMENT = frozenset({ROOT_DIRECTIVE, METADATA, "enable_batching", "batch_size", "engage_space"})


# Every action requires one of these
IDENTITY = ("user_id", "anonymous_id")


def unknown_fields(action: str, fields: Any) -> tuple[tuple[tuple[str, ...], str | None], ...]:
    """Return the mapped fields that the action does not have: path, and nearest name or None.

    Segment's destination drops such fields silently, so that a typo would lose a value.
    """
    return tuple(_unknown(fields, find_action(action).fields, ()))


def missing_fields(action: str, fields: Any) -> tuple[str, ...]:
    """Return the required fields that are not mapped; of the two ids, one is enough: `user_id or anonymous_id`."""
    if is_directive(fields):
        return ()  # its fields depend on the record
    required = [field.name for field in find_action(action).fields if field.required]
    missing = [name for name in required if not _is_mapped(fields, name)]
    if not any(_is_mapped(fields, name) for name in IDENTITY):
        missing.append(" or ".join(IDENTITY))
    return tuple(missing)


def _is_mapped(fields: Mapping[str, Any], name: str) -> bool:
    return fields.get(name) not in (None, "")  # a tuple, because objects and arrays have no hash


def _unknown(
    fields: Any, known: Iterable[Field], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str | None]]:
    if not isinstance(fields, Mapping) or any(str(key).startswith("@") for key in fields):
        return
    by_name = {field.name: field for field in known}
    for key, value in fields.items():
        field = by_name.get(key)
        if field is None and key not in _OF_SEGMENT:
            near = difflib.get_close_matches(str(key), by_name, n=1)
            yield (*path, str(key)), near[0] if near else None
        elif field is not None and field.properties:
            yield from _unknown(value, field.properties, (*path, str(key)))


def fields_schema(action: str) -> dict[str, Any]:
    """Return the JSON Schema of an action's `fields`, for editors; it refers to `mapping.schema.definitions`."""
    definition = find_action(action)
    required = [{"required": [field.name]} for field in definition.fields if field.required]
    mapped = [{"properties": {name: {"not": {"enum": ["", None]}}}, "required": [name]} for name in IDENTITY]
    return {
        "if": {"anyOf": [AT_KEY, {"required": [ROOT_DIRECTIVE]}]},
        "then": {"if": AT_KEY, "then": DIRECTIVE},
        "else": {
            "type": "object",
            "description": definition.description,
            "properties": {
                **{field.name: _schema(field, required=field.required) for field in definition.fields},
                **dict.fromkeys(sorted(_OF_SEGMENT), True),
            },
            "allOf": [*required, {"anyOf": mapped}],
            "additionalProperties": False,
        },
    }


def _schema(field: Field, *, required: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"title": field.label, "description": field.description, "allOf": [FIELD]}
    if field.properties:
        properties = {one.name: _schema(one) for one in field.properties}
        keys = {**properties, **dict.fromkeys(sorted(_OF_SEGMENT), True)}
        schema |= {"if": AT_KEY, "else": {"properties": keys, "additionalProperties": False}}
    if required:
        schema["not"] = {"enum": ["", None]}
    return schema
