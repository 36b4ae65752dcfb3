"""The Spec's `integrations` object, which names the destinations of a call: checked, and merged from several levels.

https://segment.com/docs/guides/filtering-data/#filtering-with-the-integrations-object
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.strict_model import near_name

ALL, WAREHOUSES = "All", "Warehouses"


@cache
def _names() -> Mapping[str, str]:
    """Return the names in Segment's catalog by their case-folded form."""
    # Earlier names of a destination are in the list, too: Segment accepts any of them
    names = (Path(__file__).parent / "destination_names.txt").read_text(encoding="utf-8").splitlines()
    return {name.casefold(): name for name in (ALL, *names)}


def check_integrations(value: Any) -> dict[str, Any]:
    """Return an `integrations` object unchanged. Raises ValueError if Segment would ignore a part of it."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError("must map names of destinations to true, false or options, such as {All: false}")
    for name, choice in value.items():
        known = _names().get(name.casefold(), name)
        # Segment ignores a name in another case, and its calls would arrive
        if name != known:
            raise ValueError(f"has {name!r}, but names are case-sensitive. Write {known!r}")
        if name == ALL and not isinstance(choice, bool):
            raise ValueError(f"{ALL} must be true or false")
        # Segment ignores `Warehouses: false`: https://segment.com/docs/connections/storage/warehouses/faq/
        if name == WAREHOUSES and not isinstance(choice, dict):
            raise ValueError(f"{WAREHOUSES} must be an object. Write {{all: false}}, or {{warehouseIds: [...]}}")
        if not isinstance(choice, (bool, dict)):
            raise ValueError(f"{name!r} must be true, false or an object of options")  # noqa: TRY004  as pydantic expects
    try:
        as_text(value)
    except (TypeError, ValueError):  # such as a date of YAML
        raise ValueError("must have values of JSON only. Quote dates") from None
    return value


def as_text(value: Mapping[str, Any]) -> str:
    """Return an `integrations` object as JSON, equal for equal objects."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)
    # Raises for half of a surrogate pair, which no request can contain
    text.encode()
    return text


def read_option(value: Any) -> str | None:
    """Return the value of --integrations as JSON. Raises ConfigurationError if it is not valid."""
    try:
        return None if value is None else as_text(check_integrations(value))
    except ValueError as error:
        raise ConfigurationError(f"--integrations: {error}") from None


def unknown_names(value: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield each name that is not in Segment's catalog, with a proposal. The catalog lacks names of functions."""
    for name in value or ():
        near = near_name(name, _names().values()).lstrip()
        # The list cannot have functions, whose names end with the workspace in parentheses
        if name.casefold() not in _names() and (near or not name.endswith(")")):
            yield name, near or "Names are those of Segment's catalog; of a function, `My Function (My Workspace)`."


def merged(*levels: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Merge levels, the strongest last: a level with `All` replaces those before it, any other adds to them."""
    found: dict[str, Any] = {}
    for level in filter(None, levels):
        found = dict(level) if ALL in level else {**found, **level}
    return found or None


Integrations = Annotated[
    dict[str, Any],
    BeforeValidator(check_integrations),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {ALL: {"type": "boolean"}, WAREHOUSES: {"type": "object"}},
            "additionalProperties": {"type": ["boolean", "object"]},
        }
    ),
]
