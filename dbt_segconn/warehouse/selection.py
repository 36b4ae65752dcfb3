"""`--select`, `--exclude`, `--selector` and `--state` in dbt's own syntax, by dbt's own selector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked for; nothing asked selects everything."""

    select: Sequence[str] = ()
    exclude: Sequence[str] = ()
    selector: str | None = None
    state: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.select or self.exclude or self.selector)


def select_models(selection: Selection, config: Any, manifest: Mapping[str, Any], target_path: Path) -> frozenset[str]:
    """Return the unique ids of the selected models, seeds and snapshots.

    `config` is the warehouse's dbt configuration. Raises ConfigurationError with dbt's own reason.
    https://docs.getdbt.com/reference/node-selection/syntax
    """
    from dbt_common.exceptions import DbtBaseException

    try:
        return frozenset(_select(selection, config, manifest, target_path))
    except DbtBaseException as error:
        raise ConfigurationError(f"--select, --exclude or --selector: {error}") from error


def _select(selection: Selection, config: Any, manifest: Mapping[str, Any], target_path: Path) -> set[str]:
    from dbt.artifacts.schemas.manifest import WritableManifest
    from dbt.compilation import Linker
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.state import PreviousState
    from dbt.graph import Graph, ResourceTypeSelector, parse_difference
    from dbt.node_types import NodeType

    graph_manifest = Manifest.from_writable_manifest(WritableManifest.from_dict(dict(manifest)))
    linker = Linker()
    linker.link_graph(graph_manifest)
    previous = None
    if selection.state:
        root = Path(config.project_root)
        previous = PreviousState(selection.state, target_path, root)
    selector = ResourceTypeSelector(
        Graph(linker.graph),
        graph_manifest,
        previous,
        resource_types=[NodeType.Model, NodeType.Seed, NodeType.Snapshot],
    )
    if selection.selector:
        spec = config.get_selector(selection.selector)
    else:
        spec = parse_difference(list(selection.select) or None, list(selection.exclude) or None)
    selected: set[str] = selector.get_selected(spec)
    return selected
