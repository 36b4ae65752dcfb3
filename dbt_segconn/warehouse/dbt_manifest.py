"""A manifest.json of any dbt → the Manifest that dbt-core's selector works on.

dbt-core's own reader refuses a whole manifest for one value that it does not know, and dbt 2 writes some keys in
another way. So each resource is read by itself, as far as a selection looks at it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from dbt_segconn.errors import ConfigurationError

# dbt-core's class of each resource type; FunctionNode is new in 1.11
_CLASSES = {
    "analysis": "AnalysisNode",
    "exposure": "Exposure",
    "function": "FunctionNode",
    "macro": "Macro",
    "metric": "Metric",
    "model": "ModelNode",
    "operation": "HookNode",
    "saved_query": "SavedQuery",
    "seed": "SeedNode",
    "semantic_model": "SemanticModel",
    "snapshot": "SnapshotNode",
    "source": "SourceDefinition",
    "sql_operation": "SqlNode",
    "unit_test": "UnitTestDefinition",
}
_PARTS = (
    "nodes",
    "sources",
    "exposures",
    "functions",
    "metrics",
    "semantic_models",
    "saved_queries",
    "unit_tests",
    "macros",
)
# Without one of these a resource would be selected wrongly, rather than not at all
_DECISIVE = frozenset(
    {"config", "depends_on", "fqn", "name", "original_file_path", "package_name", "resource_type", "tags", "unique_id"}
)
# What dbt 2 writes for code that it does not keep
_PLACEHOLDER = "--placeholder--"
# Nodes and parts that dbt-core and dbt 2 do and do not write alike
_COMPARABLE = frozenset({"model", "seed", "snapshot"})
_DOWNSTREAM = frozenset({"exposures", "functions", "metrics", "semantic_models", "saved_queries", "unit_tests"})


def read_dbt_manifest(raw: Mapping[str, Any], path: Path) -> Any:
    """Return dbt-core's Manifest of a parsed manifest.json (schema v4 to v12), which stays as it is.

    Docs, groups and disabled resources are left out, and types that this dbt-core does not know, such as functions
    before 1.11. So are values that its classes refuse. Raises ConfigurationError, naming `path`, where a selection
    would need them.
    """
    from dbt.artifacts.schemas.manifest import ManifestMetadata
    from dbt.contracts.graph.manifest import Manifest

    raw = _upgraded(raw)
    parts = {part: _known(raw.get(part) or {}) for part in _PARTS if part in Manifest.__dataclass_fields__}
    ids = {unique_id for part in parts.values() for unique_id in part}
    metadata = raw["metadata"]
    return Manifest(
        **{
            part: {unique_id: _read(dbt_class, node, ids, path) for unique_id, (dbt_class, node) in resources.items()}
            for part, resources in parts.items()
        },
        metadata=ManifestMetadata(
            dbt_version=str(metadata.get("dbt_version")),
            adapter_type=metadata.get("adapter_type"),
            project_name=metadata.get("project_name"),
        ),
    )


def _upgraded(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    from dbt.artifacts.schemas.base import get_artifact_schema_version
    from dbt.artifacts.schemas.manifest import WritableManifest
    from dbt.artifacts.schemas.upgrades import upgrade_manifest_json

    version = get_artifact_schema_version(raw)
    if version >= WritableManifest.dbt_schema_version.version:
        return raw
    upgraded: Mapping[str, Any] = upgrade_manifest_json(deepcopy(dict(raw)), version)
    return upgraded


def _known(resources: Mapping[str, Any]) -> Mapping[str, tuple[Any, Mapping[str, Any]]]:
    """Pair each resource with its class; leave out those that have none."""
    classes = {unique_id: _class(node) for unique_id, node in resources.items()}
    return {unique_id: (found, resources[unique_id]) for unique_id, found in classes.items() if found}


def _class(node: Mapping[str, Any]) -> Any:
    from dbt.contracts.graph import nodes

    if node["resource_type"] == "test":
        return nodes.GenericTestNode if node.get("test_metadata") else nodes.SingularTestNode
    return getattr(nodes, _CLASSES.get(node["resource_type"], ""), None)


def _read(dbt_class: Any, node: Mapping[str, Any], ids: Collection[str], path: Path) -> Any:
    """Make the resource; raises ConfigurationError, naming it, where its class refuses what cannot be left out."""
    try:
        return read_resource(dbt_class, _mended(node, ids))
    except Exception as error:  # noqa: BLE001  dbt's classes raise what they like, with the whole node in its text
        from dbt.version import __version__

        field = getattr(error, "field_name", None)
        raise ConfigurationError(
            f"{path}: dbt-core {__version__} cannot read {node.get('unique_id')}"
            f"{f', key {field}' if field else f' ({type(error).__name__})'}. Install the dbt-core that goes with the "
            "dbt that wrote it, or choose mappings with --mapping."
        ) from None


def _mended(node: Mapping[str, Any], ids: Collection[str]) -> dict[str, Any]:
    """Return a copy, as dbt-core would have written it."""
    mended = dict(node)
    if depends_on := node.get("depends_on"):
        # a dependency that is not there ends dbt's search for changes, and its graph
        mended["depends_on"] = {
            key: [unique_id for unique_id in depends_on.get(key) or () if unique_id in ids]
            for key in ("nodes", "macros")
        }
    if "://" not in (node.get("patch_path") or "://"):
        mended["patch_path"] = f"{node.get('package_name')}://{node['patch_path']}"
    if "checksum" in node:  # a node without code counts as empty, and is never selected
        mended.setdefault("raw_code", _PLACEHOLDER)
    return mended


def read_resource(dbt_class: Any, node: Mapping[str, Any]) -> Any:
    """Make one of dbt-core's classes of a resource, without the values that the class refuses: its defaults hold.

    Raises what the class raises where the resource would be another without such a value.
    """
    from mashumaro.exceptions import InvalidFieldValue

    data = dict(node)
    if node.get("config"):
        data["config"] = dict(node["config"])  # dbt's classes change what they read
    while True:
        try:
            return dbt_class.from_dict(data)
        except InvalidFieldValue as error:
            inner = error.__context__
            if error.field_name == "config" and isinstance(inner, InvalidFieldValue):
                holder, field = data["config"], inner.field_name
            else:
                holder, field = data, error.field_name
            decisive = holder is data and field in _DECISIVE and data.get(field) is not None
            key = next((key for key in (field, field.replace("_", "-")) if key in holder), None)
            if decisive or key is None:
                raise
            del holder[key]


def make_comparable(current: Any, previous: Any) -> None:
    """Let two Manifests differ in what dbt 2 takes for a change, where it wrote one of them.

    dbt 2 looks neither at white space nor at the macros that dbt brings, and keeps no checksums of contracts. dbt-core
    writes tests, and what stands downstream of models, in another way: between the two, these count as unchanged.
    """
    by_dbt_2 = {_is_dbt_2(manifest) for manifest in (current, previous)}
    if True in by_dbt_2:
        for node in (*current.nodes.values(), *previous.nodes.values()):
            _as_dbt_2(node)
        adapters = (current.metadata.adapter_type, previous.metadata.adapter_type)
        previous.macros = _macros(current, adapters, of_dbt=True) | _macros(previous, adapters, of_dbt=False)
    if len(by_dbt_2) > 1:
        previous.nodes |= {key: node for key, node in current.nodes.items() if node.resource_type not in _COMPARABLE}
        for part in _DOWNSTREAM & vars(current).keys():
            setattr(previous, part, getattr(current, part))


def _is_dbt_2(manifest: Any) -> bool:
    # the dbt platform's dbt-core has versions such as 2025.4.1
    by_dbt_2: bool = manifest.metadata.dbt_version.startswith("2.")
    return by_dbt_2


def _as_dbt_2(node: Any) -> None:
    code = " ".join(node.raw_code.split())
    node.raw_code = node.checksum.checksum if code == _PLACEHOLDER else code and sha256(code.encode()).hexdigest()
    node.unrendered_config = {key: _plain(value) for key, value in node.unrendered_config.items()}
    if hasattr(node, "contract"):
        node.contract.checksum = None
    if getattr(node, "deprecation_date", None):
        node.deprecation_date = node.deprecation_date.replace(tzinfo=None)


def _plain(value: Any) -> Any:
    """Return a mapping or list where dbt 2 has written its text, as it does for those of config() in SQL."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        with suppress(yaml.YAMLError):
            return yaml.safe_load(value)
    return value


def _macros(manifest: Any, adapters: tuple[str, str], *, of_dbt: bool) -> dict[str, Any]:
    """Return the macros that dbt and its adapters bring, or all others."""
    from dbt.adapters.factory import get_adapter_package_names

    packages = {"dbt", *get_adapter_package_names(adapters[0]), f"dbt_{adapters[1]}"}
    return {
        key: macro
        for key, macro in manifest.macros.items()
        # dbt 2 lists snapshots among macros
        if (macro.package_name in packages or not key.startswith("macro.")) is of_dbt
    }
