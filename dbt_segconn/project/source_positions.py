"""Source positions of a model's mappings: file and line of each key; and what YAML, dbt and Jinja make of its text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import yaml

from dbt_segconn.project.artifacts import META_KEY, Model
from dbt_segconn.project.findings import (
    NOT_YAML,
    RENDERED_AWAY,
    REPEATED_KEY,
    YAML_TRAP,
    Fault,
    Finding,
    InvalidProject,
    KeyPath,
    Position,
)
from dbt_segconn.project.yaml_file import (
    PROJECT_FILE,
    YAML_SUFFIXES,
    Node,
    compose,
    entries,
    get,
    is_text,
    key_name,
    load_yaml,
    position,
    repeated_keys,
    scalar,
    text_at,
)

RESOURCES = ("models", "seeds", "snapshots")
"""The lists of a dbt YAML file with entries that can have mappings."""

# config(...) in a model's SQL wins over its YAML, but not within a Jinja comment
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_CONFIG = re.compile(r"\bconfig\s*\(")
# Brackets within quotes do not count
_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()]""", re.DOTALL)
_KEY = re.compile(rf"\b{META_KEY}\b[\"']?\s*[:=]")
# {{ first_name }}: a bare name, which dbt renders to nothing; var('x') is a call for dbt
_BARE_NAME = re.compile(r"\{\{\{?\s*[\w.\[\]'\" ]+\s*\}?\}\}")


