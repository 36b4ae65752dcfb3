"""Add a mapping to the YAML file of a model; keep all other lines, with comments, quotes and layout."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import META_KEY, Model
from dbt_segconn.project.source_positions import RESOURCES


def add_mapping(path: Path, model: Model, identifier: tuple[str, ...], mapping: dict[str, Any]) -> None:
    """Append a mapping to a model's `config.meta.segconn`; create the file if it is missing.

    Raises ConfigurationError, and does not change the file, if its layout cannot be kept.
    """
    before = path.read_text(encoding="utf-8") if path.exists() else "models: []\n"
    yaml, content = _round_trip(before)
    _append(_entry(content, model), identifier, mapping)
    after = _merged(before, _dump(yaml, content)) if path.exists() else _dump(yaml, content)
    if _values(after) != _plain(content):
        raise ConfigurationError(
            f"{path}: cannot be edited without changing other lines. Paste the mapping that "
            "`dbt-segconn suggest` prints without --write."
        )
    path.write_text(after, encoding="utf-8")


def _round_trip(text: str) -> tuple[Any, Any]:
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
        from ruamel.yaml.util import load_yaml_guess_indent
    except ImportError:
        raise ConfigurationError("--write needs ruamel.yaml: pip install 'dbt-segconn[suggest]'.") from None
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    try:
        _, indent, offset = load_yaml_guess_indent(text)
        yaml.indent(mapping=2, sequence=indent or 4, offset=2 if offset is None else offset)
        yaml.explicit_start = text.startswith("---")
        return yaml, yaml.load(text)
    except YAMLError as error:
        raise ConfigurationError(f"not valid YAML: {str(error).splitlines()[0]}.") from None


def _entry(content: Any, model: Model) -> Any:
    name = model.name.partition(".v")[0] if model.version else model.name
    for resource_key in RESOURCES:
        for entry in content.get(resource_key) or ():
            if entry.get("name") == name:
                return entry
    entry = {"name": name}
    content.setdefault(f"{model.resource_type}s", []).append(entry)
    return entry


def _append(entry: Any, identifier: tuple[str, ...], mapping: dict[str, Any]) -> None:
    """Append the mapping to the model's meta: under config, unless it has only an older `meta` key."""
    holder = entry if "meta" in entry and "meta" not in (entry.get("config") or {}) else _child(entry, "config")
    segconn = _child(_child(holder, "meta"), META_KEY)
    if "unique_identifier" not in segconn and identifier:
        segconn["unique_identifier"] = identifier[0] if len(identifier) == 1 else list(identifier)
    mappings = segconn.setdefault("mappings", [])
    names = {one.get("name") for one in mappings}
    name = next(name for name in _names(mapping["name"]) if name not in names)
    mappings.append({**mapping, "name": name})


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in range(2, 1000))


def _child(holder: Any, key: str) -> Any:
    if holder.get(key) is None:
        holder[key] = {}
    return holder[key]


def _dump(yaml: Any, content: Any) -> str:
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def _merged(before: str, after: str) -> str:
    """Return the old lines with the added ones: a YAML dump changes the layout of some lines."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if old and not old[-1].endswith("\n"):
        old[-1] += "\n"
    lines: list[str] = []
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for tag, old_from, old_to, new_from, new_to in changes:
        added = new[new_from:new_to] if tag == "insert" else []
        kept = old[old_from:old_to]
        end = _insertion_point(lines, added[0]) if added else len(lines)
        lines[end:] = [*added, *lines[end:], *kept]
    return "".join(lines)


def _insertion_point(lines: list[str], added: str) -> int:
    """Return the index of an added line: before blank lines and less indented comments, which precede the next key."""
    indent = len(added) - len(added.lstrip())
    end = len(lines)
    while end and (not (text := lines[end - 1].strip()) or (text[0] == "#" and lines[end - 1].index("#") < indent)):
        end -= 1
    return end


def _values(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return _plain(YAML(typ="safe").load(text))
    except YAMLError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value
