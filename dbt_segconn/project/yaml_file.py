"""YAML files with the line and column of each key; dbt_project.yml and profiles.yml among them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.findings import NOT_YAML, Fault, InvalidProject, KeyPath, Position

PROJECT_FILE, PROFILES_FILE = "dbt_project.yml", "profiles.yml"
YAML_SUFFIXES = (".yml", ".yaml")
"""The suffixes of the files that dbt reads as YAML."""
# Far above real files. They bound what a "billion laughs" file costs; PyYAML recurses for each level.
MAX_CHARACTERS, MAX_NODES, MAX_DEPTH = 20_000_000, 1_000_000, 200

Node = yaml.Node
_MERGE = "tag:yaml.org,2002:merge"
_FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is about 10 times faster


def load_yaml(text: str, file: str) -> Any:
    """Parse YAML. Raises InvalidProject with the line of the error."""
    try:
        check_limits(text)
        return yaml.load(text, _UniqueKeys)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        where, reason = _problem(error)
    # The usual causes: an unquoted `@path:` is not valid, and an unquoted `{{ … }}` is read as a mapping
    fix = 'Quote "@..." keys and "{{ ... }}" values.' if "{" in text or "@" in text else ""
    raise InvalidProject([Fault(NOT_YAML, (), f"not valid YAML: {reason}", fix).found_in(file, where)])


def _problem(error: yaml.YAMLError) -> tuple[Position | None, str]:
    """Return position and reason of an error. PyYAML's own text also quotes the line, which may hold a secret."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or str(error)
    # A secret without quotes that begins with * or ! is an alias or a tag, which PyYAML quotes
    return _position(mark) if mark else None, re.sub(r"(alias|tag|handle) (['\"]).*\2", r"\1 '…'", reason)


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def compose(text: str) -> Node | None:
    """Parse YAML to nodes. Return None if the text is empty or not valid YAML."""
    try:
        check_limits(text)
        return yaml.compose(text, _FastLoader)
    except yaml.YAMLError:
        return None


def repeated_keys(node: yaml.MappingNode) -> Iterator[yaml.ScalarNode]:
    """Yield each key that repeats an earlier key of this mapping."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            if key.value in seen:
                yield key
            seen.add(key.value)


def entries(node: Node | None) -> Iterator[tuple[str, Node, Node]]:
    """Yield key, node of the key, and value. Merged keys come first; the keys of a list are its positions."""
    if isinstance(node, yaml.SequenceNode):
        for at, one in enumerate(node.value):
            yield str(at), one, one
    elif isinstance(node, yaml.MappingNode):
        # The keys of `<<: *anchor` come first: child() takes the last, so the mapping's own keys win
        for key, value in node.value:
            if key.tag == _MERGE:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from entries(merged)
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                yield key_name(key), key, value


def key_name(key: yaml.ScalarNode) -> str:
    """Return a key as JSON, and thus dbt's manifest, spells it: `on` is true."""
    value = scalar(key)
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def scalar(node: yaml.ScalarNode) -> Any:
    """Return the value in YAML 1.1, or the text if it has no valid value."""
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except Exception:  # noqa: BLE001  PyYAML raises what its parsers raise
        return node.value


def is_text(node: Node | None) -> TypeGuard[yaml.ScalarNode]:
    """Return whether a node is a text: quoted, or a word that YAML does not convert."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str"


def child(node: Node | None, key: str) -> tuple[Node, Node] | None:
    """Return the key node and the value of a key, or None. The last of equal keys wins, as in PyYAML."""
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


def text_at(node: Node | None, *path: str) -> str | None:
    """Return the text at a path, as written; None if there is none, or a list or mapping."""
    value = get(node, *path)
    return value.value if isinstance(value, yaml.ScalarNode) else None


def position(node: Node, path: KeyPath) -> Position:
    """Return the position of the key at a path, or of its nearest parent that exists."""
    here = node
    for one in path:
        found = child(node, one)
        if found is None:
            break
        here, node = found
    return _position(here.start_mark)


class Loader(yaml.SafeLoader):
    """PyYAML's SafeLoader. Any value that it cannot construct, such as 2026-02-30, is a YAMLError."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  PyYAML's signature
        """Return the value of a node. Raise YAMLError."""
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:  # noqa: BLE001  PyYAML raises what its parsers raise
            value_type = node.tag.rpartition(":")[2]
            problem = f"not a valid {value_type}; quote it if it is text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


