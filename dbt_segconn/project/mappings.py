"""Valid mappings of the project, compiled for syncs; and the rules of segconn.yml that they must follow."""

from __future__ import annotations

import hashlib
import json
import re
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from dbt_segconn.mapping import ALL_COLUMNS, columns_used
from dbt_segconn.mapping.compiler import expand, reads, uses, without_hashes
from dbt_segconn.project.artifacts import Manifest, Model, Snapshot
from dbt_segconn.project.drafts import MappingDraft, ModelDraft, read_drafts
from dbt_segconn.project.findings import (
    DENIED_COLUMN,
    NO_COLUMN,
    NO_CONSENT,
    NO_MAPPING,
    Fault,
    Finding,
    InvalidProject,
    KeyPath,
)
from dbt_segconn.project.identifiers import SEGMENT_ID
from dbt_segconn.project.meta import MappingMeta, MappingNames, shown_names
from dbt_segconn.project.settings import DestinationSettings, Settings, findings_in_settings
from dbt_segconn.project.source_positions import SourcePositions
from dbt_segconn.project.spec_integrations import merged
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.project.tracking_plan import TrackingPlan, read_plans

# Every warehouse accepts names of 63 characters; "records_" leaves 55 for an id
ID_LENGTH = 55


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping, compiled and checked: everything that a sync needs except data.

    `name` is the name in output: `model.mapping`, or `package.model.mapping` if two packages share the former.
    `columns` are the columns of a call, or None if the mapping reads the whole record. `named` are the columns that
    the mapping names, in its spelling. `uses_segment_id` is true if it uses `__segment_id`. `fields` are in Segment's
    mapping language. `consent` are the consent columns by category. `skips_unknown_consent` is true if records
    without a value in any category are skipped. `definition` is a hash that changes if and only if the same record
    would make another call. `own_integrations` are merged from destination and mapping; `run_integrations` are the
    JSON of --integrations, which the definition does not cover.
    `tracking_plan` is the plan that its calls are checked against.
    """

    id: str
    name: str
    positions: SourcePositions
    meta: MappingMeta
    destination: str
    identifier: tuple[str, ...]
    timezone: str
    columns: frozenset[str] | None
    named: frozenset[str]
    uses_segment_id: bool
    fields: abc.Mapping[str, Any]
    consent: abc.Mapping[str, str]
    skips_unknown_consent: bool
    definition: str
    to_call: Callable[[abc.Mapping[str, Any]], dict[str, Any]]
    own_integrations: abc.Mapping[str, Any] | None = None
    run_integrations: str | None = None
    tracking_plan: TrackingPlan | None = None

    @property
    def integrations(self) -> dict[str, Any] | None:
        """The `integrations` of each call."""
        return merged(self.own_integrations, json.loads(self.run_integrations or "{}"))

    @property
    def model(self) -> Model:
        """The model with the records."""
        return self.positions.model

    @property
    def current(self) -> Snapshot | None:
        """The snapshot, if only its current rows are records; else None."""
        return self.model.snapshot if self.meta.records == "current" else None

    @property
    def names(self) -> MappingNames:
        """All names of the mapping."""
        return MappingNames(self.model.unique_id, self.meta.name, self.id)


def read_mappings(manifest: Manifest, settings: Settings, project_dir: Path) -> tuple[Mapping, ...]:
    """Return every mapping of the project, including disabled ones.

    Raises InvalidProject with all errors of all models, each with file, line, model, mapping and path.
    """
    drafts = read_drafts(manifest, settings.destinations, project_dir)
    plans, findings = check_rules(settings, drafts, project_dir)
    if findings := [*findings, *(one for draft in drafts for one in draft.findings)]:
        raise InvalidProject(findings)
    skips = settings.consent.without_value == "skip"
    mappings = [
        to_mapping(one, skips_unknown_consent=skips, destination=settings.destinations[one.destination or ""])
        for draft in drafts
        for one in draft.mappings
    ]
    shown = shown_names(mapping.names for mapping in mappings)
    return tuple(replace(one, name=shown[one.id], tracking_plan=plans.get(one.destination)) for one in mappings)


def to_mapping(
    draft: MappingDraft, *, skips_unknown_consent: bool = False, destination: DestinationSettings | None = None
) -> Mapping:
    """Build the mapping of a draft without faults. Raises ValueError if it has any."""
    if draft.meta is None or draft.fields is None or draft.destination is None or draft.to_call is None:
        raise ValueError(f"{draft.name} has faults")
    meta, fields = draft.meta, draft.fields
    model = draft.positions.model
    consent = draft.consent or {}
    skips = bool(consent) and skips_unknown_consent
    integrations = merged(destination.integrations if destination else None, meta.integrations)
    return Mapping(
        id=_id(model, meta.name, draft.destination),
        name=f"{model.name}.{meta.name}",
        positions=draft.positions,
        meta=meta,
        destination=draft.destination,
        identifier=draft.identifier,
        timezone=draft.timezone,
        columns=None if columns_used(fields) is ALL_COLUMNS else draft.columns,
        named=draft.columns,
        # In any text: a path, a template or a condition may name it
        uses_segment_id=SEGMENT_ID.encode() in orjson.dumps(fields),
        fields=fields,
        consent=consent,
        skips_unknown_consent=skips,
        definition=_definition(meta, draft.identifier, fields, consent, integrations, skips=skips),
        to_call=draft.to_call,
        own_integrations=integrations,
    )


def find_columns(mapping: Mapping, available: Iterable[str]) -> dict[str, str]:
    """Match the columns of the mapping with those of the warehouse, as dbt does.

    Returns name in the mapping → column of the warehouse: the exact name, else the only one that differs in case only.
    Raises InvalidProject for all missing columns.
    """
    columns = tuple(available)
    others = (*row_columns(mapping.meta), *(mapping.current.columns if mapping.current else ()))
    found = {name: _match(name, columns) for name in (*sorted(mapping.named), *mapping.identifier, *others)}
    table = f"{mapping.model.schema}.{mapping.model.identifier}"
    if missing := [name for name, column in found.items() if column is None]:
        raise InvalidProject(_missing(mapping, name, columns, table) for name in missing)
    return {name: column for name, column in found.items() if column is not None}


def row_columns(meta: MappingMeta) -> dict[str, tuple[str, ...]]:
    """Return the columns of `checkpoint` and `order_by`, each with the path of its key."""
    checkpoint = {meta.checkpoint.column: ("checkpoint", "column")} if meta.checkpoint else {}
    return {**checkpoint, **dict.fromkeys(meta.order_by or (), ("order_by",))}


def _match(name: str, columns: tuple[str, ...]) -> str | None:
    if name in columns:
        return name
    alike = [column for column in columns if column.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _missing(mapping: Mapping, name: str, columns: tuple[str, ...], table: str) -> Finding:
    if name in mapping.identifier:
        return mapping.positions.finding(no_column(("unique_identifier",), name, columns, table))
    # Consent columns of the model are in its block, not in the mapping's
    consent = [("consent", category) for category, column in mapping.consent.items() if column == name]
    if consent and not isinstance(mapping.meta.consent, dict):
        return mapping.positions.finding(no_column(consent[0], name, columns, table))
    # The first place that names the column; a column of the snapshot itself is needed by `records`
    used = [("fields", *path) for path, column in uses(expand(mapping.meta.fields)) if column == name]
    of_rows = [path for column, path in row_columns(mapping.meta).items() if column == name]
    fault = no_column((*consent, *used, *of_rows, ("records",))[0], name, columns, table)
    return mapping.positions.finding(
        fault, mapping=mapping.meta.name, prefix=mapping.positions.path_of(mapping.meta.name)
    )


def no_column(path: tuple[str, ...], name: str, columns: tuple[str, ...], table: str) -> Fault:
    """Return the fault of a column that `table` lacks. `columns` are those it has."""
    fix = f"{near_name(name, columns)} Columns: {', '.join(columns[:20])}{', …' if len(columns) > 20 else ''}."
    return Fault(NO_COLUMN, path, f"column {name!r} is not in {table}", fix.lstrip())


def _definition(
    meta: MappingMeta,
    identifier: tuple[str, ...],
    fields: abc.Mapping[str, Any],
    consent: abc.Mapping[str, str],
    integrations: abc.Mapping[str, Any] | None,
    *,
    skips: bool,
) -> str:
    # Other keys are added only if they are set, so that a new key changes no existing definition
    shape = [meta.action, fields, identifier, consent, meta.sync_null_values, meta.sync_mode]
    shape += ["skips unknown consent"] if skips else []  # an older outbox may hold records that are now skipped
    shape += [["order by", *meta.order_by]] if meta.order_by else []  # an older outbox has another order
    # an older outbox must not be delivered to destinations that are now excluded
    shape += [["integrations", integrations]] if integrations else []
    shape += [["event version", meta.event_version]] if meta.event_version else []
    return hashlib.sha256(orjson.dumps(shape, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _id(model: Model, mapping: str, destination: str) -> str:
    """Return the id in a mapping's table names: readable, at most ID_LENGTH long, unique by its hash."""
    # Names are printable and cannot contain this separator, so different names never give the same text
    tail = hashlib.sha256("\x1f".join((model.unique_id, mapping, destination)).encode()).hexdigest()[:8]
    words = re.sub(r"\W+", "_", f"{model.name}_{mapping}", flags=re.ASCII).strip("_").lower()
    return f"{words[: ID_LENGTH - len(tail) - 1].rstrip('_')}_{tail}"


