"""The mapping language for editors and the manual: a JSON Schema, and a sentence and example for each directive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dbt_segconn.mapping.compiler import SHORTHAND
from dbt_segconn.mapping.directives import DIRECTIVE, DIRECTIVES, METADATA, OBJECT, VALUE


@dataclass(frozen=True, slots=True)
class Example:
    """One directive: a sentence, a mapping that uses it, a record, and the result of the mapping."""

    description: str
    mapping: dict[str, Any]
    record: dict[str, Any]
    result: Any


EXAMPLES: dict[str, Example] = {
    "@path": Example(
        "Read a value at a path of the record.", {"@path": "$.plan.name"}, {"plan": {"name": "pro"}}, "pro"
    ),
    "@template": Example(
        "Insert values of the record into a text.",
        {"@template": "{{first}} {{last}}"},
        {"first": "Ada", "last": "Byron"},
        "Ada Byron",
    ),
    "@literal": Example("Return the value as it is written.", {"@literal": "newsletter"}, {}, "newsletter"),
    "@arrayPath": Example(
        "Read an array at a path and build an object from each of its items.",
        {"@arrayPath": ["$.lines", {"product_id": {"@path": "$.sku"}}]},
        {"lines": [{"sku": "a1"}, {"sku": "b2"}]},
        [{"product_id": "a1"}, {"product_id": "b2"}],
    ),
    "@if": Example(
        "Return `then` if `exists` has a value, else `else`. With `blank`, an empty text counts as no value.",
        {"@if": {"exists": {"@path": "$.nickname"}, "then": {"@path": "$.nickname"}, "else": "friend"}},
        {"nickname": None},
        "friend",
    ),
    "@case": Example(
        "Change a text to lower or upper case. `operator` is `lower` or `upper`.",
        {"@case": {"operator": "lower", "value": {"@path": "$.email"}}},
        {"email": "Ada@Example.com"},
        "ada@example.com",
    ),
    "@replace": Example(
        "Replace a text of at most 10 characters in a value. `pattern2` and `replacement2` replace a second one; "
        "`global: false` stops after the first match; `ignorecase: true` ignores case.",
        {"@replace": {"pattern": "-", "replacement": "", "value": {"@path": "$.phone"}}},
        {"phone": "555-01-23"},
        "5550123",
    ),
    "@flatten": Example(
        "Flatten nested objects and arrays into keys joined by `separator`. `omitArrays: true` keeps arrays.",
        {"@flatten": {"separator": "_", "value": {"@path": "$.plan"}}},
        {"plan": {"name": "pro", "limits": {"seats": 5}}},
        {"name": "pro", "limits_seats": 5},
    ),
    "@json": Example(
        "Write a value as JSON text (`mode: encode`) or read JSON text (`mode: decode`).",
        {"@json": {"mode": "decode", "value": {"@path": "$.raw"}}},
        {"raw": '{"seats": 5}'},
        {"seats": 5},
    ),
    "@merge": Example(
        "Merge objects. With `direction: right` the last object wins, with `left` the first.",
        {"@merge": {"direction": "right", "objects": [{"plan": "free"}, {"@path": "$.traits"}]}},
        {"traits": {"plan": "pro"}},
        {"plan": "pro"},
    ),
    "@transform": Example(
        "Build an object with `apply`, then read `mapping` from that object.",
        {"@transform": {"apply": {"name": {"@path": "$.full_name"}}, "mapping": {"label": {"@path": "$.name"}}}},
        {"full_name": "Ada Byron"},
        {"label": "Ada Byron"},
    ),
    "@excludeWhenNull": Example(
        "Remove the key if the value is null, and remove null keys inside an object.",
        {"@excludeWhenNull": {"email": {"@path": "$.email"}, "phone": {"@path": "$.phone"}}},
        {"email": "ada@example.com", "phone": None},
        {"email": "ada@example.com"},
    ),
    "@liquid": Example("Render a Liquid template.", {"@liquid": "{{ total | times: 2 }}"}, {"total": 21}, "42"),
    "@hash": Example(
        "Hash a value by the rules of an ad network. `as` is the network and the kind of value. This directive is not "
        "Segment's.",
        {"@hash": {"as": "google email", "value": {"@path": "$.email"}}},
        {"email": " Ada.Byron@gmail.com"},
        "57d491344eaa1b4dfec77a689065eb6671e40e9d320f10968bca16e65bb35a3e",
    ),
}
"""name → example, in the order of the table of directives"""


# An object with an @-key: a directive, valid or not. JSON Schema has no word for "some key matches"
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
        # `oneOf` allows one directive, beside the metadata of Segment's user interface
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
