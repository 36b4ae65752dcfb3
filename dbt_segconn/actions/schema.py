"""Checks and JSON Schema of an action's fields, without any record."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbt_segconn.actions.fields import Field, find_action
from dbt_segconn.mapping.compiler import ROOT_DIRECTIVE
from dbt_segconn.mapping.directives import DIRECTIVE, METADATA
from dbt_segconn.mapping.schema import AT_KEY, FIELD

# Settings of Segment's user interface in exported mappings; they do not change the call
_OF_SEGMENT = frozenset({ROOT_DIRECTIVE, METADATA, "enable_batching", "batch_size", "engage_space"})


# Every action requires one of these
IDENTITY = ("user_id", "anonymous_id")


def unknown_fields(action: str, fields: Any) -> tuple[tuple[tuple[str, ...], str | None], ...]:
    """Return fields that the action does not have and would drop: path and nearest name, if any."""
    return tuple(_unknown(fields, find_action(action).fields, ()))


def missing_fields(action: str, fields: Any) -> tuple[str, ...]:
    """Return the required fields that are not mapped; a choice of two is `a or b`."""
    if _is_directive(fields):
        return ()  # its fields depend on the record
    missing = [
        field.name for field in find_action(action).fields if field.required and not _is_mapped(fields, field.name)
    ]
    return (*missing, *(() if any(_is_mapped(fields, name) for name in IDENTITY) else (" or ".join(IDENTITY),)))


def _is_mapped(fields: Mapping[str, Any], name: str) -> bool:
    return fields.get(name) not in {None, ""} if not isinstance(fields.get(name), (dict, list)) else True


def _is_directive(value: Any) -> bool:
    return not isinstance(value, Mapping) or any(str(key).startswith("@") or key == ROOT_DIRECTIVE for key in value)


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
    mapped = {name: {"properties": {name: {"not": {"enum": ["", None]}}}, "required": [name]} for name in IDENTITY}
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
            "allOf": [*required, {"anyOf": list(mapped.values())}],
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
