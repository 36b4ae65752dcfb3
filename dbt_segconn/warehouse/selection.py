"""`--select`, `--exclude`, `--selector` and `--state`, evaluated by dbt's own selector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from textwrap import shorten
from types import SimpleNamespace
from typing import Any

from pydantic import TypeAdapter

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import read_artifact
from dbt_segconn.warehouse.dbt_manifest import make_comparable, read_dbt_manifest

_TIME = TypeAdapter(datetime)
# Characters of a dbt error; a list of nodes may follow the reason
_MAX_REASON = 300


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
