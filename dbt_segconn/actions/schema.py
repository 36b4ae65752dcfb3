"""What can be said of an action's fields before any record is seen."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbt_segconn.actions.fields import Field, find_action
from dbt_segconn.mapping.compiler import ROOT_DIRECTIVE
from dbt_segconn.mapping.directives import METADATA

# Settings of Segment's own user interface in exported mappings; they say nothing of the call
_OF_SEGMENT = frozenset({ROOT_DIRECTIVE, METADATA, "enable_batching", "batch_size", "engage_space"})


def unknown_fields(action: str, fields: Any) -> tuple[tuple[str, str | None], ...]:
    """Find the fields that an action does not have and would drop: each with the nearest name, if any.

    Nested ones, such as `location.citty`, are named by their path.
    """
    return tuple(_unknown(fields, find_action(action).fields, ""))


def _unknown(given: Any, known: Iterable[Field], prefix: str) -> Iterator[tuple[str, str | None]]:
    if not isinstance(given, Mapping) or any(str(key).startswith("@") for key in given):
        return
    by_name = {field.name: field for field in known}
    for key, value in given.items():
        field = by_name.get(key)
        if field is None and key not in _OF_SEGMENT:
            near = difflib.get_close_matches(str(key), by_name, n=1)
            yield f"{prefix}{key}", f"{prefix}{near[0]}" if near else None
        elif field is not None and field.properties:
            yield from _unknown(value, field.properties, f"{prefix}{key}.")


def fields_schema(action: str) -> dict[str, Any]:
    """Return the JSON Schema of an action's `fields`, for editors: any value may be a mapping."""
    definition = find_action(action)
    return {
        "type": "object",
        "description": definition.description,
        "properties": {field.name: _schema(field) for field in definition.fields},
        "required": [field.name for field in definition.fields if field.required],
        "additionalProperties": False,
    }


def _schema(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"title": field.label, "description": field.description}
    if field.properties:
        schema["properties"] = {one.name: _schema(one) for one in field.properties}
    return schema
