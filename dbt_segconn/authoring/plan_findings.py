"""Checks of mappings against the tracking plan: what every call, or every value of a column, violates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dbt_segconn.actions.calls import call_builder
from dbt_segconn.mapping.compiler import ROOT_DIRECTIVE
from dbt_segconn.mapping.path import relative, steps
from dbt_segconn.project.artifacts import KnownColumns
from dbt_segconn.project.drafts import MappingDraft
from dbt_segconn.project.findings import PLAN_VIOLATION, UNPLANNED, Fault, KeyPath
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.project.tracking_plan import FILLED_IN, PlanRule, TrackingPlan, body_of, compile_schema
from dbt_segconn.warehouse.source import NUMBERS, value_type_of

# action → the field that holds the name of its calls
_NAMES = {"track": "event_name", "page": "page_name", "screen": "screen_name"}
# value type → types of JSON Schema that some of its values have; all others are text
_TYPES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(NUMBERS, frozenset({"number", "integer"})),
    "boolean": frozenset({"boolean"}),
    "json": frozenset({"object", "array", "string", "number", "integer", "boolean"}),
}
_TEXT = frozenset({"string"})


def plan_faults(
    draft: MappingDraft, known: KnownColumns, plan: TrackingPlan | None, adapter_type: str
) -> Iterator[Fault]:
    """Yield what is certain without rows. Values of other directives than @path and @template are not known."""
    action, fields = draft.action, draft.fields
    if plan is None or action is None or fields is None or draft.meta is None or _is_directive(fields):
        return
    name = fields.get(_NAMES.get(action.name, ""))
    is_constant = isinstance(name, str) or name is None
    if isinstance(name, str) and plan.is_unplanned(action.name, name):
        near = near_name(name, plan.names(action.name)).lstrip()
        yield Fault(UNPLANNED, ("fields", "event_name"), f"the tracking plan has no event {name!r}", near)
    rules = plan.rules_of(action.name, name if is_constant else None, draft.meta.event_version)
    call = call_builder(action, fields)({key: one for key, one in fields.items() if one is not None and one != ""})
    body = body_of(action.name)
    for rule, _ in rules if is_constant else [one for one in rules if one[0].call_type == "common"]:
        for missing in _missing(rule.schema, {*call, *FILLED_IN, "messageId"}):
            yield Fault(PLAN_VIOLATION, ("fields",), f"{missing} is required by the rule {rule}, and is not mapped")
        checks = _Checks(rule, known, adapter_type, is_exact=draft.meta.decimals == "text")
        yield from checks.faults(_member(rule.schema, body), call[body], ("fields", body))
    if is_constant:
        yield from _unplanned([_member(rule.schema, body) for rule, _ in rules], fields.get(body), ("fields", body))


def _unplanned(schemas: Collection[Mapping[str, Any]], value: Any, path: KeyPath) -> Iterator[Fault]:
    """Yield the members of a value that no rule has, if the rules name any."""
    planned = {name for schema in schemas for name in schema.get("properties") or ()}
    if planned and isinstance(value, dict) and not _is_directive(value):
        for name in value:
            if name not in planned:
                near = near_name(name, planned).lstrip()
                kind = "trait" if path[-1] == "traits" else "property"
                yield Fault(UNPLANNED, (*path, name), f"the tracking plan has no {kind} {name!r}", near)


@dataclass(frozen=True, slots=True)
class _Checks:
    """Checks of mapped values against the schemas of one rule."""

    rule: PlanRule
    known: KnownColumns
    adapter_type: str
    is_exact: bool

    def faults(self, schema: Mapping[str, Any], value: Any, path: KeyPath) -> Iterator[Fault]:
        """Yield a fault for each value that the schema does not accept."""
        if isinstance(value, dict) and not _is_directive(value):
            for name in _missing(schema, value):
                yield self._fault(path, f"{name!r} is required, and is not mapped")
            for name, one in value.items():
                yield from self.faults(_member(schema, name), one, (*path, name))
        elif isinstance(value, dict):
            yield from self._faults_of_type(schema, value, path)
        elif schema and not isinstance(value, list):
            for error in compile_schema(schema, str(self.rule)).iter_errors(value):
                yield self._fault(path, error.message)

    def _faults_of_type(self, schema: Mapping[str, Any], value: Mapping[str, Any], path: KeyPath) -> Iterator[Fault]:
        found = self._types_of(value)
        allowed = schema.get("type")
        accepted = {allowed} if isinstance(allowed, str) else set(allowed or ())
        if found and accepted and not found & accepted:
            types, column = " or ".join(sorted(accepted)), column_of(value)
            subject = (
                f"the column {column} is of the type {self._data_type(column)}" if column else "a template is text"
            )
            yield self._fault(path, f"must be {types}, and {subject}")

    def _types_of(self, value: Mapping[str, Any]) -> frozenset[str]:
        """Return the types that a directive may have, except null; none if they are unknown."""
        data_type = self._data_type(column_of(value))
        if data_type:
            value_type = value_type_of(data_type, self.adapter_type, exact_decimals=self.is_exact)
            return _TYPES.get(value_type, _TEXT)
        return _TEXT if set(value) == {"@template"} else frozenset()

    def _data_type(self, column: str | None) -> str | None:
        if column is None:
            return None
        return next((one for name, one in self.known.types.items() if name.casefold() == column.casefold()), None)

    def _fault(self, path: KeyPath, reason: str) -> Fault:
        return Fault(PLAN_VIOLATION, path, f"{reason} (the rule {self.rule})")


def _missing(schema: Mapping[str, Any], names: Collection[str]) -> Iterator[str]:
    yield from (name for name in schema.get("required") or () if name not in names)


def _member(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the schema of a member; an empty one, which accepts every value, if it is not written there."""
    found = (schema.get("properties") or {}).get(name)
    return found if isinstance(found, dict) else {}


def _is_directive(value: Mapping[str, Any]) -> bool:
    return any(key.startswith("@") or key == ROOT_DIRECTIVE for key in value)


def column_of(value: Mapping[str, Any]) -> str | None:
    """Return the column of a value that is one column; None for any other value."""
    path = value.get("@path")
    keys = steps(relative(path)) if isinstance(path, str) and len(value) == 1 else ()
    return keys[1] if len(keys) == 2 and keys[0] == "properties" else None