class _UniqueKeys(Loader):
    """A loader that rejects duplicate keys. PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        for key in repeated_keys(node):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} appears twice", key.start_mark)
        return super().construct_mapping(node, deep)


def check_limits(text: str) -> None:
    """Raise YAMLError if a text is too large, too deep, or expands to too many nodes."""
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"must be at most {MAX_CHARACTERS:,} characters, not {len(text):,}")
    # Most files need no count: without anchors, this depth takes as many brackets, or a line of as many characters
    brackets = text.count("[") + text.count("{")
    if "&" not in text and brackets < MAX_DEPTH and max(map(len, text.split("\n"))) < MAX_DEPTH:
        return
    counter = _NodeCounter()
    for event in yaml.parse(text, _FastLoader):
        if problem := counter.add(event):
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]


class _NodeCounter:
    """Counts nodes from parser events, with aliases expanded. It needs no recursion and expands nothing."""

    def __init__(self) -> None:
        self._count = 0
        self._sizes: dict[str, int] = {}
        self._open: list[tuple[str | None, int]] = []

    def add(self, event: yaml.Event) -> str | None:
        """Count an event. Return the limit that it exceeds, or None."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in self._open}:
                return f"the alias *{event.anchor} is inside the node that it refers to"
            self._count += self._sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            self._sizes |= {anchor: self._count - before} if anchor else {}
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                self._open.append((event.anchor, self._count))
            elif event.anchor:
                self._sizes[event.anchor] = 1
            self._count += 1
        if self._count > MAX_NODES:
            return f"must hold at most {MAX_NODES:,} nodes, with aliases expanded"
        return f"must be nested at most {MAX_DEPTH} levels deep" if len(self._open) > MAX_DEPTH else None


@dataclass(frozen=True, slots=True)
class DbtProject:
    """A dbt project: its folder, and the keys of dbt_project.yml before Jinja."""

    dir: Path
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the project, and of its package."""
        return str(self.content.get("name") or self.dir.name)

    @property
    def vars(self) -> Mapping[str, Any]:
        """Variables of the project. Those of its package win. dbt does not render them."""
        variables = _mapping(self.content.get("vars"))
        return {**variables, **_mapping(variables.get(self.name))}


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile of profiles.yml: output → its keys, and the name of the default target; all before Jinja."""

    outputs: Mapping[str, Mapping[str, Any]]
    default: str


def from_environment(option: str) -> str | None:
    """Return the value of dbt's environment variable for an option, or None."""
    return next(filter(None, map(os.environ.get, environment_variables(option))), None)


def environment_variables(option: str) -> list[str]:
    """Return the variables that dbt reads for an option. The prefix `DBT_ENGINE_` exists from dbt 1.11 on.

    https://docs.getdbt.com/reference/global-configs/
    """
    return [f"DBT_ENGINE_{option.upper()}", f"DBT_{option.upper()}"]


def find_project(folder: Path | None) -> DbtProject:
    """Return the project in a folder. Default: the working directory, or its nearest parent with a project.

    Raises ConfigurationError if there is none, or if dbt_project.yml cannot be read.
    """
    named = folder or from_environment("project_dir")
    start = Path(named or ".").expanduser().absolute()
    # As dbt, which searches parent folders only without --project-dir
    folders = [start] if named else [start, *start.parents]
    root = next((one for one in folders if (one / PROJECT_FILE).is_file()), None)
    if root is None:
        raise ConfigurationError(
            f"{start}: no {PROJECT_FILE} here{'' if named else ' or in a parent folder'}. Change to the folder of your "
            "dbt project, or set --project-dir."
        )
    return DbtProject(root, _read_yaml(root / PROJECT_FILE))


def read_profiles(folder: Path) -> Mapping[str, Profile]:
    """Return the profiles of profiles.yml by name; none if the file does not exist.

    Raises ConfigurationError if it cannot be read.
    """
    path = folder / PROFILES_FILE
    found = _read_yaml(path) if path.is_file() else {}
    return {str(name): _profile(content) for name, content in found.items() if isinstance(content, dict)}


def _profile(content: Mapping[str, Any]) -> Profile:
    outputs = {str(name): _mapping(output) for name, output in _mapping(content.get("outputs")).items()}
    # dbt's own default for a profile without `target`
    return Profile(outputs, str(content.get("target") or "default"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_yaml(path: Path) -> Mapping[str, Any]:
    """Read a YAML file as dbt does: the last of equal keys wins. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
        check_limits(text)
        content = yaml.load(text, Loader)  # noqa: S506  a SafeLoader
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: must be UTF-8, but byte {error.object[error.start]:#04x} at position {error.start} is not. "
            "Save the file as UTF-8."
        ) from None
    except yaml.YAMLError as error:
        where, reason = _problem(error)
        line = f":{where.line}" if where else ""
        raise ConfigurationError(f"{path}{line}: not valid YAML: {reason}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must be a mapping of keys, not {type(content).__name__}.")
    return content
