"""`segconn` where it is not read: misspelt, beside `meta`, under what is not synced, or not yet in dbt's manifest."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from dbt_segconn.project.artifacts import META_KEY, TABLES, Manifest
from dbt_segconn.project.dbt_project import PROJECT_FILE
from dbt_segconn.project.findings import DISABLED_MODEL, MISPLACED, STALE_MANIFEST, Fault, Finding
from dbt_segconn.project.source_positions import RESOURCES, Files, SourcePositions, key_in_sql
from dbt_segconn.project.yaml_file import Node, entries, get

# dbt's other resources: nothing of them is synced
_OTHERS = ("sources", "exposures", "metrics", "semantic_models", "saved_queries", "analyses", "macros", "groups")
# Folders of no source files, besides hidden ones
_SKIPPED = frozenset({"target", "dbt_packages", "dbt_modules", "logs", "node_modules", "venv", "env", "site-packages"})
_NEAR = 0.84
_KEYS_OF_META = frozenset({"mappings", "unique_identifier", "consent", "timezone"})


def misplaced(project_dir: Path, manifest: Manifest) -> Iterator[Finding]:
    """Find every block of mappings that is not read, in the YAML of the project and in dbt's manifest."""
    files = Files(project_dir)
    seen: set[str] = set()
    for file in _yaml_files(project_dir):
        found = [*_in_file(files.node(file), file, manifest)]
        seen.update(one.resource for one in found if one.resource)
        yield from found
    yield from (one for one in _in_manifest(manifest, files) if one.resource not in seen)
    yield from _in_project(files.node(PROJECT_FILE))


def _yaml_files(root: Path) -> Iterator[str]:
    """Yield the YAML files that mention what looks like mappings, relative to the project."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if one not in _SKIPPED and not one.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in {".yml", ".yaml"} and _mentions_mappings(path):
                yield path.relative_to(root).as_posix()


def _mentions_mappings(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return META_KEY in text or "mappings" in text or "unique_identifier" in text


def _in_file(node: Node | None, file: str, manifest: Manifest) -> Iterator[Finding]:
    for resource_key in RESOURCES:
        for model in _listed(node, resource_key):
            resource = f"{resource_key[:-1]} {_text(get(model, 'name'))}"
            for where, fault in (*_of_model(model), *_unread(model, resource_key, manifest)):
                yield _finding(fault, file, where, resource)
    for resource_key in _OTHERS:
        for one in _listed(node, resource_key):
            for where, value in _anywhere(one):
                if get(value, "mapping") is None:  # what `exposures` writes is no mapping, but tells of one
                    reason = f"{META_KEY} stands under {resource_key}, of which nothing is synced"
                    fault = Fault(MISPLACED, (), reason, "Put it under config.meta of a model, seed or snapshot.")
                    yield _finding(fault, file, where, f"{resource_key} {_text(get(one, 'name'))}")


def _listed(node: Node | None, resource_key: str) -> Iterator[Node]:
    """Yield dbt's resources of a kind; in dbt_project.yml, the same key has folders, which are no list."""
    listed = get(node, resource_key)
    if isinstance(listed, yaml.SequenceNode):
        yield from listed.value


def _of_model(model: Node) -> Iterator[tuple[Node, Fault]]:
    """Find what is misspelt or misplaced in the YAML of a model, its versions and columns."""
    yield from _in_holders(model)
    for _, _, version in entries(get(model, "versions")):
        yield from _of_model(version)
    for _, _, column in entries(get(model, "columns")):
        for where, _value in _anywhere(column):
            reason = f"{META_KEY} stands under the column {_text(get(column, 'name'))}"
            yield where, Fault(MISPLACED, (), reason, "Mappings belong to the model: move it to its config.meta.")


def _in_holders(model: Node) -> Iterator[tuple[Node, Fault]]:
    holders = {"": model, "config": get(model, "config")}
    metas = {"meta": get(model, "meta"), "config.meta": get(model, "config", "meta")}
    for place, holder in {**holders, **metas}.items():
        for key, where, value in entries(holder):
            if key == META_KEY and place in holders:
                reason = f"{META_KEY} stands {f'under {place}' if place else 'beside the name'}, where it is not read"
                yield (
                    where,
                    Fault(MISPLACED, (), reason, f"Move it to config.meta: config: {{meta: {{{META_KEY}: …}}}}."),
                )
            elif key != META_KEY and _is_near(key, value):
                fix = f"Did you mean {META_KEY!r}? It stands under config.meta."
                yield where, Fault(MISPLACED, (), f"{key!r} is not read", fix)