class Files:
    """The files of a project. Each YAML file is parsed once."""

    def __init__(self, project_dir: Path) -> None:
        self._root = project_dir
        self._read: dict[str, Node | None] = {}
        self._entries: dict[str, dict[str, list[Node]]] = {}

    def node(self, file: str) -> Node | None:
        """Return the root node of a YAML file; None if it cannot be read or parsed."""
        if file not in self._read:
            self._read[file] = compose(self.text(file))
        return self._read[file]

    def findings_in(self, file: str) -> Sequence[Finding]:
        """Return the finding of a YAML file that is not valid; a model may have no other file than its SQL."""
        if file.endswith(YAML_SUFFIXES) and self.node(file) is None:
            try:
                load_yaml((self._root / file).read_text(encoding="utf-8"), file)
            except InvalidProject as invalid:
                return invalid.findings
            except UnicodeDecodeError:
                return [Fault(NOT_YAML, (), "the file is not text in UTF-8", "Save it as UTF-8.").found_in(file)]
            except OSError:
                return ()  # gone: another finding says that the manifest has mappings of it
        return ()

    def text(self, file: str) -> str:
        """Return a file's text; empty if it cannot be read."""
        try:
            return (self._root / file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def entries_of(self, file: str, name: str) -> Sequence[Node]:
        """Return the entries of a dbt YAML file for models, seeds and snapshots of this name."""
        if file not in self._entries:
            found: dict[str, list[Node]] = {}
            for resources in RESOURCES:
                for _, _, entry in entries(get(self.node(file), resources)):
                    found.setdefault(text_at(entry, "name") or "", []).append(entry)
            self._entries[file] = found
        return self._entries[file].get(name, ())


# Without slots, which cached_property cannot use
@dataclass(frozen=True)
class SourcePositions:
    """The source positions of one model's `meta.segconn`."""

    model: Model
    files: Files

    @cached_property
    def entry(self) -> Node | None:
        """The model's entry in its YAML file; the version's entry if it has one."""
        return next(self._entries(), None)

    @cached_property
    def node(self) -> Node | None:
        """The value of `meta.segconn`; None if the model's YAML file has none."""
        if self.is_in_sql:
            return None
        return next(filter(None, map(_meta_of, self._entries())), None)

    @cached_property
    def is_in_sql(self) -> bool:
        """Whether config() in the model's SQL has the mappings."""
        return key_in_sql(self.model.sql) is not None

    @property
    def is_inherited(self) -> bool:
        """Whether the meta comes from a folder in dbt_project.yml, not from the model."""
        return self.node is None and not self.is_in_sql

    @property
    def is_removed(self) -> bool:
        """Whether the model's meta was removed from all files of the project."""
        # A package has a dbt_project.yml of its own; config(meta=…) in SQL may come from a macro or a variable
        if self.model.file.startswith("dbt_packages") or "meta" in self.model.sql or not self.is_inherited:
            return False
        is_read = self.entry is not None or not self.files.text(self.model.file)
        return is_read and self._inherited() != PROJECT_FILE

    @property
    def file(self) -> str:
        """The file with the mappings: the YAML, else the model's SQL, else dbt_project.yml."""
        if self.node is not None or not self.model.sql:
            return self.model.file
        return self.model.sql_file if self.is_in_sql else self._inherited()

    def _inherited(self) -> str:
        project = self.files.node(PROJECT_FILE)
        is_there = any(_contains_meta(get(project, resources)) for resources in RESOURCES)
        return PROJECT_FILE if is_there else self.model.file

    def folder_metas(self) -> Iterator[Node]:
        """Yield each meta with `segconn` of the model's folders in dbt_project.yml, nearest folder last."""
        node = get(self.files.node(PROJECT_FILE), f"{self.model.resource_type}s")
        for name in ("", *self.model.folders):
            node = get(node, name) if name else node
            # In dbt_project.yml, the + before a key is optional
            found = (get(node, key) for key in ("+meta", "meta"))
            yield from (one for one in found if one is not None and get(one, META_KEY) is not None)

    def _entries(self) -> Iterator[Node]:
        """Yield the entry of the version, if the model has one, then of the model. The first with a value wins."""
        version = self.model.version
        for model in self.files.entries_of(self.model.file, self.model.name_in_yaml):
            versions = entries(get(model, "versions"))
            yield from (one for _, _, one in versions if version and text_at(one, "v") == version)
            yield model

    def unmerged(self) -> SourcePositions:
        """Return a copy without the model's list items in the lists of a version.

        If a version and its model both have a block, dbt-core 1.x appends the model's lists to the version's.
        """
        blocks = [_meta_of(entry) for entry in self._entries()]
        if self.model.version is None or len(blocks) < 2 or not all(blocks):
            return self
        return SourcePositions(replace(self.model, meta=_unmerged(self.model.meta, blocks[0], blocks[-1])), self.files)

    def config_texts(self, keys: Collection[str]) -> dict[str, str]:
        """Return the texts of these keys of the model's `config` in YAML, before Jinja."""
        found: dict[str, str] = {}
        for entry in self._entries():
            texts = {key: get(entry, "config", key) for key in keys}
            found = {**{key: node.value for key, node in texts.items() if is_text(node)}, **found}
        return found

    def path_of(self, mapping: str) -> KeyPath:
        """Return the path from `meta.segconn` to a mapping."""
        names = [one.get("name") for one in self.model.meta["mappings"]]
        return ("mappings", str(names.index(mapping)))

    def _name_of(self, number: str) -> str:
        mapping = self.model.meta["mappings"][int(number)]
        name = mapping.get("name") if isinstance(mapping, dict) else None
        return name if name and isinstance(name, str) else f"number {int(number) + 1}"

    def finding(self, fault: Fault, *, mapping: str | None = None, prefix: KeyPath = ()) -> Finding:
        """Return a fault as a finding with file and position. `prefix` is the path to the mapping of the fault."""
        if mapping is None and fault.path[:1] == ("mappings",) and len(fault.path) > 1:
            prefix, mapping = fault.path[:2], self._name_of(fault.path[1])
            fault = replace(fault, path=fault.path[2:])
        where: Position | None = None
        if self.is_in_sql:
            where = key_in_sql(self.files.text(self.model.sql_file))
        elif self.node is not None:
            where = position(self.node, (*prefix, *fault.path))
        elif self.file == PROJECT_FILE:
            *_, nearest = (None, *self.folder_metas())  # dbt replaces the whole block of a farther folder
            where = position(nearest, (META_KEY, *prefix, *fault.path)) if nearest else None
        elif self.entry is not None and self.file == self.model.file:
            where = position(self.entry, ())
        resource = f"{self.model.resource_type} {self.model.name}"
        return fault.found_in(self.file, where, resource=resource, mapping=mapping)


def key_in_sql(sql: str) -> Position | None:
    """Return the position of the key `segconn` in a config() of a model's SQL, or None."""
    for start, text in _configs(sql):
        if key := _KEY.search(text):
            before = sql[: start + key.start()]
            return Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
    return None


def _configs(sql: str) -> Iterator[tuple[int, str]]:
    """Yield start and text of the arguments of each config(), without comments."""
    # Blanks of the same length keep the positions in the text
    text = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), sql)
    for start in (found.end() for found in _CONFIG.finditer(text)):
        depth, end = 1, len(text)
        for token in _TOKEN.finditer(text, start):
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            if not depth:
                end = token.start()
                break
        yield start, text[start:end]


