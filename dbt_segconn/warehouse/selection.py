"""`--select`, `--exclude`, `--selector` and `--state`, by dbt's own selector on a manifest of any dbt version.

dbt-core's own reader rejects a whole manifest for one unknown value, and dbt 2 writes some keys differently. This
module reads each resource separately, and only what a selection needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from hashlib import sha256
from inspect import signature
from pathlib import Path
from textwrap import shorten
from types import SimpleNamespace
from typing import Any

import yaml
from pydantic import TypeAdapter

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import is_dbt2, read_artifact
from dbt_segconn.project.yaml_file import Loader

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
# Parts of a manifest that depend on models. dbt-core and dbt 2 write them differently
_DOWNSTREAM = ("exposures", "functions", "metrics", "semantic_models", "saved_queries", "unit_tests")
_PARTS = ("nodes", "sources", "macros", *_DOWNSTREAM)
# Without one of these, a selection would be wrong
_DECISIVE = frozenset(
    {"config", "depends_on", "fqn", "name", "original_file_path", "package_name", "resource_type", "tags", "unique_id"}
)
# dbt 2 writes this instead of code that it does not store
_PLACEHOLDER = "--placeholder--"
# Resource types that dbt-core and dbt 2 write alike
_COMPARABLE = frozenset({"model", "seed", "snapshot"})
_TIME = TypeAdapter(datetime)
# Characters of a dbt error; a list of nodes may follow the reason
_MAX_REASON = 300


def read_dbt_manifest(raw: Mapping[str, Any], path: Path) -> Any:
    """Return dbt-core's Manifest of a parsed manifest.json (schema v4 to v12); does not change `raw`.

    Leaves out docs, groups, disabled resources, and resource types that this dbt-core does not have, such as functions
    before 1.11. Leaves out values that dbt-core's classes reject. Raises ConfigurationError, with `path`, if a
    selection needs such a value.
    """
    from dbt.artifacts.schemas.manifest import ManifestMetadata
    from dbt.contracts.graph.manifest import Manifest

    raw = _upgraded(raw)
    parts = {part: _known(raw.get(part) or {}) for part in _PARTS if part in Manifest.__dataclass_fields__}
    ids = {unique_id for part in parts.values() for unique_id in part}
    metadata = raw["metadata"]
    return Manifest(
        **{
            part: {
                unique_id: _resource(dbt_class, node, ids, path) for unique_id, (dbt_class, node) in resources.items()
            }
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
    """Pair each resource with dbt-core's class; leave out resources without one."""
    classes = {unique_id: _class(node) for unique_id, node in resources.items()}
    return {unique_id: (found, resources[unique_id]) for unique_id, found in classes.items() if found}


def _class(node: Mapping[str, Any]) -> Any:
    from dbt.contracts.graph import nodes

    if node["resource_type"] == "test":
        return nodes.GenericTestNode if node.get("test_metadata") else nodes.SingularTestNode
    return getattr(nodes, _CLASSES.get(node["resource_type"], ""), None)


def _resource(dbt_class: Any, node: Mapping[str, Any], ids: Collection[str], path: Path) -> Any:
    """Build a resource. Raises ConfigurationError, with its id, if its class rejects a required value."""
    try:
        return read_resource(dbt_class, _as_dbt_core(node, ids))
    except Exception as error:  # noqa: BLE001  dbt's classes raise any type, with the whole node in the text
        from dbt.version import __version__

        field = getattr(error, "field_name", None)
        raise ConfigurationError(
            f"{path}: dbt-core {__version__} cannot read {node.get('unique_id')}"
            f"{f', key {field}' if field else f' ({type(error).__name__})'}. Install the dbt-core version that "
            "wrote the manifest, or choose mappings with --mapping."
        ) from None


def _as_dbt_core(node: Mapping[str, Any], ids: Collection[str]) -> dict[str, Any]:
    """Return a copy of the node in the form that dbt-core writes."""
    copy = dict(node)
    if depends_on := node.get("depends_on"):
        # dbt's selector fails for a missing dependency
        copy["depends_on"] = {
            key: [unique_id for unique_id in depends_on.get(key) or () if unique_id in ids]
            for key in ("nodes", "macros")
        }
    if "://" not in (node.get("patch_path") or "://"):
        copy["patch_path"] = f"{node.get('package_name')}://{node['patch_path']}"
    if "checksum" in node:  # dbt ignores a node with empty code
        copy.setdefault("raw_code", _PLACEHOLDER)
    return copy


