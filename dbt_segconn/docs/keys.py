"""Tables of the keys that users write, from the JSON Schemas of the models that validate them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dbt_segconn.authoring.editor_schema import meta_schema, settings_schema

Schema = Mapping[str, Any]

_TYPES = {"string": "text", "object": "mapping", "boolean": "`true`, `false`"}


def settings_keys() -> str:
    """Return the table of segconn.yml."""
    return _keys_of(settings_schema())


def mapping_keys() -> str:
    """Return the table of `config.meta.segconn`."""
    return _keys_of(meta_schema())


def table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _keys_of(schema: Schema) -> str:
    heads = ("key", "values", "default", "description")
    return table(heads, _rows(schema, schema["definitions"], ""))


def _rows(schema: Schema, definitions: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, about in schema["properties"].items():
        text = " ".join(about["description"].split())
        default = "required" if name in required else _default(about.get("default"))
        yield f"`{prefix}{name}`", ", ".join(_values(about)), default, text
        for step, nested in _nested(about):
            yield from _rows(definitions[nested], definitions, f"{prefix}{name}{step}.")


def _default(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return ""
    return (
        f"`{', '.join(value) if isinstance(value, list) else json.dumps(value).strip(chr(34))}`" if value != [] else ""
    )


def _alternatives(schema: Schema) -> Iterator[Schema]:
    """Yield what a value may be, without null and without the Jinja that stands for any value."""
    for one in schema.get("anyOf", [schema]):
        if "anyOf" in one:
            yield from _alternatives(one)
        elif one.get("type") != "null" and "[{%]" not in one.get("pattern", ""):
            yield one


def _nested(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the model below a key, and the step of the path that leads to it."""
    for one in _alternatives(schema):
        below = {"": one, "[]": one.get("items", {}), ".<name>": one.get("additionalProperties") or {}}
        for step, inner in below.items():
            if isinstance(inner, dict) and "$ref" in inner:
                yield step, inner["$ref"].rpartition("/")[2]


def _values(schema: Schema) -> Iterator[str]:
    for one in _alternatives(schema):
        if "enum" in one:
            yield ", ".join(f"`{value}`" for value in one["enum"])
        elif "const" in one:
            yield f"`{one['const']}`"
        elif one.get("type") == "array":
            yield "list"
        elif one.get("type") in {"integer", "number"}:
            yield f"{one['type']}{_range(one)}"
        else:
            yield _TYPES.get(one.get("type", ""), "mapping")


def _range(schema: Schema) -> str:
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if above is not None:
        return f" above {above:g}{'' if high is None else f', at most {high:g}'}"
    if low is None:
        return ""
    return f" {low:g} to {high:g}" if high is not None else f" {low:g} or more"
