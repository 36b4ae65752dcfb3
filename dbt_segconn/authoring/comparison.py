"""The changes of a branch for Segment: its mappings and their columns, compared with another manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from dbt_segconn.engine.opening import Options, Project, check_project, find_state, opened, resolve_context
from dbt_segconn.project.artifacts import Catalog, read_manifest, spec_type
from dbt_segconn.project.drafts import MappingDraft, read_drafts
from dbt_segconn.project.findings import InvalidProject, dotted
from dbt_segconn.project.mappings import to_mapping
from dbt_segconn.project.meta import shown_names
from dbt_segconn.project.settings import Settings, read_settings
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import State, open_state

Status = Literal["added", "removed", "renamed", "changed"]
Effect = Literal["breaking", "resends", "note"]
# Fields that identify the user, group or event of a call: downstream tools use them as keys
_KEYS = frozenset({"user_id", "anonymous_id", "group_id", "event_name"})


@dataclass(frozen=True, slots=True)
class Detail:
    """One difference between the old and the new mapping.

    `effect` is `breaking` if downstream data ends or changes, and `resends` if known records are sent again.
    `sends_all` is set if the next sync sends every record of the model.
    """

    text: str
    effect: Effect = "note"
    sends_all: bool = False


@dataclass(frozen=True, slots=True)
class MappingChange:
    """A mapping with differences; `mapping` is its name as `model.mapping`.

    `calls` is the number of calls that the next sync sends because of the differences; None if unknown or offline.
    """

    mapping: str
    status: Status
    details: tuple[Detail, ...]
    calls: int | None = None

    @property
    def is_breaking(self) -> bool:
        """Whether any difference is breaking."""
        return any(detail.effect == "breaking" for detail in self.details)

    @property
    def resends(self) -> bool:
        """Whether records that Segment already has are sent again."""
        return any(detail.effect == "resends" for detail in self.details)

    @property
    def sends_all(self) -> bool:
        """Whether the next sync sends every record of the model."""
        return any(detail.sends_all for detail in self.details)


@dataclass(frozen=True, slots=True)
class _ProjectVersion:
    """The project in one manifest: mappings by name, and the columns of their models."""

    drafts: Mapping[str, MappingDraft]
    catalog: Catalog


def compare(options: Options, state: Path, *, online: bool = False) -> tuple[MappingChange, ...]:
    """Compare the project with the artifacts in `state`, such as those of the last production run.

    `online` reads the warehouse to count the calls of each change, by the state of the target. Raises
    ConfigurationError if either cannot be read, and InvalidProject if this project has errors.
    """
    context = resolve_context(options, opens=online)
    settings = read_settings(context.project_dir, context.jinja())
    before, after = _read_versions((find_state(context, state), context.artifacts_dir), settings, context.project_dir)
    check_project(context, after.catalog.manifest)
    # errors in the old artifacts do not matter: the branch may repair them
    if findings := [draft.finding(fault) for draft in after.drafts.values() for fault in draft.faults]:
        raise InvalidProject(findings)
    changes = tuple(_changes(before, after))
    if not online:
        return changes
    project = Project(context, settings, after.catalog.manifest, None, ())
    with opened(project, options) as warehouse, open_state(warehouse, settings.state, "diff") as known:
        drafts = [after.drafts.get(change.mapping) for change in changes]
        return tuple(replace(one, calls=_calls(one, draft, known)) for one, draft in zip(changes, drafts, strict=True))


def _calls(change: MappingChange, draft: MappingDraft | None, state: State) -> int | None:
    """Count the calls of a change: records that Segment has, or all records of the model."""
    if draft is None or not (change.resends or change.sends_all):
        return 0
    tables = MappingTables(state, to_mapping(draft).id)
    if not change.sends_all and tables.present().records:
        return tables.known()
    relation = state.session.relation_of(draft.positions.model)  # may be missing: a branch adds models before a build
    if not state.session.columns(relation):
        return None
    return int(state.session.rows("segconn_count_rows", relation=relation)[0][0])


def _read_versions(folders: Iterable[Path], settings: Settings, project_dir: Path) -> Iterator[_ProjectVersion]:
    """Read the mappings of each folder of artifacts. A name that is ambiguous in any folder is a full name in all."""
    manifests = [(folder, read_manifest(folder)) for folder in folders]
    drafts = [
        [one for model in read_drafts(manifest, settings.destinations, project_dir) for one in model.mappings]
        for _, manifest in manifests
    ]
    shown = shown_names(one.names for side in drafts for one in side)
    for (folder, manifest), side in zip(manifests, drafts, strict=True):
        yield _ProjectVersion({shown[one.names.id]: one for one in side}, Catalog(folder, manifest))


def _changes(before: _ProjectVersion, after: _ProjectVersion) -> Iterator[MappingChange]:
    removed = {name: draft for name, draft in before.drafts.items() if name not in after.drafts}
    for name, draft in after.drafts.items():
        if name in before.drafts:  # a renamed mapping is another mapping: it has no records
            details = tuple(_differences(before, after, before.drafts[name], draft))
            if details:
                yield MappingChange(name, "changed", details)
        elif old := _replaced(draft, removed):
            del removed[old]  # so that it is not reported as removed, or replaced a second time
            reason = f"was {old}. Run `dbt-segconn adopt {old} {name}` to keep its records; else all are sent again"
            yield MappingChange(name, "renamed", (Detail(reason, "breaking", sends_all=True),))
        else:
            yield MappingChange(name, "added", (_added(draft),))
    for name, draft in removed.items():
        reason = f"{_summary(draft)} is no longer sent; what Segment has stays there"
        yield MappingChange(name, "removed", (Detail(reason, "breaking"),))


def _replaced(draft: MappingDraft, removed: Mapping[str, MappingDraft]) -> str | None:
    """Return the name of the replaced mapping: of another version of the model, else one with the same calls."""
    base = draft.positions.model.base_id
    versions = [one for one, gone in removed.items() if (gone.positions.model.base_id, gone.name) == (base, draft.name)]
    same_calls = [one for one, gone in removed.items() if _makes_same_calls(gone, draft)]
    return next(iter(versions + same_calls), None)


def _makes_same_calls(one: MappingDraft, other: MappingDraft) -> bool:
    return (one.action, one.fields, one.identifier) == (other.action, other.fields, other.identifier)


def _summary(draft: MappingDraft) -> str:
    return f"{draft.valid_keys.get('action')} to {draft.destination or draft.valid_keys.get('destination')}"


def _added(draft: MappingDraft) -> Detail:
    if not draft.valid_keys.get("enabled", True):
        return Detail(f"{_summary(draft)}, not enabled")
    if draft.valid_keys.get("first_sync") == "baseline" or "added" not in (draft.meta.sync_mode if draft.meta else ()):
        return Detail(f"{_summary(draft)}; its first sync sends nothing")
    return Detail(f"{_summary(draft)}; its first sync sends every record", sends_all=True)


def _differences(
    before: _ProjectVersion, after: _ProjectVersion, old: MappingDraft, new: MappingDraft
) -> Iterator[Detail]:
    if old.identifier != new.identifier:
        change = f"unique_identifier: {', '.join(old.identifier) or 'none'} → {', '.join(new.identifier)}"
        yield Detail(f"{change}: every record looks deleted and added again", "breaking", sends_all=True)
    yield from _setting_details(old, new)
    yield from _field_details(old, new)
    yield from _column_details(new, *_columns((before, old), (after, new)))


# Shown first, in this order. Other functions compare `fields` and columns
_SETTINGS = (
    *("action", "destination", "sync_mode", "enabled", "sync_null_values", "consent", "first_sync", "checkpoint"),
    "guards",
)


def _setting_details(old: MappingDraft, new: MappingDraft) -> Iterator[Detail]:
    before, after = dict(old.valid_keys), dict(new.valid_keys)
    # without the key, the destination was the only one; the current segconn.yml may have others
    after["destination"] = new.destination
    before["consent"], after["consent"] = old.consent, new.consent
    before["destination"] = old.destination or old.valid_keys.get("destination") or new.destination
    others = sorted({*before, *after} - {"name", "fields", *_SETTINGS})
    for key in (*_SETTINGS, *others):
        was, now = before.get(key), after.get(key)
        if was != now:
            is_breaking = key in {"action", "destination"} or (key == "enabled" and now is False)
            effect: Effect = "breaking" if is_breaking else "note"
            # another destination has none of the records, so all are sent to it
            yield Detail(f"{key}: {_as_text(was)} → {_as_text(now)}", effect, sends_all=key == "destination")


def _as_text(value: Any) -> str:
    if value is None:
        return "default"
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _leaves(fields: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value of a mapping with its path; a directive or a list is one value."""
    if isinstance(fields, dict) and fields and not any(str(key).startswith("@") for key in fields):
        for key, value in fields.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield path, fields


