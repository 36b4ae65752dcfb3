"""The mapping language as JSON Schema (draft 7), for editors; derived from the table of directives."""

from __future__ import annotations

from typing import Any

from dbt_segconn.mapping.directives import DIRECTIVE, DIRECTIVES, METADATA, OBJECT, VALUE
from dbt_segconn.mapping.examples import EXAMPLES
from dbt_segconn.mapping.shorthand import SHORTHAND

# An object with an @-key: a directive, valid or not
AT_KEY = {"type": "object", "not": {"propertyNames": {"pattern": "^(?!@)"}}}
FIELD = {"$ref": "#/definitions/field"}
_ITEM = {"$ref": "#/definitions/item"}
_TEXT = {"if": {"type": "string"}, "then": {"pattern": SHORTHAND}}


def definitions() -> dict[str, Any]:
    """Return the definitions that a schema of fields refers to.

    `field` is a value as users write it, with or without the `$` shorthand. `item` is a value in a list, which Segment
    does not check. `value`, `any` and `object` are values inside a directive.
    """
    return {
        "directive": {
            "type": "object",
            "properties": {METADATA: True, **{name: _described(name) for name in DIRECTIVES}},
            "additionalProperties": False,
            "oneOf": [{"required": [name]} for name in DIRECTIVES],
        },
        "any": _if_directive({}),
        "value": _if_directive({"if": {"type": "object"}, "then": OBJECT}),
        "object": {"type": "object", "not": AT_KEY, "additionalProperties": VALUE},
        "field": _if_directive(
            {
                "allOf": [
                    _TEXT,
                    {"if": {"type": "object"}, "then": {"additionalProperties": FIELD}},
                    {"if": {"type": "array"}, "then": {"items": _ITEM}},
                ]
            }
        ),
        "item": {
            "if": AT_KEY,
            "else": {"allOf": [_TEXT, {"additionalProperties": _ITEM, "items": _ITEM}]},
        },
    }


def _described(name: str) -> dict[str, Any]:
    """Return the schema of a directive, with its description and an example."""
    example = EXAMPLES[name]
    return {**DIRECTIVES[name].check.schema, "description": example.description, "examples": [example.mapping[name]]}


def _if_directive(otherwise: dict[str, Any]) -> dict[str, Any]:
    return {"if": AT_KEY, "then": DIRECTIVE, "else": otherwise}
