"""Values that YAML or dbt's Jinja changed, and mappings that differ between file and manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from dbt_segconn.project.findings import RENDERED_AWAY, REPEATED_KEY, YAML_TRAP, Fault, KeyPath
from dbt_segconn.project.source_positions import SourcePositions
from dbt_segconn.project.yaml_file import Node, entries, get, key_name, repeated_keys, scalar

# {{ first_name }}: a bare name, which dbt renders to nothing; var('x') is a call for dbt
_BARE_NAME = re.compile(r"\{\{\{?\s*[\w.\[\]'\" ]+\s*\}?\}\}")
_MERGE = "tag:yaml.org,2002:merge"


def lost_values(positions: SourcePositions) -> Iterator[Fault]:
    """Yield repeated keys, and templates that dbt rendered to nothing."""
    if positions.node is not None:
        yield from _repeated(positions.node, ())
        yield from _emptied(positions.node, positions.model.meta, ())
    else:
        yield from _emptied_texts(positions.model.raw_meta, positions.model.meta, ())


def _repeated(node: Node, path: KeyPath) -> Iterator[Fault]:
    if isinstance(node, yaml.MappingNode):
        for twice in repeated_keys(node):
            reason = "this key appears twice, and dbt keeps the last value"
            yield Fault(REPEATED_KEY, (*path, key_name(twice)), reason, "Remove or rename one of them.")
    for key, _, value in entries(node):
        yield from _repeated(value, (*path, key))


def _emptied(node: Node, rendered: Any, path: KeyPath) -> Iterator[Fault]:
    if isinstance(node, yaml.ScalarNode):
        yield from _emptied_texts(node.value, rendered, path)
        return
    for key, _, value in entries(node):
        yield from _emptied(value, _at(rendered, key), (*path, key))


def _emptied_texts(raw: Any, rendered: Any, path: KeyPath) -> Iterator[Fault]:
    """Compare all texts of a tree before and after Jinja."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield from _emptied_texts(value, _at(rendered, str(key)), (*path, str(key)))
    elif isinstance(raw, list):
        for at, value in enumerate(raw):
            yield from _emptied_texts(value, _at(rendered, str(at)), (*path, str(at)))
    elif (
        isinstance(raw, str)
        and _BARE_NAME.search(raw)
        and "{% raw %}" not in raw
        and _BARE_NAME.sub("", raw) == rendered
    ):
        fix = "Write ${column} instead of {{ column }}, or protect it with {% raw %}…{% endraw %}."
        yield Fault(RENDERED_AWAY, path, f"dbt rendered {raw!r} to {rendered!r}", fix)


def is_stale(positions: SourcePositions) -> bool:
    """Return whether mappings differ between file and manifest. Values with Jinja are not compared."""
    if positions.node is None or positions.model.version is not None:  # dbt merges versions with their model
        return False
    return _differs(positions.node, positions.model.meta)


def unread_mappings(positions: SourcePositions) -> Iterator[tuple[str, str]]:
    """Yield position and name of each mapping that is in the file but not in the manifest."""
    meta = positions.model.meta
    mappings = meta.get("mappings") if isinstance(meta, dict) else None
    known = {one.get("name") for one in mappings or () if isinstance(one, dict)} if isinstance(mappings, list) else {}
    for at, _, one in entries(get(positions.node, "mappings")):
        name = get(one, "name")
        if isinstance(name, yaml.ScalarNode) and "{" not in name.value and scalar(name) not in known:
            yield at, name.value


def _differs(node: Node, rendered: Any) -> bool:
    if isinstance(node, yaml.ScalarNode):
        is_text = node.tag == "tag:yaml.org,2002:str" and "{" not in node.value
        return is_text and node.value != rendered
    if not isinstance(rendered, (dict, list)):
        return True
    children = {key: value for key, _, value in entries(node)}
    keys = {str(key) for key in (rendered if isinstance(rendered, dict) else range(len(rendered)))}
    return keys != set(children) or any(_differs(value, _at(rendered, key)) for key, value in children.items())


def _at(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return value[int(key)] if key.isdecimal() and int(key) < len(value) else None
    return value.get(key) if isinstance(value, dict) else None


def traps(node: Node | None, path: KeyPath = ()) -> Iterator[Fault]:
    """Yield unquoted words that YAML 1.1 converts: on, 010, 12:30:00, 1.10."""
    if isinstance(node, yaml.ScalarNode):
        if (read := _misread(node)) is not None:
            yield Fault(
                YAML_TRAP, path, f"YAML reads {node.value} as {read}", f'If you mean text, write "{node.value}".'
            )
    elif node is not None:
        for key, where, value in entries(node):
            if where is not value and isinstance(where, yaml.ScalarNode) and where.tag != "tag:yaml.org,2002:str":
                fix = f'If you mean text, write "{where.value}".'
                yield Fault(YAML_TRAP, (*path, key), f"YAML reads the key {where.value} as {key}", fix)
            yield from traps(value, (*path, key))


def _misread(node: yaml.ScalarNode) -> str | None:
    """Return the converted value of an unquoted word as text, or None if it looks the same."""
    if node.style or node.tag == "tag:yaml.org,2002:str":
        return None
    value = scalar(node)
    if isinstance(value, bool):
        return None if node.value.lower() in {"true", "false"} else str(value).lower()
    if isinstance(value, int):
        return None if str(value) == node.value.replace("_", "").lstrip("+") else str(value)
    if isinstance(value, float) and re.fullmatch(r"\d+\.\d*0|[\d:]+\.?\d*", node.value) and str(value) != node.value:
        return str(value)  # 1.10 loses its zero, 1:30.5 is a number of seconds
    return None