def read_resource(dbt_class: Any, node: Mapping[str, Any]) -> Any:
    """Build an object of a dbt-core class, without the values that the class rejects; their defaults apply.

    Raises the class's own error if a rejected value is required for selections.
    """
    from mashumaro.exceptions import InvalidFieldValue

    data = dict(node)
    if node.get("config"):
        data["config"] = dict(node["config"])  # dbt's classes change their input
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
    """Make two Manifests differ only in what dbt 2 counts as a change, if dbt 2 wrote one of them.

    dbt 2 ignores white space and dbt's own macros, and has no checksums of contracts. dbt-core and dbt 2 write tests
    and resources downstream of models differently: if one of each wrote the manifests, these count as unchanged.
    """
    by_dbt_2 = {is_dbt2(manifest.metadata.dbt_version) for manifest in (current, previous)}
    if True in by_dbt_2:
        for node in (*current.nodes.values(), *previous.nodes.values()):
            _as_dbt_2(node)
        adapters = (current.metadata.adapter_type, previous.metadata.adapter_type)
        previous.macros = _macros(current, adapters, of_dbt=True) | _macros(previous, adapters, of_dbt=False)
    if len(by_dbt_2) > 1:
        previous.nodes |= {key: node for key, node in current.nodes.items() if node.resource_type not in _COMPARABLE}
        for part in vars(current).keys() & _DOWNSTREAM:
            setattr(previous, part, getattr(current, part))


def _as_dbt_2(node: Any) -> None:
    code = " ".join(node.raw_code.split())
    node.raw_code = node.checksum.checksum if code == _PLACEHOLDER else code and sha256(code.encode()).hexdigest()
    node.unrendered_config = {key: _plain(value) for key, value in node.unrendered_config.items()}
    if hasattr(node, "contract"):
        node.contract.checksum = None
    if getattr(node, "deprecation_date", None):
        node.deprecation_date = node.deprecation_date.replace(tzinfo=None)