def _meta_of(entry: Node) -> Node | None:
    return get(entry, "config", "meta", META_KEY) or get(entry, "meta", META_KEY)


def _unmerged(merged: Any, own: Node | None, model: Node | None) -> Any:
    if isinstance(merged, dict):
        return {key: _unmerged(value, get(own, str(key)), get(model, str(key))) for key, value in merged.items()}
    if isinstance(merged, list) and isinstance(own, yaml.SequenceNode) and model is not None:
        size = len(own.value)  # if the model has a text, dbt appends each of its letters
        return merged[:size] if len(merged) == size + len(model.value) else merged
    return merged


def _contains_meta(node: Node | None) -> bool:
    return any(key == META_KEY or _contains_meta(value) for key, _, value in entries(node))


def lost_values(positions: SourcePositions) -> Iterator[Fault]:
    """Yield repeated keys, and templates that dbt rendered to nothing."""
    if positions.node is not None:
        yield from _repeated(positions.node, ())
    # dbt keeps the text before Jinja for dbt_project.yml only
    for path, text in _texts(positions.model.raw_meta if positions.node is None else positions.node):
        rendered = reduce(_at, path, positions.model.meta)
        if _BARE_NAME.search(text) and "{% raw %}" not in text and _BARE_NAME.sub("", text) == rendered:
            fix = "Write ${column} instead of {{ column }}, or protect it with {% raw %}…{% endraw %}."
            yield Fault(RENDERED_AWAY, path, f"dbt rendered {text!r} to {rendered!r}", fix)


def _repeated(node: Node, path: KeyPath) -> Iterator[Fault]:
    if isinstance(node, yaml.MappingNode):
        for twice in repeated_keys(node):
            reason = "this key appears twice, and dbt keeps the last value"
            yield Fault(REPEATED_KEY, (*path, key_name(twice)), reason, "Remove or rename one of them.")
    for key, _, value in entries(node):
        yield from _repeated(value, (*path, key))


def _texts(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield each text of a tree of YAML nodes or of values, with its path."""
    if isinstance(tree, (str, yaml.ScalarNode)):
        yield path, tree if isinstance(tree, str) else tree.value
    elif isinstance(tree, Node):
        for key, _, value in entries(tree):
            yield from _texts(value, (*path, key))
    elif isinstance(tree, (dict, list)):
        children: dict[Any, Any] = tree if isinstance(tree, dict) else dict(enumerate(tree))
        for key, value in children.items():
            yield from _texts(value, (*path, str(key)))


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
        return is_text(node) and "{" not in node.value and node.value != rendered
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
    """Yield unquoted words that YAML 1.1, which dbt reads, converts: on, 010, 12:30:00, 1.10.

    https://yaml.org/type/
    """
    if isinstance(node, yaml.ScalarNode):
        if (read := _misread(node)) is not None:
            fix = f'If you mean text, write "{node.value}".'
            yield Fault(YAML_TRAP, path, f"YAML reads {node.value} as {read}", fix)
    elif node is not None:
        for key, where, value in entries(node):
            if where is not value and isinstance(where, yaml.ScalarNode) and not is_text(where):
                fix = f'If you mean text, write "{where.value}".'
                yield Fault(YAML_TRAP, (*path, key), f"YAML reads the key {where.value} as {key}", fix)
            yield from traps(value, (*path, key))


def _misread(node: yaml.ScalarNode) -> str | None:
    """Return the converted value of an unquoted word as text, or None if it looks the same."""
    if node.style or is_text(node):
        return None
    value = scalar(node)
    if isinstance(value, bool):
        return None if node.value.lower() in {"true", "false"} else str(value).lower()
    if isinstance(value, int):
        return None if str(value) == node.value.replace("_", "").lstrip("+") else str(value)
    if isinstance(value, float) and re.fullmatch(r"\d+\.\d*0|[\d:]+\.?\d*", node.value) and str(value) != node.value:
        return str(value)  # 1.10 loses its zero, 1:30.5 is a number of seconds
    return None
