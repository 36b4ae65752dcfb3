"""Drafts: the project's mappings with all their faults, even if parts are invalid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dbt_segconn.actions import Action, compile_action, find_action, missing_fields, unknown_fields
from dbt_segconn.errors import ConfigurationError, MappingError
from dbt_segconn.mapping import columns_named, compile_mapping
from dbt_segconn.mapping.compiler import expand
from dbt_segconn.mapping.problems import Problem
from dbt_segconn.project.artifacts import Manifest, Model
from dbt_segconn.project.findings import (
    BROKEN_MAPPING,
    DELETED_UNSEEN,
    MISSING_FIELD,
    NO_DESTINATION,
    NO_TABLE,
    PARTITION_FILTER,
    REPEATED_NAME,
    UNKNOWN_ACTION,
    UNKNOWN_FIELD,
    WRONG_VALUE,
    Fault,
    Finding,
    KeyPath,
)
from dbt_segconn.project.identifiers import (
    SEGMENT_ID,
    Identity,
    constant_ids,
    default_identifier,
    ids_of_deleted,
    snapshot_faults,
)
from dbt_segconn.project.meta import NOT_NEEDED, MappingMeta, MappingNames, ModelMeta
from dbt_segconn.project.source_positions import Files, SourcePositions, lost_values
from dbt_segconn.project.strict_model import near_name, read


@dataclass(frozen=True, slots=True)
class MappingDraft:
    """One mapping. Parts that a fault prevents are None.

    `at` is the path from `meta.segconn` to the mapping. `valid_keys` are the keys with valid values. `fields` are in
    Segment's mapping language. `consent` are the consent columns by category: the mapping's, or the model's if
    `inherits_consent`; None if neither has any.
    """

    positions: SourcePositions
    name: str
    at: KeyPath
    identifier: tuple[str, ...]
    timezone: str
    valid_keys: Mapping[str, Any]
    consent: Mapping[str, str] | None
    inherits_consent: bool
    meta: MappingMeta | None
    destination: str | None
    action: Action | None
    fields: Mapping[str, Any] | None
    to_call: Callable[[Mapping[str, Any]], dict[str, Any]] | None
    faults: tuple[Fault, ...]

    @property
    def names(self) -> MappingNames:
        """All names of the mapping. The full name replaces the id, which needs a destination."""
        model = self.positions.model.unique_id
        return MappingNames(model, self.name, f"{model.partition('.')[2]}.{self.name}")

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the mapping names, in its fields and as consent columns."""
        return (columns_named(self.fields or {}) | set((self.consent or {}).values())) - {SEGMENT_ID}

    def finding(self, fault: Fault) -> Finding:
        """Return a fault of the mapping as a finding with its position."""
        return self.positions.finding(fault, mapping=self.name, prefix=self.at)


@dataclass(frozen=True, slots=True)
class ModelDraft:
    """The mappings of one model, and the faults of the model itself.

    `consent` are the model's consent columns by category. `other_versions` are mappings that do not sync this version
    of the model.
    """

    positions: SourcePositions
    identifier: tuple[str, ...]
    consent: Mapping[str, str]
    mappings: tuple[MappingDraft, ...]
    other_versions: tuple[MappingDraft, ...]
    faults: tuple[Fault, ...]

    @property
    def syncs_other_versions(self) -> bool:
        """Whether the mappings sync other versions of the model only."""
        return bool(self.other_versions) and not self.mappings

    @property
    def findings(self) -> Iterator[Finding]:
        """All findings of the model and its mappings."""
        yield from map(self.positions.finding, self.faults)
        for draft in self.mappings:
            yield from map(draft.finding, draft.faults)


def read_drafts(manifest: Manifest, destinations: Collection[str] | None, project_dir: Path) -> tuple[ModelDraft, ...]:
    """Read every mapping of the project. Errors become faults.

    `destinations` are the names in segconn.yml, or None if it cannot be read.
    """
    files = Files(project_dir)
    positions = (SourcePositions(model, files).unmerged() for model in manifest.models)
    return tuple(
        _draft_model(one, default_identifier(one.model, manifest), destinations, manifest.versions(one.model))
        for one in positions
        if not _has_only_folder_keys(one)
    )


def _has_only_folder_keys(positions: SourcePositions) -> bool:
    """Return whether the model has no mappings, only keys of its folder in dbt_project.yml."""
    meta = positions.model.meta
    # dbt copies `+meta: {segconn: …}` of a folder to all its models, also to those without mappings
    return isinstance(meta, dict) and "mappings" not in meta and positions.is_inherited


