"""Detects dbt's flags `--empty` and `--sample` in compiled SQL, because dbt 2 does not record them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import Manifest
from dbt_segconn.project.run_results import ResultsFile

Node = Mapping[str, Any]
# The model's own SQL may have these filters without a flag
_OWN_LIMIT = re.compile(r"\blimit\s+0\b", re.IGNORECASE)
_OWN_FILTER = re.compile(r"\(\s*select\s+\*\s+from\s+\{\{[^}]*\}\}\s+where\b", re.IGNORECASE)


def check_samples(files: Sequence[ResultsFile], manifest: Manifest, project_dir: Path) -> None:
    """Raise ConfigurationError if a mapped model, or an upstream model, was built with `--empty` or `--sample`.

    Results in which dbt 1 recorded the flags are skipped; `check_flags` covers them.
    """
    if all("empty" in file.args for file in files):
        return
    for unique_id in _with_ancestors(manifest):
        node = manifest.raw["nodes"][unique_id]
        for flag in _flags_seen(node, manifest, _compiled(node, manifest, project_dir)):
            raise ConfigurationError(
                f"{files[-1]}: dbt built {unique_id} with --{flag} (see its compiled SQL), so its table has few or no "
                f"rows. All other rows would be detected as deleted. Run dbt again without --{flag}."
            )


def _with_ancestors(manifest: Manifest) -> Iterator[str]:
    """Yield the mapped models, and all upstream models and snapshots."""
    mapped = [model.unique_id for model in manifest.models]
    for unique_id in dict.fromkeys([*mapped, *(upstream for one in mapped for upstream in manifest.ancestors(one))]):
        if manifest.raw["nodes"].get(unique_id, {}).get("resource_type") in {"model", "snapshot"}:
            yield unique_id


def _flags_seen(node: Node, manifest: Manifest, compiled: str) -> Iterator[str]:
    sql = node.get("raw_code") or ""
    for unique_id in (node.get("depends_on") or {}).get("nodes") or ():
        upstream = manifest.raw["nodes"].get(unique_id) or manifest.raw.get("sources", {}).get(unique_id) or {}
        relation = upstream.get("relation_name")
        if not relation or relation not in compiled:
            continue
        select = rf"\(\s*select\s+\*\s+from\s+{re.escape(relation)}\s+"
        if re.search(rf"{select}(where\s+false\s+)?limit\s+0\b", compiled, re.IGNORECASE) and not _OWN_LIMIT.search(
            sql
        ):
            yield "empty"
        time = (upstream.get("config") or {}).get("event_time")
        is_batched = (node.get("config") or {}).get("incremental_strategy") == "microbatch"
        if time and not is_batched and not _OWN_FILTER.search(sql):
            column = re.escape(str(time))
            if re.search(rf"{select}where\s+[^)]*{column}[^)]*[<>]", compiled, re.IGNORECASE):
                yield "sample"


def _compiled(node: Node, manifest: Manifest, project_dir: Path) -> str:
    """Return the model's compiled SQL from the manifest, else from the file that dbt wrote."""
    if code := node.get("compiled_code"):
        return str(code)
    path = node.get("compiled_path")  # null in the manifest of a command that did not compile the model
    own = manifest.path.parent / "compiled" / str(node.get("package_name")) / node["original_file_path"]
    try:
        return (project_dir / str(path) if path else own).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