def _field_details(old: MappingDraft, new: MappingDraft) -> Iterator[Detail]:
    before, after = dict(_leaves(old.valid_keys.get("fields", {}))), dict(_leaves(new.valid_keys.get("fields", {})))
    for path in dict.fromkeys([*before, *after]):
        name = dotted(("fields", *path))
        if path not in after:
            yield Detail(f"{name}: removed, was {_as_text(before[path])}", "breaking")
        elif path not in before:
            yield Detail(f"{name}: added, {_as_text(after[path])}")
        elif before[path] != after[path]:
            effect: Effect = "breaking" if path[-1:] and path[-1] in _KEYS else "note"
            yield Detail(f"{name}: {_as_text(before[path])} → {_as_text(after[path])}", effect)
    # the checksum of a record covers these columns: with others, every checksum differs
    if old.fields is not None and old.columns != new.columns and new.meta and "updated" in new.meta.sync_mode:
        yield Detail("reads other columns: every known record is sent again, as updated", "resends")


def _columns(*sides: tuple[_ProjectVersion, MappingDraft]) -> Iterator[dict[str, str | None]]:
    """Yield the columns of each side: all columns if both sides have them, else the documented ones."""
    models = [draft.positions.model for _, draft in sides]
    known = [project.catalog.columns_of(model) for (project, _), model in zip(sides, models, strict=True)]
    # if only one side has a catalog, it lists columns that the other side does not document: these were not removed
    if any(one.origin == "documentation" for one in known):
        listed = [{column.name: column.data_type for column in model.columns} for model in models]
    else:
        listed = [dict(one.types) for one in known]
    for types in listed:
        yield {name.casefold(): data_type and data_type.casefold() for name, data_type in types.items()}


def _column_details(
    new: MappingDraft, was: Mapping[str, str | None], now: Mapping[str, str | None]
) -> Iterator[Detail]:
    """Yield the columns in use that are gone or have another type."""
    for column in sorted(new.columns | set(new.identifier)):
        key = column.casefold()
        if key in was and key not in now:
            near = near_name(key, [name for name in now if name not in was])
            yield Detail(f"column {column}: removed from the model, but the mapping reads it.{near}", "breaking")
        elif (old_type := was.get(key)) and (new_type := now.get(key)) and old_type != new_type:
            yield _retyped(column, old_type, new_type)


def _retyped(column: str, was: str, now: str) -> Detail:
    text = f"column {column}: {was} → {now}"
    if spec_type(was) != spec_type(now):
        return Detail(f"{text}: its values change downstream", "breaking")
    # a checksum is of the JSON: integers of another size keep it, but a timestamp may gain a time zone
    return Detail(f"{text}: records may be sent again", "resends")
