"""Which columns a model has, as far as files tell: its contract, dbt's catalog.json, its documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from dbt_segconn.actions.spec import SpecType
from dbt_segconn.project.artifacts import Manifest, Model

Origin = Literal["contract", "catalog", "old catalog", "documentation"]


@dataclass(frozen=True, slots=True)
class KnownColumns:
    """Column → data type as the warehouse calls it, or None; and where it is known from.

    A contract is complete, and so is a catalog as new as the manifest. An older catalog may miss what has
    been added since; documentation may leave out anything.
    """

    origin: Origin
    types: Mapping[str, str | None]

    @property
    def complete(self) -> bool:
        """Whether a column that is not listed is not there."""
        return self.origin in {"contract", "catalog"}

    def type_of(self, column: str) -> SpecType | None:
        """Return what kind of value a column holds, where that is known."""
        found = [kind for name, kind in self.types.items() if name.casefold() == column.casefold()]
        return spec_type(found[0]) if found and found[0] else None


class Catalog:
    """dbt's catalog.json, where `dbt docs generate` has left one beside the manifest."""

    def __init__(self, target_dir: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._nodes, written = _read(target_dir / "catalog.json")
        self._fresh = written >= str(manifest.raw["metadata"].get("generated_at") or "")

    def columns_of(self, model: Model) -> KnownColumns:
        """Say which columns a model has, from the best source that there is."""
        documented = {column.name: column.data_type for column in model.columns}
        if model.contract:
            return KnownColumns("contract", documented)
        if node := self._nodes.get(model.unique_id):
            types = {column["name"]: column.get("type") for column in node["columns"].values()}
            return KnownColumns("catalog" if self._fresh else "old catalog", types)
        return KnownColumns("documentation", documented)


def catalog_command(manifest: Manifest) -> str:
    """Return the command by which the dbt of a manifest writes catalog.json."""
    is_of_dbt2 = not str(manifest.raw["metadata"].get("dbt_version") or "1").startswith(("0.", "1"))
    return "dbt compile --write-catalog" if is_of_dbt2 else "dbt docs generate"


def _read(path: Path) -> tuple[Mapping[str, Any], str]:
    """Read the catalog's nodes and when it was written; one that cannot be read tells nothing."""
    try:
        raw = orjson.loads(path.read_bytes())
        return raw["nodes"], raw["metadata"]["generated_at"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}, ""


# In this order: an array of integers is a list, an interval no integer
_TYPES: tuple[tuple[SpecType, str], ...] = (
    ("list", r"array|list|\[\]"),
    ("object", r"json|struct|map|variant|object|record|super|hstore"),
    ("text", r"char|text|string|uuid|enum|interval|name"),
    ("date", r"date|time"),
    ("boolean", r"bool"),
    ("number", r"int|num|dec|float|double|real|serial|money"),
)


def spec_type(data_type: str) -> SpecType | None:
    """Sort a warehouse's data type into the Spec's: `timestamp with time zone` → date."""
    word = data_type.casefold()
    return next((kind for kind, pattern in _TYPES if re.search(pattern, word)), None)
