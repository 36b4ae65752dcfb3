"""Checks of valid mappings for likely mistakes, and against the tracking plan.

Each check is one function from draft to faults.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from dbt_segconn.actions.calls import call_builder
from dbt_segconn.actions.fields import RESERVED, SpecType
from dbt_segconn.limits import CALL_BYTES, MAPPED_MEMBERS, MESSAGE_ID_CHARACTERS, violation
from dbt_segconn.mapping.compiler import column_of, is_directive, uses, values
from dbt_segconn.mapping.path import relative, steps
from dbt_segconn.mapping.problems import type_name_of
from dbt_segconn.project.artifacts import META_KEY, Catalog, KnownColumns, Manifest, Model
from dbt_segconn.project.drafts import MappingDraft, ModelDraft
from dbt_segconn.project.findings import (
    CONSENT_DROPPED,
    DISABLED_DESTINATION,
    DOUBTFUL_COLUMN,
    EVENT_NAME,
    NEVER_SENT,
    NO_ORDER,
    PLAN_VIOLATION,
    STALE_MANIFEST,
    TOO_MANY_MEMBERS,
    TRAIT_TYPE,
    UNKNOWN_INTEGRATION,
    UNKNOWN_LABEL,
    UNPLANNED,
    UNTESTED_IDENTIFIER,
    Fault,
    Finding,
    KeyPath,
)
from dbt_segconn.project.identifiers import SEGMENT_ID, unquoted
from dbt_segconn.project.mappings import no_column, row_columns
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.source_positions import SourcePositions, is_stale, traps, unread_mappings
from dbt_segconn.project.spec_integrations import unknown_names
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.project.tracking_plan import FILLED_IN, PlanRule, TrackingPlan, body_of, compile_schema
from dbt_segconn.project.yaml_file import get
from dbt_segconn.warehouse.source import NUMBERS, misfit, unordered, value_type_of

# In a name of ten letters, an added letter gives the ratio 0.95, a changed one 0.90
TYPO_RATIO = 0.92


@dataclass(frozen=True, slots=True)
class CheckInputs:
    """The inputs of the checks besides the mappings. `settings` is None if segconn.yml is missing or invalid.

    `plans` are the tracking plans by destination.
    """

    manifest: Manifest
    catalog: Catalog
    settings: Settings | None
    plans: Mapping[str, TrackingPlan]


def check(drafts: Sequence[ModelDraft], inputs: CheckInputs) -> Iterator[Finding]:
    """Run every check on every mapping of the project."""
    events: dict[str, str] = {}  # name in lower case → its first spelling
    adapter_type = inputs.manifest.adapter_type
    yield from broken_files(one.positions for one in drafts)
    for model in drafts:
        columns = inputs.catalog.columns_of(model.positions.model)
        yield from stale(model.positions)
        for fault in _model_faults(model, columns, inputs):
            yield model.positions.finding(fault)
        for draft in model.mappings:
            faults = chain(
                _columns(draft, columns),
                _trait_types(draft, columns),
                _event_name(draft),
                _constants(draft),
                _too_many_members(draft, columns),
                _unknown_integrations(draft.valid_keys.get("integrations")),
                _unordered(draft, columns, adapter_type),
                _disabled(draft, inputs.settings),
                _plan_faults(draft, columns, inputs.plans.get(draft.destination or ""), adapter_type),
                _event_case(draft, events),
            )
            yield from map(draft.finding, faults)


def check_settings(settings: Settings, drafts: Iterable[ModelDraft]) -> Iterator[Fault]:
    """Yield a fault for each denied label that no column has, and for each unknown name in `integrations`."""
    models = [draft.positions.model for draft in drafts]
    known = frozenset().union(*(one.classifiers.union(*(column.labels for column in one.columns)) for one in models))
    for name, destination in settings.destinations.items():
        for label in (one for one in destination.deny if one not in known):
            fix = near_name(label, known).lstrip() or "Label the columns in dbt."
            reason = f"no column of a mapped model has the label {label!r}"
            yield Fault(UNKNOWN_LABEL, ("destinations", name, "deny"), reason, fix)
        yield from _unknown_integrations(destination.integrations, "destinations", name)


def _model_faults(draft: ModelDraft, columns: KnownColumns, inputs: CheckInputs) -> Iterator[Fault]:
    yield from traps(draft.positions.node)
    for column in draft.identifier:
        yield from _missing(("unique_identifier",), column, columns, draft.positions.model)
    for category, column in draft.consent.items():
        yield from _missing(("consent", category), column, columns, draft.positions.model)
    yield from _untested(draft, inputs.manifest)
    yield from _consent_dropped(draft)


def broken_files(models: Iterable[SourcePositions]) -> Iterator[Finding]:
    """Yield a finding for each file of models that is not valid YAML: the manifest has what dbt parsed before."""
    for file, files in {one.model.file: one.files for one in models}.items():
        yield from files.findings_in(file)


def stale(positions: SourcePositions) -> Iterator[Finding]:
    """Yield findings if the YAML of a model has changed since dbt parsed it."""
    fix = "Run `dbt parse`."
    unread = tuple(unread_mappings(positions))
    for at, name in unread:
        fault = Fault(STALE_MANIFEST, (), "dbt's manifest does not have this mapping", fix)
        yield positions.finding(fault, mapping=name, prefix=("mappings", at))
    if positions.is_removed:
        reason = "dbt's manifest has mappings that were removed from the file"
        yield positions.finding(Fault(STALE_MANIFEST, (), reason, fix))
    elif not unread and is_stale(positions):
        yield positions.finding(Fault(STALE_MANIFEST, (), "the file has changed since dbt parsed it", fix))


def _consent_dropped(draft: ModelDraft) -> Iterator[Fault]:
    # dbt merges meta by its first-level keys: a model's `segconn` replaces that of its folder as a whole
    if not any(get(meta, META_KEY, "consent") for meta in draft.positions.folder_metas()):
        return
    uncovered = [one.name for one in draft.mappings if one.consent is None]
    if uncovered:
        reason = (
            f"is missing: this block replaces that of its folder, and the mapping {uncovered[0]} has no consent columns"
        )
        yield Fault(CONSENT_DROPPED, ("consent",), reason, "Repeat the columns here, or write `consent: not_needed`.")


# Names of generic tests by what they prove: those of dbt, dbt_utils, dbt_expectations and dbt_constraints
_UNIQUE = frozenset({"unique", "primary_key", "unique_key", "expect_column_values_to_be_unique"})
_NOT_NULL = frozenset({"not_null", "primary_key", "expect_column_values_to_not_be_null"})
_UNIQUE_TOGETHER = {
    "unique_combination_of_columns": "combination_of_columns",
    "expect_compound_columns_to_be_unique": "column_list",
    "primary_key": "column_names",
    "unique_key": "column_names",
}


def _untested(draft: ModelDraft, manifest: Manifest) -> Iterator[Fault]:
    model = draft.positions.model
    wanted = {column.casefold() for column in draft.identifier}
    if model.snapshot and wanted <= {model.snapshot.scd_id.casefold()}:
        return  # dbt guarantees that it is unique
    unique, filled = _tested(model, manifest)
    lacks = []
    if wanted and not any(keys <= wanted for keys in unique):
        lacks.append("unique" if len(wanted) == 1 else "dbt_utils.unique_combination_of_columns")
    if missing := sorted(wanted - filled):
        lacks.append("not_null" + ("" if len(wanted) == 1 else f" on {', '.join(missing)}"))
    if lacks:
        reason = f"{' and '.join(draft.identifier)} is not tested {' and '.join(lacks)}"
        fix = "Records that are null or not unique there are discarded, and dbt does not report them."
        yield Fault(UNTESTED_IDENTIFIER, ("unique_identifier",), reason, fix)


def _tested(model: Model, manifest: Manifest) -> tuple[list[set[str]], set[str]]:
    """Return the sets of columns that tests or constraints prove unique, and the columns proven not null."""
    unique: list[set[str]] = []
    filled: set[str] = set()
    for node in manifest.tests_on(model.unique_id):
        test = node.get("test_metadata") or {}
        name, arguments = test.get("name", ""), test.get("kwargs") or {}
        together = arguments.get(_UNIQUE_TOGETHER.get(name, "")) or ()
        single = node.get("column_name") or arguments.get("column_name")
        columns = {unquoted(str(one)).casefold() for one in ([single] if single else together)}
        if columns and (name in _UNIQUE or name in _UNIQUE_TOGETHER):
            unique.append(columns)
        if name in _NOT_NULL:
            filled |= columns
    constraints = [*model.constraints, *((rule, (one.name,)) for one in model.columns for rule in one.constraints)]
    for rule, names in constraints:
        columns = {name.casefold() for name in names}
        if rule in {"unique", "primary_key"}:
            unique.append(columns)
        if rule in {"not_null", "primary_key"}:
            filled |= columns
    return unique, filled


def _missing(path: tuple[str, ...], column: str, known: KnownColumns, model: Model) -> Iterator[Fault]:
    """Yield a fault for a column that does not exist, or is likely a typo of a known column."""
    names = tuple(known.types)
    if not names or column == SEGMENT_ID or column.casefold() in map(str.casefold, names):
        return
    if known.complete:  # else the column may exist without being listed: only likely typos are reported
        yield no_column(path, column, names, f"the {known.origin} of {model.name}")
    elif known.origin == "old catalog":
        fix = f"{near_name(column, names)} The catalog is older than the manifest; --online reads the warehouse."
        reason = f"the column {column!r} is not in the catalog of {model.name}"
        yield Fault(DOUBTFUL_COLUMN, path, reason, fix.lstrip())
    elif near := next((name for name in names if _is_typo(column.casefold(), name.casefold())), None):
        reason = f"the column {column!r} is not documented, but one of nearly the same name is"
        yield Fault(DOUBTFUL_COLUMN, path, reason, f"Did you mean {near!r}?")


def _is_typo(wrong: str, right: str) -> bool:
    """Return whether one name is likely a typo of the other; created_at is no typo of updated_at."""
    # equal letters in another order are a typo at any ratio: `emial`
    return sorted(wrong) == sorted(right) or difflib.SequenceMatcher(None, wrong, right).ratio() > TYPO_RATIO


def _columns(draft: MappingDraft, known: KnownColumns) -> Iterator[Fault]:
    model = draft.positions.model
    consent = {} if draft.inherits_consent else draft.consent or {}  # those of the model are checked once, with it
    for path, column in uses(draft.fields or {}):
        yield from _missing(("fields", *path), column, known, model)
    for category, column in consent.items():
        yield from _missing(("consent", category), column, known, model)
    for column, path in row_columns(draft.meta).items() if draft.meta else ():
        yield from _missing(path, column, known, model)


def _unordered(draft: MappingDraft, known: KnownColumns, adapter_type: str) -> Iterator[Fault]:
    """Yield a fault for a checkpoint or order_by column whose known type cannot be used for it."""
    if draft.meta is None or not known.complete:
        return
    # dbt and warehouses may write a column in different cases
    checkpoint, order = draft.meta.checkpoint, {name.casefold() for name in draft.meta.order_by or ()}
    for name, data_type in known.types.items():
        value_type = value_type_of(data_type, adapter_type) if data_type else ""
        is_checkpoint = checkpoint is not None and name.casefold() == checkpoint.column.casefold()
        if checkpoint and data_type and is_checkpoint and (reason := misfit(value_type, checkpoint.lag)):
            yield Fault(NO_ORDER, ("checkpoint",), f"{name} is of the type {data_type}: {reason}")
        if data_type and name.casefold() in order and (reason := unordered(value_type)):
            yield Fault(NO_ORDER, ("order_by",), f"{name} is of the type {data_type}: {reason}")


def _trait_types(draft: MappingDraft, known: KnownColumns) -> Iterator[Fault]:
    for field in ("traits", "properties"):
        reserved = RESERVED.get((draft.action.name if draft.action else "", field), ())
        values = (draft.fields or {}).get(field)
        for one in reserved:
            found = _type_of(values.get(one.name), known) if isinstance(values, dict) else None
            if found and found not in one.accepted:
                reason = f"must be {one.accepted[0]} by Segment's Spec, not {found}"
                fix = "Map another column, or use another name."
                yield Fault(TRAIT_TYPE, ("fields", field, one.name), reason, fix)


def _type_of(value: Any, known: KnownColumns) -> SpecType | None:
    """Return the type of a mapped value, if the mapping or the type of its column determines it."""
    if column := column_of(value):  # of all directives, only `@path` keeps the type of its column
        return known.type_of(column)
    if isinstance(value, dict) and "@template" in value:
        return "text"
    return _SPEC_TYPES.get(type_name_of(value))


# type of a JSON value → type of the Spec. The type of a directive depends on the record
_SPEC_TYPES: Mapping[str, SpecType] = {
    "boolean": "boolean",
    "number": "number",
    "string": "text",
    "array": "list",
    "object": "object",
}


def _event_name(draft: MappingDraft) -> Iterator[Fault]:
    event = (draft.fields or {}).get("event_name")
    path = ("fields", "event_name")
    if draft.action is None or draft.action.name != "track":
        return
    if isinstance(event, dict) and isinstance(template := event.get("@template"), str):
        # "Signed up in {{city}}" makes an event per city; "{{event}}" alone reads the name from a column, which is fine
        if re.sub(r"\{\{\{?.*?\}?\}\}", "", template).strip():
            fix = "Use one name for all records and map the column in properties."
            yield Fault(EVENT_NAME, path, "makes a separate event for each value of a column", fix)
    elif isinstance(event, str) and event.strip() != event:
        yield Fault(EVENT_NAME, path, f"{event!r} begins or ends with a space", "Remove it.")


def _event_case(draft: MappingDraft, seen: dict[str, str]) -> Iterator[Fault]:
    event = (draft.fields or {}).get("event_name")
    if isinstance(event, str) and seen.setdefault(event.casefold(), event) != event:
        reason = f"{event!r} differs only in case from the event {seen[event.casefold()]!r} of another mapping"
        fix = "Segment treats them as two events: use the same spelling."
        yield Fault(EVENT_NAME, ("fields", "event_name"), reason, fix)


def _constants(draft: MappingDraft) -> Iterator[Fault]:
    fields = draft.fields or {}
    timestamp = fields.get("timestamp")
    # an empty text counts as missing, as in Segment's destination
    if isinstance(timestamp, (str, int, float)) and not isinstance(timestamp, bool) and timestamp != "":
        probe = {"type": "identify", "userId": "x", "messageId": "x", "timestamp": str(timestamp)}
        if reason := violation(probe):
            yield Fault(NEVER_SENT, ("fields", "timestamp"), reason, "Map a timestamp column, or remove it.")
    if isinstance(fields.get("message_id"), (str, int)) and fields["message_id"] != "":
        # Segment drops a call whose messageId it has seen in the last 24 hours: only the first call would arrive
        reason = f"gives every call the same messageId (of at most {MESSAGE_ID_CHARACTERS} characters)"
        yield Fault(NEVER_SENT, ("fields", "message_id"), reason, "Remove it: dbt-segconn generates one for each call.")
    # the size of a directive's value depends on the record
    constants = (one for _, one in values([fields, draft.valid_keys.get("integrations")]) if not isinstance(one, dict))
    size = sum(len(orjson.dumps(one, default=str)) for one in constants)
    if size > CALL_BYTES:
        reason = f"the constants must be below Segment's limit of {CALL_BYTES:,} bytes per call, not {size:,}"
        yield Fault(NEVER_SENT, ("fields",), reason, "Shorten them.")


def _too_many_members(draft: MappingDraft, known: KnownColumns) -> Iterator[Fault]:
    for field in ("traits", "properties"):
        count = _members((draft.fields or {}).get(field), len(known.types))
        if count > MAPPED_MEMBERS:
            reason = f"has {count:,} {field}; Segment silently drops calls with more than {MAPPED_MEMBERS:,}"
            yield Fault(TOO_MANY_MEMBERS, ("fields", field), reason, "Map fewer columns.")


def _members(value: Any, columns: int) -> int:
    """Return the minimum number of members of a value; `columns` is the number of columns of the record."""
    if not isinstance(value, dict):
        return 1
    name = next((key for key in value if key.startswith("@")), None)
    if name is None:
        return sum(_members(one, columns) for one in value.values())
    argument = value[name]
    if name == "@path":
        return columns if isinstance(argument, str) and steps(relative(argument)) in {(), ("properties",)} else 1
    if name == "@merge":  # its objects may have the same members: the largest one is the minimum
        return max((_members(one, columns) for one in argument["objects"]), default=0)
    inner = argument if name in {"@literal", "@excludeWhenNull"} else None
    return _members(argument["value"] if name == "@flatten" else inner, columns)


def _unknown_integrations(value: Mapping[str, Any] | None, *path: str) -> Iterator[Fault]:
    """Yield a fault for each name in `integrations` that is probably not the name of a destination."""
    for name, fix in unknown_names(value):
        reason = f"{name!r} is not in the list of Segment's destinations"
        yield Fault(UNKNOWN_INTEGRATION, (*path, "integrations", name), reason, fix)


def _disabled(draft: MappingDraft, settings: Settings | None) -> Iterator[Fault]:
    destination = settings.destinations.get(draft.destination or "") if settings else None
    if destination is not None and not destination.enabled and draft.valid_keys.get("enabled", True):
        reason = f"the destination {draft.destination!r} is disabled: nothing is sent"
        fix = "Enable it, or set `enabled: false` for the mapping."
        yield Fault(DISABLED_DESTINATION, ("destination",), reason, fix)


# --- The tracking plan: what every call, or every value of a column, violates ---

# action → the field that holds the name of its calls
_NAMES = {"track": "event_name", "page": "page_name", "screen": "screen_name"}
# value type → types of JSON Schema that some of its values have; all others are text
_TYPES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(NUMBERS, frozenset({"number", "integer"})),
    "boolean": frozenset({"boolean"}),
    "json": frozenset({"object", "array", "string", "number", "integer", "boolean"}),
}
_TEXT = frozenset({"string"})


def _plan_faults(
    draft: MappingDraft, known: KnownColumns, plan: TrackingPlan | None, adapter_type: str
) -> Iterator[Fault]:
    """Yield what is certain without rows. Values of other directives than @path and @template are not known."""
    action, fields = draft.action, draft.fields
    if plan is None or action is None or fields is None or draft.meta is None or is_directive(fields):
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
        for missing in _required(rule.schema, {*call, *FILLED_IN, "messageId"}):
            yield Fault(PLAN_VIOLATION, ("fields",), f"{missing} is required by the rule {rule}, and is not mapped")
        checks = _PlanChecks(rule, known, adapter_type, is_exact=draft.meta.decimals == "text")
        yield from checks.faults(_member(rule.schema, body), call[body], ("fields", body))
    if is_constant:
        yield from _unplanned([_member(rule.schema, body) for rule, _ in rules], fields.get(body), ("fields", body))


def _unplanned(schemas: Collection[Mapping[str, Any]], value: Any, path: KeyPath) -> Iterator[Fault]:
    """Yield the members of a value that no rule has, if the rules name any."""
    planned = {name for schema in schemas for name in schema.get("properties") or ()}
    if planned and not is_directive(value):
        for name in value:
            if name not in planned:
                near = near_name(name, planned).lstrip()
                kind = "trait" if path[-1] == "traits" else "property"
                yield Fault(UNPLANNED, (*path, name), f"the tracking plan has no {kind} {name!r}", near)


@dataclass(frozen=True, slots=True)
class _PlanChecks:
    """Checks of mapped values against the schemas of one rule."""

    rule: PlanRule
    known: KnownColumns
    adapter_type: str
    is_exact: bool

    def faults(self, schema: Mapping[str, Any], value: Any, path: KeyPath) -> Iterator[Fault]:
        """Yield a fault for each value that the schema does not accept."""
        if not is_directive(value):
            for name in _required(schema, value):
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
            of_column = f"the column {column} is of the type {self.known.data_type_of(column)}"
            yield self._fault(path, f"must be {types}, and {of_column if column else 'a template is text'}")

    def _types_of(self, value: Mapping[str, Any]) -> frozenset[str]:
        """Return the types that a directive may have, except null; none if they are unknown."""
        if data_type := self.known.data_type_of(column_of(value)):
            value_type = value_type_of(data_type, self.adapter_type, exact_decimals=self.is_exact)
            return _TYPES.get(value_type, _TEXT)
        return _TEXT if set(value) == {"@template"} else frozenset()

    def _fault(self, path: KeyPath, reason: str) -> Fault:
        return Fault(PLAN_VIOLATION, path, f"{reason} (the rule {self.rule})")


def _required(schema: Mapping[str, Any], names: Collection[str]) -> Iterator[str]:
    yield from (name for name in schema.get("required") or () if name not in names)


def _member(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the schema of a member; an empty one, which accepts every value, if it is not written there."""
    found = (schema.get("properties") or {}).get(name)
    return found if isinstance(found, dict) else {}