def _draft_model(
    positions: SourcePositions, identity: Identity, destinations: Collection[str] | None, versions: Collection[str]
) -> ModelDraft:
    meta, faults = read(ModelMeta, positions.model.meta)
    keys = _valid_keys(positions.model.meta, faults)
    # Without validation: the keys with faults are left out, and the others are still checked
    named = as_columns((meta or ModelMeta.model_construct(**keys)).unique_identifier) or identity.columns
    snapshot = positions.model.snapshot
    # A snapshot has a default identifier, which depends on `records` of the mapping
    if not named and not snapshot and not any(fault.path[:1] == ("unique_identifier",) for fault in faults):
        faults.append(identity.fault())
    faults.extend(_faults_of_model(positions))
    timezone = meta.timezone if meta else "UTC"
    shared = _SharedValues(positions, named, timezone, keys.get("consent"), versions)
    mappings = [
        _draft(shared, ("mappings", str(at)), raw, destinations) for at, raw in enumerate(keys.get("mappings", ()))
    ]
    consent = _columns_of_consent(shared.consent) or {}
    drafts = tuple(_check_names(mappings))
    synced = tuple(one for one in drafts if _syncs_version(one, positions.model))
    others = tuple(one for one in drafts if not _syncs_version(one, positions.model))
    draft = ModelDraft(positions, shared.named, consent, synced, others, tuple(faults))
    # a version that is not synced may lack columns and tests
    return replace(draft, faults=()) if draft.syncs_other_versions else draft


def _syncs_version(draft: MappingDraft, model: Model) -> bool:
    """Return whether a mapping syncs this version of its model."""
    # dbt gives each version the model's meta. Two versions synced by default would send the same users twice
    versions = draft.valid_keys.get("versions", "latest")
    if model.version is None or versions == "all":
        return True
    return model.is_latest if versions == "latest" else model.version in map(str, versions)