def _plain(value: Any) -> Any:
    """Parse a mapping or list that dbt 2 wrote as text, which it does for config() in SQL."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        with suppress(yaml.YAMLError):
            return yaml.load(value, Loader)  # noqa: S506  a SafeLoader
    return value


def _macros(manifest: Any, adapters: tuple[str, str], *, of_dbt: bool) -> dict[str, Any]:
    """Return the macros of dbt and its adapters, or all other macros."""
    from dbt.adapters.factory import get_adapter_package_names

    packages = {"dbt", *get_adapter_package_names(adapters[0]), f"dbt_{adapters[1]}"}
    return {
        key: macro
        for key, macro in manifest.macros.items()
        # dbt 2 lists snapshots among macros
        if (macro.package_name in packages or not key.startswith("macro.")) is of_dbt
    }


@dataclass(frozen=True, slots=True)
class Selection:
    """The selection options of a command. Without any, everything is selected."""

    select: Sequence[str] = ()
    exclude: Sequence[str] = ()
    selector: str | None = None
    state: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.select or self.exclude or self.selector)

    def __str__(self) -> str:
        options = {"--select": self.select, "--exclude": self.exclude, "--selector": [self.selector or ""]}
        return " ".join(f"{name} {' '.join(values)}" for name, values in options.items() if any(values))


def select_models(selection: Selection, config: Any, manifest: Mapping[str, Any], target_path: Path) -> frozenset[str]:
    """Return the unique ids of the selected models, seeds and snapshots.

    `config` is the warehouse's dbt configuration, `manifest` a parsed manifest.json (schema v4 to v12) of any dbt.
    Raises ConfigurationError with dbt's own reason, or if a file of `--state` is missing or invalid.
    https://docs.getdbt.com/reference/node-selection/syntax
    """
    from dbt_common.exceptions import DbtBaseException

    try:
        return frozenset(_select(selection, config, manifest, target_path))
    except ConfigurationError as error:
        reason = str(error)  # of `PreviousState`, which dbt's selector calls
    except DbtBaseException as error:
        reason = shorten(str(error), _MAX_REASON, placeholder=" …")
    except Exception as error:  # noqa: BLE001  the text may contain whole nodes with their SQL
        reason = (
            f"dbt-core's selector cannot work on {target_path / 'manifest.json'} ({type(error).__name__}). Run "
            "`dbt parse` to write it again, or choose mappings with --mapping."
        )
    raise ConfigurationError(f"{selection}: {reason}")


def _select(selection: Selection, config: Any, manifest: Mapping[str, Any], target_path: Path) -> set[str]:
    from dbt.compilation import Linker
    from dbt.graph import Graph, ResourceTypeSelector, parse_difference
    from dbt.node_types import NodeType

    current = read_dbt_manifest(manifest, target_path / "manifest.json")
    linker = Linker()
    linker.link_graph(current)
    # dbt-core 1.12 added the method `selector:`
    named = {"selectors": config.selectors} if "selectors" in signature(ResourceTypeSelector).parameters else {}
    selector = ResourceTypeSelector(
        Graph(linker.graph),
        current,
        PreviousState(_state_folder(selection, config), target_path, current),
        resource_types=[NodeType.Model, NodeType.Seed, NodeType.Snapshot],  # only these can have mappings
        **named,
    )
    if selection.selector:
        spec = config.get_selector(selection.selector)
    else:
        spec = parse_difference(list(selection.select) or None, list(selection.exclude) or None)
    selected: set[str] = selector.get_selected(spec)
    return selected


def _state_folder(selection: Selection, config: Any) -> Path | None:
    """Return the folder of `--state`; as in dbt, a relative path starts in the project."""
    if not selection.state:
        return None
    folder = Path(config.project_root) / selection.state
    if not any((folder / name).is_file() for name in ("manifest.json", "run_results.json", "sources.json")):
        raise ConfigurationError(
            f"--state {selection.state}: no manifest.json in {folder}. Name a folder with artifacts of an "
            "earlier dbt invocation, relative to the project."
        )
    return folder


@dataclass(frozen=True)
class PreviousState:
    """The artifacts of `--state` in the form that dbt's selector expects; each is read at its first use.

    `current` is the project's Manifest; `target_path` is its folder.
    """

    folder: Path | None
    target_path: Path
    current: Any

    @cached_property
    def manifest(self) -> Any:
        """The manifest that `state:` compares with."""
        path = self._file("manifest.json", "state:")
        manifest = _read(path, "manifest", 12, partial(read_dbt_manifest, path=path))
        make_comparable(self.current, manifest)
        return manifest

    @cached_property
    def results(self) -> Any:
        """The results that `result:` selects by."""
        return _read(self._file("run_results.json", "result:"), "run-results", 6, _results)

    @cached_property
    def sources(self) -> Any:
        """The earlier freshness of sources, for `source_status:`."""
        return _read(self._file("sources.json", "source_status:"), "sources", 3, _freshness)

    @cached_property
    def sources_current(self) -> Any:
        """The current freshness of sources, for `source_status:`."""
        path = self.target_path / "sources.json"
        if not path.is_file():
            raise ConfigurationError(
                f"source_status: needs {path}, which does not exist. Run `dbt source freshness` first."
            )
        return _read(path, "sources", 3, _freshness)

    def _file(self, name: str, method: str) -> Path:
        if self.folder is None:
            raise ConfigurationError(
                f"{method} needs the {name} of an earlier dbt invocation. Name its folder with --state."
            )
        if not (self.folder / name).is_file():
            raise ConfigurationError(
                f"{method} needs {self.folder / name}, which does not exist. Copy it from the target folder of an "
                "earlier dbt invocation, or name another folder with --state."
            )
        return self.folder / name


def _read(path: Path, kind: str, newest: int, make: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Read an artifact. Raises ConfigurationError if it is invalid, or newer than the `newest` supported schema."""
    raw = read_artifact(path, kind, oldest=1, newest=newest)
    try:
        return make(raw)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{path}: is not a dbt {kind} file, or was cut short. Run dbt again to write it."
        ) from None


def _results(raw: Mapping[str, Any]) -> Sequence[Any]:
    return [SimpleNamespace(unique_id=one["unique_id"], status=one["status"]) for one in raw["results"]]


def _freshness(raw: Mapping[str, Any]) -> Any:
    """Return the fields that dbt's selector reads. A source whose freshness query failed has no `max_loaded_at`."""
    return SimpleNamespace(results=[SimpleNamespace(**_loaded(one)) for one in raw["results"]])


def _loaded(result: Mapping[str, Any]) -> Mapping[str, Any]:
    time = {"max_loaded_at": _TIME.validate_python(result["max_loaded_at"])} if result.get("max_loaded_at") else {}
    return {"unique_id": result["unique_id"], **time}