# --- Rules of segconn.yml for mappings: names under `alerts`, consent, denied columns ---


def check_rules(
    settings: Settings, drafts: Sequence[ModelDraft], project_dir: Path
) -> tuple[abc.Mapping[str, TrackingPlan], list[Finding]]:
    """Return the tracking plans by destination, and the findings of mappings that break a rule of segconn.yml."""
    mappings = [one for draft in drafts for one in draft.mappings]
    plans, faults = read_plans(settings, project_dir)
    of_settings = findings_in_settings(project_dir, [*_faults_of_alerts(settings, mappings), *faults])
    of_mappings = (
        one.finding(fault)
        for one in mappings
        for fault in (*_missing_consent(settings, one), *_denied_columns(settings, one))
    )
    return plans, [*of_settings, *of_mappings]


def _faults_of_alerts(settings: Settings, drafts: Iterable[MappingDraft]) -> Iterator[Fault]:
    """Yield a fault for each name under `alerts` that matches no mapping, or several."""
    mappings = {draft.names for draft in drafts}
    known = sorted(shown_names(mappings).values())
    for at, alert in enumerate(settings.alerts):
        for number, name in enumerate(alert.mappings):
            path = ("alerts", str(at), "mappings", str(number))
            found = sorted(one.full for one in mappings if name in one.all)
            # An alert with a wrong name would never be sent
            if not found:
                fix = f"{near_name(name, known)} Mappings: {', '.join(known) or 'none'}.".lstrip()
                yield Fault(NO_MAPPING, path, f"no mapping is named {name!r}", fix)
            elif len(found) > 1:
                reason = f"{name!r} is the name of {len(found)} mappings"
                yield Fault(NO_MAPPING, path, reason, f"Write one or more of these names: {', '.join(found)}.")


