"""manifest.json and catalog.json: the models of a project, with their meta, tests and columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import orjson

from dbt_segconn.actions.fields import SpecType
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.process_tuning import without_gc

# dbt 2 refuses unknown keys of `config`; `meta` is free for other tools
META_KEY = "segconn"
MANIFEST_FILE = "manifest.json"
PLAIN_NAME = re.compile(r"[A-Za-z_][\w$]*")
# Resource types whose rows can be read. An ephemeral model is a `model`, too: drafts.py refuses it
TABLES = frozenset({"model", "seed", "snapshot"})
ColumnSource = Literal["contract", "catalog", "old catalog", "documentation"]
# The first match wins: an array of integers is a list, and an interval is not an integer
_TYPES: tuple[tuple[SpecType, str], ...] = (
    ("list", r"array|list|\[\]"),
    ("object", r"json|struct|map|variant|object|record|super|hstore"),
    ("text", r"char|text|string|uuid|enum|interval|name"),
    ("date", r"date|time"),
    ("boolean", r"bool"),
    ("number", r"int|num|dec|float|double|real|serial|money"),
)


@dataclass(frozen=True, slots=True)
class ModelColumn:
    """A column in the model's YAML. `labels`: keys of its meta, also as key=value, its tags and its classifiers."""

    name: str
    data_type: str | None
    description: str
    constraints: tuple[str, ...]
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The columns of a snapshot that identify entities, versions and current rows.

    `unique_key` lists the key columns; it is empty if the key is an expression. `deleted` is the flag column of
    `hard_deletes: new_record`. `valid_to_current` is the SQL value of `valid_to` in current rows.
    https://docs.getdbt.com/docs/build/snapshots
    """

    unique_key: tuple[str, ...]
    scd_id: str
    valid_from: str
    valid_to: str
    deleted: str | None
    valid_to_current: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that distinguish current rows from ended rows."""
        return (self.valid_to, *((self.deleted,) if self.deleted else ()))


@dataclass(frozen=True, slots=True)
class Model:
    """A model, seed or snapshot of the manifest, with the keys that a sync and its checks need.

    `raw_meta` is the meta before Jinja; dbt keeps it for dbt_project.yml only. `relation_name` is quoted as in dbt's
    SQL; None if the manifest has none. `file` and `sql_file` are relative to the project; `file` is the YAML file, or
    the SQL file of a model without YAML. `folders` is the path of the model in dbt_project.yml, starting with the
    project's name. `constraints` are those of the model: type, columns. `is_latest` is also true for a model without
    versions. `snapshot` is None for models and seeds.
    """

    unique_id: str
    name: str
    resource_type: str
    file: str
    database: str | None
    schema: str
    identifier: str
    relation_name: str | None
    materialized: str
    meta: Any
    raw_meta: Any
    columns: tuple[ModelColumn, ...]
    contract: bool
    constraints: tuple[tuple[str, tuple[str, ...]], ...]
    version: str | None
    is_latest: bool
    sql: str
    sql_file: str
    folders: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    requires_partition_filter: bool = False
    classifiers: frozenset[str] = frozenset()

    @property
    def base_id(self) -> str:
        """The unique id without the version."""
        return _without_version(self.unique_id, self.version) if self.version else self.unique_id

    @property
    def name_in_yaml(self) -> str:
        """The name without the version: all versions of a model are one entry of dbt's YAML."""
        return self.name.partition(".v")[0] if self.version else self.name

    @property
    def is_stored(self) -> bool:
        """Whether its rows are stored, not computed by a view."""
        return self.materialized != "view"


