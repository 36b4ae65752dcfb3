"""YAML as it was written: its values, and the line and column of each key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from dbt_segconn.project.findings import NOT_YAML, Finding, InvalidProject, Path

Node = yaml.Node
_Composer = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads a large project in a tenth of the time


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text; both count from 1."""

    line: int
    column: int


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys in silence; here they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        for key in repeated_keys(node):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} stands here twice", key.start_mark
            )
        return super().construct_mapping(node, deep)


def load_yaml(text: str, file: str) -> Any:
    """Parse YAML; raises InvalidProject that names the line."""
    try:
        return yaml.load(text, _UniqueKeys)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidProject([_not_yaml(error, text, file)]) from None


def _not_yaml(error: yaml.YAMLError, text: str, file: str) -> Finding:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    reason = getattr(error, "problem", None) or str(error)
    fix = 'Quote "@..." keys and "{{ ... }}" values.' if "{" in text or "@" in text else ""
    return Finding(NOT_YAML, f"not valid YAML: {reason}", fix, file, line, column)


def compose(text: str) -> Node | None:
    """Parse YAML without making values of it; None where it is empty or no valid YAML."""
    try:
        return yaml.compose(text, _Composer)
    except yaml.YAMLError:
        return None


def repeated_keys(node: yaml.MappingNode) -> Iterator[yaml.ScalarNode]:
    """Yield the keys that stand in this mapping a second time."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                yield key
            seen.add(key.value)


def entries(node: Node | None) -> Iterator[tuple[str, Node, Node]]:
    """Yield key, where it stands, and value: of a mapping, those that it merges first; of a list by position."""
    if isinstance(node, yaml.SequenceNode):
        for at, one in enumerate(node.value):
            yield str(at), one, one
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from entries(merged)
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                yield key_name(key), key, value


def key_name(key: yaml.ScalarNode) -> str:
    """Name a key as JSON, and so dbt's manifest, names it: `on` is true."""
    value = scalar(key)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def scalar(node: yaml.ScalarNode) -> Any:
    """Return the value that YAML 1.1 reads; the text itself where it reads none."""
    constructor = yaml.constructor.SafeConstructor()
    try:
        return constructor.construct_object(node)
    except (yaml.YAMLError, ValueError):
        return node.value


def child(node: Node | None, key: str) -> tuple[Node, Node] | None:
    """Find an entry by its key: where the key stands, and the value. The last of equal keys, as YAML has it."""
    found = [(where, value) for name, where, value in entries(node) if name == key]
    return found[-1] if found else None


def get(node: Node | None, *path: str) -> Node | None:
    """Return the value at a path, or None."""
    for key in path:
        found = child(node, key)
        if found is None:
            return None
        node = found[1]
    return node


def position(node: Node, path: Path) -> Position:
    """Return where the key at the end of a path stands, or the last of its owners that is there."""
    here = node
    for one in path:
        found = child(node, one)
        if found is None:
            break
        here, node = found
    mark = here.start_mark
    return Position(mark.line + 1, mark.column + 1)
