"""Checks of calls against the tracking plan of a destination: which rules a call violates, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.findings import NO_PLAN, Fault
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.tracking_plan import PlanRule, read_rules

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
