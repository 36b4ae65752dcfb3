"""Tracking plans: their files in four forms, and checks of calls against their rules."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.findings import NO_PLAN, Fault
from dbt_segconn.project.settings import Settings
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


def read_plans(settings: Settings, project_dir: Path) -> tuple[dict[str, TrackingPlan], list[Fault]]:
    """Read the tracking plan of each destination that checks one. Return them by destination, and the faults."""
    plans: dict[str, TrackingPlan] = {}
    faults: list[Fault] = []
    for name, one in settings.destinations.items():
        if one.tracking_plan and one.violations != "off":
            try:
                plans[name] = _compiled(project_dir / one.tracking_plan, discards=one.violations == "discard")
            except ConfigurationError as error:
                faults.append(Fault(NO_PLAN, ("destinations", name, "tracking_plan"), str(error).removesuffix(".")))
    return plans, faults


def _compiled(path: Path, *, discards: bool) -> TrackingPlan:
    rules: dict[tuple[str, str | None], dict[int, tuple[PlanRule, Any]]] = {}
    for rule in read_rules(path):
        rules.setdefault((rule.call_type, rule.name), {})[rule.version] = (rule, compile_schema(rule.schema, str(rule)))
    return TrackingPlan({key: {0: versions[min(versions)], **versions} for key, versions in rules.items()}, discards)


def compile_schema(schema: Mapping[str, Any], owner: str) -> Any:
    """Compile a JSON Schema of draft-07. Raises ConfigurationError if it is not valid, or refers to another file."""
    # A call of 5 properties takes 171 µs with jsonschema, which dbt installs, 8 µs with fastjsonschema, and 1.3 µs
    # with this one. fastjsonschema also stops at the first violation, and runs Python that it writes from the schema
    try:
        import jsonschema_rs
    except ImportError:
        raise ConfigurationError(
            "a tracking plan needs jsonschema-rs: pip install 'dbt-segconn[tracking-plan]'"
        ) from None
    try:
        return jsonschema_rs.Draft7Validator(dict(schema), validate_formats=True, retriever=_refuse)
    except ValueError as error:  # its text quotes the schema only
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"the rule {owner} is not a JSON Schema of draft-07: {reason}") from None


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is outside of the rule")


# --- Files of rules: of the Public API, of Terraform, of typewriter, or JSON Schemas ---


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
    if repeated := [rule for rule, count in Counter(map(str, rules)).items() if count > 1]:
        raise ConfigurationError(f"{path}: has two rules for {repeated[0]}")
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
    """Return the number of rules on all pages of an answer of the Public API; 0 for any other file."""
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


# --- Checks of calls ---

# What Segment adds to each call before it checks the call: https://segment.com/docs/connections/spec/common/
_TIME = "2026-01-01T00:00:00.000Z"
FILLED_IN = dict.fromkeys(("timestamp", "sentAt", "receivedAt", "originalTimestamp"), _TIME)
FILLED_CONTEXT = {"library": {"name": "dbt-segconn", "version": "1"}}
# Keywords of JSON Schema that are followed by a name, and how that name is shown
_NAMED = {"properties": "", "patternProperties": "*", "definitions": "", "dependencies": "", "$defs": ""}
_ITEMS = dict.fromkeys(("items", "additionalItems", "additionalProperties"), "*")
_SHOWN = 5


class Violation(NamedTuple):
    """A part of a call that breaks a rule. `kind` is the keyword of JSON Schema, or `unplanned`. It has no value."""

    rule: str
    field: str
    kind: str

    def __str__(self) -> str:
        return f"{self.field or 'the call'}: {self.kind}"


@dataclass(frozen=True, slots=True)
class TrackingPlan:
    """The rules of a destination by call type and name, then by version: 0 is the oldest. Each has its compiled schema.

    With `discards`, calls that break a rule are not sent.
    """

    rules: Mapping[tuple[str, str | None], Mapping[int, tuple[PlanRule, Any]]]
    discards: bool

    def rules_of(self, call_type: str, name: str | None, version: int | None) -> list[tuple[PlanRule, Any]]:
        """Return the rules for a call: that of all calls, and that of its name, or else of its type.

        Without a known version, the oldest counts, as in Segment.
        """
        own = self.rules.get((call_type, name)) or self.rules.get((call_type, None))
        found = filter(None, (self.rules.get(("common", None)), own))
        return [versions.get(version or 0) or versions[0] for versions in found]

    def is_unplanned(self, call_type: str, name: str | None) -> bool:
        """Return whether a call is of an event that the tracking plan does not have."""
        return call_type == "track" and ("track", name) not in self.rules

    def names(self, call_type: str) -> list[str]:
        """Return the names of the events, pages or screens in the tracking plan."""
        return [name for one, name in self.rules if one == call_type and name]

    def violations(self, call: Mapping[str, Any], version: int | None) -> list[Violation]:
        """Return what Segment would find in a call."""
        call_type = call["type"]
        name = call.get("event" if call_type == "track" else "name")
        message = {**FILLED_IN, **call, "context": {**FILLED_CONTEXT, **call["context"]}}
        rules = self.rules_of(call_type, name, version)
        found = [
            one for rule, schema in rules if not schema.is_valid(message) for one in _errors(rule, schema, message)
        ]
        # the name may come from a row: it is not shown
        return [Violation("track", "event", "unplanned"), *found] if self.is_unplanned(call_type, name) else found


def _errors(rule: PlanRule, schema: Any, message: Mapping[str, Any]) -> Iterator[Violation]:
    for error in schema.iter_errors(message):
        names = [*_names_in(error.schema_path), *([error.kind.property] if error.kind.name == "required" else [])]
        yield Violation(str(rule), ".".join(names), error.kind.name)


def _names_in(schema_path: Iterable[str | int]) -> Iterator[str]:
    """Yield the path of a violation as the schema names it. Keys of the call are not shown: a row may have them."""
    path = list(schema_path)[:-1]  # the last one is the keyword that is violated
    while path:
        step = path.pop(0)
        name = path.pop(0) if path and step in _NAMED else ""
        shown = str(name) if step == "properties" else _NAMED.get(str(step)) or _ITEMS.get(str(step))
        yield from filter(None, [shown])


def reason_of(violations: Sequence[Violation]) -> str:
    """Return the discard reason of a call. It contains no value of the call."""
    more = f" and {len(violations) - _SHOWN} more" if len(violations) > _SHOWN else ""
    return f"the call violates the tracking plan: {', '.join(map(str, violations[:_SHOWN]))}{more}"


@dataclass(frozen=True, slots=True)
class ViolationCounts:
    """Violations of a sync's calls: how many calls have each, and the messageId of the first."""

    found: dict[Violation, tuple[int, str]] = field(default_factory=dict)

    def add(self, violation: Violation, count: int, sample: str) -> None:
        """Count calls with a violation."""
        before = self.found.get(violation, (0, sample))
        self.found[violation] = (before[0] + count, before[1])

    def add_all(self, others: ViolationCounts) -> None:
        """Add what a worker has counted."""
        for violation, (count, sample) in others.found.items():
            self.add(violation, count, sample)

    def as_json(self) -> list[dict[str, Any]]:
        """Return one object for each violation, the most frequent first."""
        ordered = sorted(self.found.items(), key=lambda one: -one[1][0])
        return [{**one._asdict(), "count": count, "sample": sample} for one, (count, sample) in ordered]

    def line(self) -> str:
        """Return the most frequent violations in one line."""
        listed = self.as_json()
        shown = ", ".join(f"{one['field']}: {one['kind']} in {one['count']:,}" for one in listed[:_SHOWN])
        return (
            f"calls violate the tracking plan: {shown}{f', and {len(listed) - _SHOWN} more' * (len(listed) > _SHOWN)}"
        )