def _missing_consent(settings: Settings, draft: MappingDraft) -> Iterator[Fault]:
    # A fault of `consent` itself is reported already
    is_reported = any(fault.path[:1] == ("consent",) for fault in draft.faults)
    if settings.consent.required and draft.consent is None and not is_reported:
        fix = "Write the column of each category, on the mapping or the model, or write `consent: not_needed`."
        yield Fault(NO_CONSENT, ("consent",), "is missing, but segconn.yml requires it", fix)


def _denied_columns(settings: Settings, draft: MappingDraft) -> Iterator[Fault]:
    """Yield a fault for each labelled column that reaches a destination that denies its label.

    A column reaches it if any value of the mapping reads it, also in a template or a condition, except in @hash.
    """
    destination = settings.destinations.get(draft.destination or "")
    if not destination or not destination.deny:
        return
    denied = frozenset(destination.deny)
    model = draft.positions.model
    # Of the mapped model only: dbt does not pass labels on to downstream models
    of_model = model.classifiers & denied
    labels = {one.name.casefold(): (one.labels & denied) | of_model for one in model.columns}
    for path, column in dict.fromkeys(_plain_reads(draft)):
        if column is ALL_COLUMNS:
            names = [one.name for one in model.columns if labels[one.name.casefold()]]
            listed = f", with {', '.join(names)}" if names else ""
            found, what = of_model.union(*labels.values()), f"sends the whole record{listed}"
            fix = "List the columns to send."
        else:
            # A column that is not in the YAML has the labels of its model only
            found, what = labels.get(column.casefold(), of_model), f"sends {column}"
            fix = f"Remove it, or hash it for an ad network: ${column} | hash google email."
        if found:
            reason = f"{what}; the destination {draft.destination!r} denies {', '.join(sorted(found))}"
            yield Fault(DENIED_COLUMN, ("fields", *path), reason, fix)


def _plain_reads(draft: MappingDraft) -> Iterator[tuple[KeyPath, str | None]]:
    """Yield the columns whose values the mapping reads without hashing them, each with its path."""
    plain = without_hashes(draft.fields or {})
    yield from reads(plain)
    if SEGMENT_ID.encode() in orjson.dumps(plain):  # the identifier of a deleted record
        yield from (((), column) for column in draft.identifier)