def _is_near(key: str, value: Node) -> bool:
    """Whether a key of mappings is `segconn` with a slip of the pen."""
    plain = key.casefold().lstrip("+").replace("dbt", "").replace("_", "").replace("-", "")
    is_alike = plain == META_KEY or difflib.SequenceMatcher(None, plain, META_KEY).ratio() > _NEAR
    return is_alike and any(name in _KEYS_OF_META for name, _, _ in entries(value))


def _anywhere(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield every `segconn` below a node: where its key stands, and its value."""
    for key, where, value in entries(node):
        if where is not value and (key == META_KEY or _is_near(key, value)):
            yield where, value
        else:
            yield from _anywhere(value)


def _unread(model: Node, resource_key: str, manifest: Manifest) -> Iterator[tuple[Node, Fault]]:
    """Find mappings of a model that dbt's manifest does not have: written after it, or under a name of no model."""
    holders = (get(model, "config", "meta"), get(model, "meta"))
    written = [where for holder in holders for key, where, _ in entries(holder) if key == META_KEY]
    if not written:
        return
    name = _text(get(model, "name"))
    own = [node for node in _nodes(manifest) if (node["resource_type"], node["name"]) == (resource_key[:-1], name)]
    known = {one.unique_id for one in manifest.models}
    if not any(node["unique_id"] in known or not _is_enabled(node, manifest) for node in own):
        reason = f"dbt's manifest {'has none of these mappings' if own else f'has no {resource_key[:-1]} of this name'}"
        fix = "Run `dbt parse`." if own else "Mend the name, or run `dbt parse`."
        yield written[0], Fault(STALE_MANIFEST, (), reason, fix)


def _nodes(manifest: Manifest) -> Iterator[dict[str, str]]:
    for node in (*manifest.raw["nodes"].values(), *manifest.disabled()):
        if node["resource_type"] in TABLES:
            yield node


def _is_enabled(node: dict[str, str], manifest: Manifest) -> bool:
    return node["unique_id"] in manifest.raw["nodes"]


def _in_manifest(manifest: Manifest, files: Files) -> Iterator[Finding]:
    for unique_id, node in manifest.raw["nodes"].items():
        if node["resource_type"] in TABLES and META_KEY in (node.get("config") or {}):
            model = manifest.model(unique_id)
            fix = f"Write config(meta={{'{META_KEY}': …}})."
            reason = f"{META_KEY} stands in config(), where it is not read"
            resource = f"{model.resource_type} {model.name}"
            where = key_in_sql(files.text(model.sql_file))
            line, column = (where.line, where.column) if where else (None, None)
            yield Finding(MISPLACED, reason, fix, model.sql_file, line, column, resource=resource)
    for model in manifest.disabled_models():
        fault = Fault(DISABLED_MODEL, (), "the model is disabled, so that its mappings are not synced", "Enable it.")
        yield SourcePositions(model, files).finding(fault)


def _in_project(node: Node | None) -> Iterator[Finding]:
    for resource_key in RESOURCES:
        yield from _in_folder(get(node, resource_key), resource_key, is_meta=False)


def _in_folder(node: Node | None, resource_key: str, *, is_meta: bool) -> Iterator[Finding]:
    """Find what dbt_project.yml says of folders beside their `+meta`, or under a misspelt key of it."""
    for key, where, value in entries(node):
        if is_meta and key == META_KEY:
            continue
        if _is_near(key, value):
            reason = f"{key!r} is not read"
            fault = Fault(MISPLACED, (), reason, f"Write +meta: {{{META_KEY}: …}}.")
            yield _finding(fault, PROJECT_FILE, where, resource_key)
        else:
            yield from _in_folder(value, resource_key, is_meta=key in {"meta", "+meta"})


def _finding(fault: Fault, file: str, where: Node, resource: str) -> Finding:
    mark = where.start_mark
    return Finding(fault.rule, fault.message, fault.fix, file, mark.line + 1, mark.column + 1, resource)


def _text(node: Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "?"