@dataclass(frozen=True, slots=True)
class _SharedValues:
    """Values that all mappings of a model share. `named` is the identifier from YAML, constraints or tests."""

    positions: SourcePositions
    named: tuple[str, ...]
    timezone: str
    consent: Any
    versions: Collection[str]

    def identifier_of(self, keys: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the identifier of a mapping. The default for a snapshot is its key or dbt_scd_id."""
        snapshot = self.positions.model.snapshot
        if self.named or snapshot is None:
            return self.named
        return snapshot.unique_key if keys.get("records") == "current" else (snapshot.scd_id,)


def _columns_of_consent(consent: Any) -> Mapping[str, str] | None:
    """Return the consent columns by category: empty for `not_needed`, None if unset."""
    return {} if consent == NOT_NEEDED else consent


def as_columns(identifier: Any) -> tuple[str, ...]:
    """Return a column or a list of columns as a tuple."""
    return (identifier,) if isinstance(identifier, str) else tuple(identifier or ())


def _faults_of_model(positions: SourcePositions) -> Iterator[Fault]:
    if positions.model.materialized == "ephemeral":
        yield Fault(NO_TABLE, (), "an ephemeral model has no table to sync", "Materialize it as a table or view.")
    if positions.model.requires_partition_filter:
        yield Fault(PARTITION_FILTER, (), "its table requires a filter on its partitions, and a sync reads all rows")
    yield from lost_values(positions)


def _valid_keys(raw: Any, faults: Iterable[Fault]) -> dict[str, Any]:
    """Return the keys without faults, which are then checked further."""
    # Keys as text: YAML reads a key such as `on` as a boolean
    wrong = {fault.path[0] for fault in faults if fault.path}
    return {str(key): value for key, value in raw.items() if str(key) not in wrong} if isinstance(raw, dict) else {}


def _draft(shared: _SharedValues, at: KeyPath, raw: Any, destinations: Collection[str] | None) -> MappingDraft:
    meta, faults = read(MappingMeta, raw)
    keys = _valid_keys(raw, faults)
    action = _action(keys, faults)
    own = keys.get("consent")
    consent = _columns_of_consent(shared.consent if own is None else own)
    fields = _fields(keys, consent, faults)
    draft = MappingDraft(
        positions=shared.positions,
        name=keys.get("name") or f"number {int(at[-1]) + 1}",
        at=at,
        identifier=shared.identifier_of(keys),
        timezone=shared.timezone,
        valid_keys=keys,
        consent=consent,
        inherits_consent=own is None,
        meta=meta,
        destination=_destination(keys, destinations, faults),
        action=action,
        fields=fields,
        to_call=_to_call(action, fields, faults),
        faults=(),
    )
    return replace(draft, faults=(*faults, *_faults_between_keys(draft, shared.versions)))


def _faults_between_keys(draft: MappingDraft, versions: Collection[str]) -> Iterator[Fault]:
    """Check the valid keys of a mapping against each other and against the model."""
    action, fields, meta, model = draft.action, draft.fields, draft.meta, draft.positions.model
    if action and "fields" in draft.valid_keys:
        yield from _faults_of_fields(action.name, draft.valid_keys["fields"])
    # Often the `$` was forgotten, as in `user_id: customer_id`: all users would become one
    if fields and draft.valid_keys.get("constant_ids") != "allowed":
        documented = (column.name for column in model.columns)
        yield from constant_ids(fields, (*draft.identifier, *documented, *sorted(columns_named(fields))))
    if meta is None:
        return
    if meta.checkpoint and "deleted" in meta.sync_mode:
        reason = "cannot detect deleted records, but the sync mode includes `deleted`"
        yield Fault(DELETED_UNSEEN, ("checkpoint",), reason, "Remove `checkpoint`, or `deleted`.")
    if not isinstance(meta.versions, str):
        yield from _unknown_versions(meta.versions, versions)
    if action and fields and draft.identifier and "deleted" in meta.sync_mode:
        yield from ids_of_deleted(action.name, fields, draft.identifier)
    yield from snapshot_faults(model, draft.identifier, meta)


def _unknown_versions(versions: Iterable[str], known: Collection[str]) -> Iterator[Fault]:
    if not known:
        yield Fault(WRONG_VALUE, ("versions",), "must not be a list: the model has no versions", "Remove `versions`.")
    elif unknown := [one for one in versions if one not in known]:
        fix = f"Versions: {', '.join(sorted(known))}."
        yield Fault(WRONG_VALUE, ("versions",), f"the model has no version {', '.join(unknown)}", fix)


def _destination(keys: Mapping[str, Any], known: Collection[str] | None, faults: list[Fault]) -> str | None:
    name = keys.get("destination")
    if known is None or name in known:  # segconn.yml cannot be read, which is a finding of its own
        return name or ""
    if name is None and len(known) == 1:
        return next(iter(known))
    if not any(fault.path == ("destination",) for fault in faults):
        wrong = "is missing" if name is None else f"{name!r} is not in segconn.yml"
        fix = f"{near_name(name or '', known)} Destinations: {', '.join(known)}.".lstrip()
        faults.append(Fault(NO_DESTINATION, ("destination",), wrong, fix))
    return None


def _action(keys: Mapping[str, Any], faults: list[Fault]) -> Action | None:
    try:
        return find_action(keys["action"]) if "action" in keys else None
    except ConfigurationError as error:
        reason, _, fix = str(error).removeprefix("action: ").partition(". ")
        faults.append(Fault(UNKNOWN_ACTION, ("action",), reason, fix))
        return None


def _fields(keys: Mapping[str, Any], consent: Mapping[str, str] | None, faults: list[Fault]) -> dict[str, Any] | None:
    """Return the fields in Segment's mapping language, with the consent of the event unless they map it."""
    if "fields" not in keys:
        return None
    try:
        fields: dict[str, Any] = expand(keys["fields"])
    except MappingError as error:
        faults.extend(map(_in_fields, error.problems))
        return None
    # Segment's envelope of a record has the preferences at this path. A `consent` of the mapping's own wins
    return {"consent": {"@path": "$.context.consent"}, **fields} if consent else fields


def _to_call(
    action: Action | None, fields: dict[str, Any] | None, faults: list[Fault]
) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
    if fields is None:
        return None
    try:
        # Without a valid action, the mapping language can still be checked
        return compile_action(action.name, fields) if action else compile_mapping(fields)
    except MappingError as error:
        faults.extend(map(_in_fields, error.problems))
        return None


def _in_fields(problem: str) -> Fault:
    path, reason = (problem.path, problem.reason) if isinstance(problem, Problem) else ((), problem.removesuffix("."))
    return Fault(BROKEN_MAPPING, ("fields", *path), reason)


def _faults_of_fields(action: str, fields: Any) -> Iterator[Fault]:
    # Segment's destination drops unknown fields without a message
    for path, near in unknown_fields(action, fields):
        fix = f"Did you mean {near!r}?" if near else "`dbt-segconn fields` lists them."
        yield Fault(UNKNOWN_FIELD, ("fields", *path), f"{action} has no such field", fix)
    for name in missing_fields(action, fields):
        reason = f"must have {name}: without it, every record is discarded"
        yield Fault(MISSING_FIELD, ("fields",), reason, f"Map it from a column: {name.split()[0]}: $column.")


def _check_names(drafts: list[MappingDraft]) -> Iterator[MappingDraft]:
    """Add a fault to each mapping that repeats a name."""
    seen: set[str] = set()
    for draft in drafts:
        name = draft.valid_keys.get("name")
        if name in seen:
            fault = Fault(REPEATED_NAME, ("name",), "two mappings of the model have this name", "Rename one.")
            yield replace(draft, faults=(*draft.faults, fault))
        else:
            yield draft
        seen.add(name or "")
