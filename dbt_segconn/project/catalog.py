"""Columns of a model, from its contract, catalog.json or documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from dbt_segconn.actions.spec import SpecType
from dbt_segconn.project.artifacts import Manifest, Model

ColumnSource = Literal["contract", "catalog", "old catalog", "documentation"]


@dataclass(frozen=True, slots=True)
class KnownColumns:
    """Column → data type of the warehouse, or None; and the source of the columns.

    A contract is complete, and so is a catalog as new as the manifest. An older catalog may lack new columns, and
    documentation may lack any column.
    """

    origin: ColumnSource
    types: Mapping[str, str | None]

    @property
    def complete(self) -> bool:
        """Whether all columns of the model are listed."""
        return self.origin in {"contract", "catalog"}

    def type_of(self, column: str) -> SpecType | None:
        """Return the Spec's type of a column, or None if it is unknown."""
        found = [kind for name, kind in self.types.items() if name.casefold() == column.casefold()]
        return spec_type(found[0]) if found and found[0] else None


class Catalog:
    """The catalog.json beside the manifest; empty if there is none."""

    def __init__(self, target_dir: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._nodes, generated_at = _read(target_dir / "catalog.json")
        self._fresh = generated_at >= str(manifest.raw["metadata"].get("generated_at") or "")

    def columns_of(self, model: Model) -> KnownColumns:
        """Return the columns of a model from the best source."""
        documented = {column.name: column.data_type for column in model.columns}
        if model.contract:
            return KnownColumns("contract", documented)
        if node := self._nodes.get(model.unique_id):
            types = {column["name"]: column.get("type") for column in node["columns"].values()}
            return KnownColumns("catalog" if self._fresh else "old catalog", types)
        return KnownColumns("documentation", documented)


def catalog_command(manifest: Manifest) -> str:
    """Return the command that writes catalog.json with the manifest's version of dbt."""
    is_of_dbt2 = not str(manifest.raw["metadata"].get("dbt_version") or "1").startswith(("0.", "1"))
    return "dbt compile --write-catalog" if is_of_dbt2 else "dbt docs generate"


def _read(path: Path) -> tuple[Mapping[str, Any], str]:
    """Return the catalog's nodes and time; no nodes if it cannot be read."""
    try:
        raw = orjson.loads(path.read_bytes())
        return raw["nodes"], raw["metadata"]["generated_at"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}, ""


# The first match wins: an array of integers is a list, and an interval is not an integer
_TYPES: tuple[tuple[SpecType, str], ...] = (
    ("list", r"array|list|\[\]"),
    ("object", r"json|struct|map|variant|object|record|super|hstore"),
    ("text", r"char|text|string|uuid|enum|interval|name"),
    ("date", r"date|time"),
    ("boolean", r"bool"),
    ("number", r"int|num|dec|float|double|real|serial|money"),
)


def spec_type(data_type: str) -> SpecType | None:
    """Convert a warehouse's data type to the Spec's: `timestamp with time zone` → date."""
    word = data_type.casefold()
    return next((kind for kind, pattern in _TYPES if re.search(pattern, word)), None)