# Without slots, which cached_property cannot use
@dataclass(frozen=True)
class Manifest:
    """A parsed manifest.json of schema v4 (dbt 1.0) to v12 (dbt 1.8 and later, and dbt 2).

    https://docs.getdbt.com/reference/artifacts/manifest-json
    """

    path: Path
    raw: Mapping[str, Any]

    @property
    def adapter_type(self) -> str:
        """Type of the dbt adapter, such as `postgres`."""
        return str(self.raw["metadata"].get("adapter_type"))

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """Every model, seed and snapshot with `meta.segconn`."""
        return tuple(
            self.model(unique_id)
            for unique_id, node in self.raw["nodes"].items()
            if node["resource_type"] in TABLES and _segconn_meta(node) is not None
        )

    def model(self, unique_id: str) -> Model:
        """Return a model, seed or snapshot, with or without `meta.segconn`."""
        node = self.raw["nodes"][unique_id]
        # A node's paths are relative to its own package, and dbt installs packages in dbt_packages/
        return _model(node, f"dbt_packages/{node['package_name']}/" if self.is_of_package(node) else "")

    def is_of_package(self, node: Mapping[str, Any]) -> bool:
        """Return whether a node belongs to an installed package, not to the project itself."""
        return node.get("package_name") not in {self.raw["metadata"].get("project_name"), None}

    def versions(self, model: Model) -> tuple[str, ...]:
        """Return all versions of a model, including disabled ones; none if it is not versioned."""
        return tuple(self._versions.get(model.base_id, ())) if model.version else ()

    @cached_property
    def _versions(self) -> Mapping[str, Mapping[str, None]]:
        """The versions of each versioned model, by its unique id without the version."""
        found: dict[str, dict[str, None]] = {}
        # `disabled` holds a list for each id: two disabled nodes may share one
        for nodes in (self.raw["nodes"].values(), *(self.raw.get("disabled") or {}).values()):
            for node in nodes:
                if (version := node.get("version")) is not None:
                    found.setdefault(_without_version(node["unique_id"], str(version)), {})[str(version)] = None
        return found

    @cached_property
    def _attached_tests(self) -> Mapping[str, list[Mapping[str, Any]]]:
        tests: dict[str, list[Mapping[str, Any]]] = {}
        for node in self.raw["nodes"].values():
            # Only generic tests are attached to a node. A singular test has just its `depends_on`
            if node["resource_type"] == "test" and node.get("attached_node"):
                tests.setdefault(node["attached_node"], []).append(node)
        return tests

    def tests_on(self, unique_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the manifest's nodes of a model's generic tests."""
        return self._attached_tests.get(unique_id, ())

    def ancestors(self, unique_id: str) -> Iterator[str]:
        """Yield the unique ids of all upstream nodes and sources of a node."""
        seen = {unique_id}
        waiting = [unique_id]
        while waiting:
            node = self.raw["nodes"].get(waiting.pop()) or {}
            for upstream in (node.get("depends_on") or {}).get("nodes") or ():
                if upstream not in seen:
                    seen.add(upstream)
                    waiting.append(upstream)
                    yield upstream

    def nodes_tested_by(self, test_id: str) -> Iterator[str]:
        """Yield the unique ids of the nodes that a test checks."""
        test = self.raw["nodes"].get(test_id) or self.raw.get("unit_tests", {}).get(test_id) or {}
        if attached := test.get("attached_node"):
            yield attached
        else:  # a singular test or a unit test
            yield from test.get("depends_on", {}).get("nodes", ())

    def disabled(self) -> Iterator[Mapping[str, Any]]:
        """Yield the disabled models, seeds and snapshots that have no enabled node of the same id."""
        for unique_id, nodes in (self.raw.get("disabled") or {}).items():
            yield from (one for one in nodes if one["resource_type"] in TABLES and unique_id not in self.raw["nodes"])

    def disabled_models(self) -> Iterator[Model]:
        """Yield the disabled models, seeds and snapshots with `meta.segconn`."""
        yield from (_model(node, "") for node in self.disabled() if _segconn_meta(node) is not None)


def read_manifest(target_dir: Path) -> Manifest:
    """Read manifest.json. Raises ConfigurationError, with a fix, if it cannot be used."""
    path = target_dir / MANIFEST_FILE
    manifest = Manifest(path, read_artifact(path, "manifest", oldest=4, newest=12))
    if not isinstance(manifest.raw.get("nodes"), dict):
        raise ConfigurationError(f"{path}: not a dbt manifest file: it has no nodes. Run `dbt parse` again.")
    return manifest


def read_artifact(path: Path, artifact: str, *, oldest: int, newest: int) -> Mapping[str, Any]:
    """Read an artifact. Raises ConfigurationError if it is missing, broken or of an unsupported version."""
    try:
        # A manifest becomes many objects that all stay: garbage collection would search them in vain
        with without_gc():
            raw: Mapping[str, Any] = _parsed(path.read_bytes())
        # https://schemas.getdbt.com/dbt/manifest/v12.json
        version = int(raw["metadata"]["dbt_schema_version"].rsplit("/v", 1)[1].removesuffix(".json"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: not found. Run `dbt run` or `dbt build` first, or set --target-path to its folder."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{path}: not a dbt {artifact} file, or incomplete. Run `dbt run` or `dbt build` again."
        ) from None
    if not oldest <= version <= newest:
        raise ConfigurationError(
            f"{path}: the version of dbt's {artifact} schema must be {oldest} to {newest}, not {version}. "
            "Install a version of dbt-segconn that supports your version of dbt."
        )
    return raw


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

    def data_type_of(self, column: str | None) -> str | None:
        """Return the warehouse's type of a column, or None if it is unknown."""
        # A catalog has the warehouse's spelling of names, which may differ in case from that of the YAML
        folded = (column or "").casefold()
        return next((data_type for name, data_type in self.types.items() if name.casefold() == folded), None)

    def type_of(self, column: str) -> SpecType | None:
        """Return the Spec's type of a column, or None if it is unknown."""
        data_type = self.data_type_of(column)
        return spec_type(data_type) if data_type else None


class Catalog:
    """The catalog.json beside the manifest; empty if there is none."""

    def __init__(self, target_dir: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._nodes, generated_at = _nodes_and_time(target_dir / "catalog.json")
        # dbt writes both as ISO-8601 in UTC, so their order as texts is their order in time
        self._fresh = generated_at >= str(manifest.raw["metadata"].get("generated_at") or "")

    def columns_of(self, model: Model) -> KnownColumns:
        """Return the columns of a model from the best source."""
        documented = {column.name: column.data_type for column in model.columns}
        # dbt compares an enforced contract with the columns of the model at each build
        if model.contract:
            return KnownColumns("contract", documented)
        if node := self._nodes.get(model.unique_id):
            types = {column["name"]: column.get("type") for column in node["columns"].values()}
            return KnownColumns("catalog" if self._fresh else "old catalog", types)
        return KnownColumns("documentation", documented)


def is_of_dbt2(artifact: Mapping[str, Any]) -> bool:
    """Return whether dbt 2, the Rust engine, wrote an artifact."""
    return is_dbt2(str(artifact["metadata"].get("dbt_version")))


def is_dbt2(version: str) -> bool:
    """Return whether a version is one of dbt 2."""
    return version.startswith("2.")  # dbt-core on the dbt platform has versions such as 2025.4.1


def spec_type(data_type: str) -> SpecType | None:
    """Convert a warehouse's data type to the Spec's: `timestamp with time zone` → date."""
    word = data_type.casefold()
    return next((kind for kind, pattern in _TYPES if re.search(pattern, word)), None)


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)  # dbt writes .inf and .nan of YAML as Infinity and NaN, which JSON does not have


def _nodes_and_time(path: Path) -> tuple[Mapping[str, Any], str]:
    """Return the catalog's nodes and time; no nodes if it cannot be read."""
    try:
        raw = orjson.loads(path.read_bytes())
        return raw["nodes"], raw["metadata"]["generated_at"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}, ""


def _segconn_meta(node: Mapping[str, Any]) -> Any:
    # dbt 1 writes the same meta in both places, dbt 2 only in config
    for holder in (node.get("config") or {}, node):
        meta = holder.get("meta") or {}
        if META_KEY in meta:
            return meta[META_KEY]
    return None


def _model(node: Mapping[str, Any], folder: str) -> Model:
    version = node.get("version")
    patch = node.get("patch_path") or ""
    config = node.get("config") or {}
    # patch_path is `package://path/to/file.yml`; dbt 2 writes seeds without config.materialized
    return Model(
        unique_id=node["unique_id"],
        name=node["name"] if version is None else f"{node['name']}.v{version}",
        resource_type=node["resource_type"],
        file=folder + (patch.split("://", 1)[-1] or node["original_file_path"]),
        database=node.get("database"),
        schema=node["schema"],
        identifier=node.get("alias") or node["name"],
        relation_name=node.get("relation_name"),
        materialized=config.get("materialized") or node["resource_type"],
        meta=_segconn_meta(node),
        raw_meta=_segconn_meta({"config": node.get("unrendered_config")}),
        columns=tuple(map(_column, (node.get("columns") or {}).values())),
        contract=bool((config.get("contract") or {}).get("enforced")),
        constraints=tuple((one["type"], tuple(one.get("columns") or ())) for one in node.get("constraints") or ()),
        version=None if version is None else str(version),
        is_latest=version is None or str(version) == str(node.get("latest_version")),
        sql=node.get("raw_code") or "" if node["resource_type"] != "seed" else "",
        sql_file=folder + node["original_file_path"],
        folders=tuple(map(str, node["fqn"])) if isinstance(node.get("fqn"), list) else (),
        snapshot=_snapshot(config) if node["resource_type"] == "snapshot" else None,
        # Of BigQuery, which refuses to read such a table without a filter on its partitions
        requires_partition_filter=bool(config.get("partition_by") and config.get("require_partition_filter")),
        classifiers=frozenset(_classifiers(node)),
    )


def _snapshot(config: Mapping[str, Any]) -> Snapshot:
    own = config.get("snapshot_meta_column_names") or {}
    scd_id, valid_from, valid_to, deleted = (
        own.get(name) or name for name in ("dbt_scd_id", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted")
    )
    key = config.get("unique_key") or ()  # a column, an expression, or a list of columns
    columns = tuple(map(str, [key] if isinstance(key, str) else key))
    return Snapshot(
        unique_key=columns if all(map(PLAIN_NAME.fullmatch, columns)) else (),
        scd_id=scd_id,
        valid_from=valid_from,
        valid_to=valid_to,
        deleted=deleted if config.get("hard_deletes") == "new_record" else None,
        valid_to_current=config.get("dbt_valid_to_current"),
    )


def _without_version(unique_id: str, version: str) -> str:
    return unique_id.removesuffix(f".v{version}")


def _column(column: Mapping[str, Any]) -> ModelColumn:
    return ModelColumn(
        column["name"],
        column.get("data_type"),
        column.get("description") or "",
        tuple(one["type"] for one in column.get("constraints") or ()),
        frozenset(_labels(column)),
    )


def _labels(column: Mapping[str, Any]) -> Iterator[str]:
    # dbt versions write a column's meta in its config, beside it, or in both; it may be null
    config = column.get("config") or {}
    for key, value in ({**(column.get("meta") or {}), **(config.get("meta") or {})}).items():
        # `pii: false` means that the column is no personal data
        if value not in (None, False):
            yield key
            values = value if isinstance(value, list) else [value]
            yield from (f"{key}={str(one).lower() if one is True else one}" for one in values)
    yield from map(str, _listed(column, "tags"))
    yield from _classifiers(column)


def _classifiers(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the classifiers of a column or a model of dbt 2: names, or objects with one."""
    for one in _listed(node, "classifiers"):
        yield str(one.get("name", one) if isinstance(one, dict) else one)


def _listed(node: Mapping[str, Any], key: str) -> Iterator[Any]:
    for holder in (node, node.get("config") or {}):
        value = holder.get(key) or ()
        yield from value if isinstance(value, (list, dict)) else [value]
