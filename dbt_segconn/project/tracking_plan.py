"""Tracking plans: files of Segment's Public and Config API, typewriter and Terraform, or JSON Schemas → rules.

A rule is a JSON Schema (draft-07) over a whole call. https://segment.com/docs/protocols/tracking-plan/create/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.terraform import jsonencoded, read_resources

CALL_TYPES = ("common", "track", "identify", "group", "page", "screen")
# Order Paid@2.json is version 2 of an event
_FILE_NAME = re.compile(r"(?P<name>.+?)(@(?P<version>\d+))?")
# A schema with one of these keys is of a whole call; without, of its properties or traits
_PARTS = frozenset({"properties", "traits", "context"})


@dataclass(frozen=True, slots=True)
class PlanRule:
    """The rule for calls of one type: `common` for all types. `name` is that of an event, page or screen, if any."""

    call_type: str
    name: str | None
    version: int
    schema: Mapping[str, Any]

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        return f"{self.call_type}{name}, version {self.version}"


def body_of(call_type: str) -> str:
    """Return the key of a call that holds its traits or properties."""
    return "traits" if call_type in {"identify", "group"} else "properties"


def read_rules(path: Path) -> tuple[PlanRule, ...]:
    """Read a file, or the .json and .tf files of a folder.

    Raises ConfigurationError if it is not a whole tracking plan.
    """
    found = path.rglob("*") if path.is_dir() else [path]
    files = sorted(one for one in found if one == path or one.suffix.lower() in {".json", ".tf"})
    rules: list[PlanRule] = []
    total = 0
    for file in files:
        content = _content(file)
        total = max(total, _total(content))
        rules += _rules(file, content)
    if not rules:
        raise ConfigurationError(f"{path}: has no rules of a tracking plan")
    # Events on a missing page would all be unplanned
    if len(rules) < total:
        raise ConfigurationError(
            f"{path}: has {len(rules)} of {total} rules. The Public API returns pages of rules: put all in one folder"
        )
    seen: set[tuple[str, str | None, int]] = set()
    for rule in rules:
        if (key := (rule.call_type, rule.name, rule.version)) in seen:
            raise ConfigurationError(f"{path}: has two rules for {rule}")
        seen.add(key)
    return tuple(rules)


def _content(file: Path) -> Any:
    try:
        # Editors on Windows may begin a file with a byte order mark
        text = file.read_text(encoding="utf-8-sig")
        return list(_in_terraform(file, text)) if file.suffix.lower() == ".tf" else json.loads(text)
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: not found") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{file}:{error.lineno}: is not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{file}: is not valid JSON") from None


def _in_terraform(file: Path, text: str) -> Iterator[Any]:
    for _, _, plan in read_resources(file, text, "segment_tracking_plan"):
        for rule in plan.get("rules") or ():
            schema = rule.get("json_schema")
            yield {**rule, "jsonSchema": jsonencoded(schema) if isinstance(schema, str) else schema}


def _total(content: Any) -> int:
    """Return the number of rules on all pages of an answer of the Public API; 0 if the file is none."""
    try:
        return int(content["data"]["pagination"]["totalEntries"])
    except (LookupError, TypeError, ValueError):
        return 0


def _rules(file: Path, content: Any) -> Iterator[PlanRule]:
    data = content.get("data", content) if isinstance(content, dict) else content
    listed = data.get("rules") if isinstance(data, dict) else data
    try:
        if isinstance(listed, list):
            yield from map(_listed, listed)
        elif isinstance(listed, dict):
            yield from _in_config_api(listed)
        elif isinstance(data, dict) and data.keys() & {"$schema", "properties", "required", "type"}:
            yield _plain(file, data)
        else:
            raise ConfigurationError(f"{file}: is neither a tracking plan with `rules` nor a JSON Schema")
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError):
        raise ConfigurationError(f"{file}: has a rule without type, key, version or schema") from None


def _listed(rule: Mapping[str, Any]) -> PlanRule:
    """Read a rule of the Public API, Terraform or typewriter 8. A schema of typewriter covers the properties only."""
    call_type, schema = str(rule["type"]).lower(), rule.get("jsonSchema", rule.get("json_schema"))
    schema = json.loads(schema) if isinstance(schema, str) else schema
    # Only typewriter 8 writes this key: its schemas are of the properties, not of a whole call
    if "eventMetadata" in schema:
        schema = {"properties": {body_of(call_type): {key: schema[key] for key in schema if key != "eventMetadata"}}}
    return _rule(call_type, rule.get("key"), rule.get("version"), schema)


def _in_config_api(rules: Mapping[str, Any]) -> Iterator[PlanRule]:
    for key, call_type in (("global", "common"), ("identify", "identify"), ("group", "group")):
        if rules.get(key):
            yield _rule(call_type, None, 1, rules[key])
    for key in ("identify_traits", "group_traits"):
        if rules.get(key):
            raise ConfigurationError(f"rules.{key} is not read. Write its rules in `{key.removesuffix('_traits')}`")
    for event in rules.get("events") or ():
        yield _rule("track", event["name"], event.get("version"), event["rules"])


def _plain(file: Path, schema: Mapping[str, Any]) -> PlanRule:
    """Read `Order Paid.json`, `Order Paid@2.json`, `identify.json`, `page/Home.json`: the path names the rule."""
    found = _FILE_NAME.fullmatch(file.stem)
    name, version = (found["name"], found["version"]) if found else (file.stem, None)
    folder = file.parent.name.lower()
    if name.lower() in CALL_TYPES and folder not in CALL_TYPES:
        call_type, event = name.lower(), None
    else:
        call_type, event = folder if folder in CALL_TYPES else "track", name
    parts = schema.get("properties") or {}
    is_whole = call_type == "common" or any("properties" in (parts.get(part) or {}) for part in _PARTS)
    return _rule(call_type, event, version, schema if is_whole else {"properties": {body_of(call_type): schema}})


def _rule(call_type: str, name: Any, version: Any, schema: Any) -> PlanRule:
    if call_type not in CALL_TYPES or not isinstance(schema, dict) or (call_type == "track" and not name):
        raise ValueError
    return PlanRule(call_type, str(name) if name else None, int(version or 1), schema)
