"""meta of the manifest's models → syncs; every configuration error of the project is found here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dbt_segconn.actions import compile_action, find_action, unknown_fields
from dbt_segconn.artifacts import META_KEY, Manifest, Model
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.mapping import ALL_COLUMNS, columns_named, columns_used
from dbt_segconn.mapping.problems import Problem
from dbt_segconn.mapping.shorthand import expand
from dbt_segconn.meta import MappingMeta, ModelMeta
from dbt_segconn.settings import FILE_NAME, Settings, load_yaml, near_name, parse

# Segment's name for the identifier of a record, the one value that a deleted record still has
SEGMENT_ID = "__segment_id"
# Longest name that every warehouse takes is 63; "records_" leaves 55 of it for an id
ID_LENGTH = 55


@dataclass(frozen=True, slots=True)
class Sync:
    """One mapping, compiled and checked: all that a sync needs to know besides the data.

    `columns` are the columns that a call is made of, or None where the mapping takes the whole record;
    `named` are those that it names in either case, as it spells them;
    `names_record` says whether it asks for the record's own `__segment_id`; `fields` are the action's, in
    Segment's language.
    `definition` changes when, and only when, the same record would make another call.
    """

    id: str
    name: str
    model: Model
    mapping: MappingMeta
    destination: str
    identifier: tuple[str, ...]
    timezone: str
    columns: frozenset[str] | None
    named: frozenset[str]
    names_record: bool
    fields: Mapping[str, Any]
    definition: str
    to_call: Callable[[Mapping[str, Any]], dict[str, Any]]


def read_syncs(manifest: Manifest, settings: Settings, project_dir: Path) -> tuple[Sync, ...]:
    """Turn every mapping of the project into a sync, enabled or not.

    Raises ConfigurationError with all problems of all models, each with file, model, mapping and path.
    """
    syncs: list[Sync] = []
    problems: list[str] = []
    for model in manifest.models:
        try:
            syncs.extend(_syncs_of(model, settings, project_dir))
        except ConfigurationError as error:
            problems.extend(error.problems)
    problems.extend(() if problems else _alerts_of_nothing(settings, syncs))
    if problems:
        raise ConfigurationError(problems)
    return tuple(syncs)


def named(syncs: Sequence[Sync], names: Collection[str]) -> tuple[Sync, ...]:
    """Keep the syncs of these names, `model.mapping` or the mapping's alone; none named keeps all.

    Raises ConfigurationError for a name that no mapping has.
    """
    known = {sync.name for sync in syncs} | {sync.mapping.name for sync in syncs}
    if unknown := [name for name in names if name not in known]:
        raise ConfigurationError(
            f"no mapping is named {name!r}.{near_name(name, known)} Mappings: "
            f"{', '.join(sorted(sync.name for sync in syncs)) or 'none'}."
            for name in unknown
        )
    return tuple(sync for sync in syncs if not names or {sync.name, sync.mapping.name} & set(names))


def _alerts_of_nothing(settings: Settings, syncs: Sequence[Sync]) -> list[str]:
    """Find the mappings that alerts name and the project does not have."""
    problems: list[str] = []
    for at, alert in enumerate(settings.alerts):
        try:
            named(syncs, alert.mappings)
        except ConfigurationError as error:
            problems.extend(f"{FILE_NAME}: alerts.{at}.mappings: {problem}" for problem in error.problems)
    return problems


def find_columns(sync: Sync, available: Iterable[str]) -> dict[str, str]:
    """Match the columns that the mapping names with those that the warehouse reports.

    Returns name in the mapping → column of the warehouse: the exact name, else the only one that differs
    in case alone, as dbt matches them. Raises ConfigurationError for every column that is not there.
    """
    columns = tuple(available)
    found = {name: _match(name, columns) for name in (*sorted(sync.named), *sync.identifier)}
    problems = [
        f"{_place(sync.model, sync.mapping.name)}: the column {name!r} is not in "
        f"{sync.model.schema}.{sync.model.identifier}.{near_name(name, columns)} "
        f"Columns: {', '.join(columns[:20])}{', …' if len(columns) > 20 else ''}."
        for name, column in found.items()
        if column is None
    ]
    if problems:
        raise ConfigurationError(problems)
    return {name: column for name, column in found.items() if column is not None}


def _match(name: str, columns: tuple[str, ...]) -> str | None:
    if name in columns:
        return name
    alike = [column for column in columns if column.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _syncs_of(model: Model, settings: Settings, project_dir: Path) -> list[Sync]:
    meta = parse(ModelMeta, model.meta, _place(model))
    problems: list[str] = []
    syncs: list[Sync] = []
    identifier = meta.unique_identifier or model.primary_key
    if not identifier:
        problems.append(
            f"{_place(model)}: unique_identifier: is missing, and the model has no column tested both unique "
            "and not_null to stand in for it. Name the column that tells its records apart."
        )
    if model.materialized == "ephemeral":
        problems.append(f"{_place(model)}: an ephemeral model has no table to sync. Materialize it.")
    problems.extend(_rendered_away(model, _written_meta(model, project_dir)))
    for at, raw in enumerate(meta.mappings):
        try:
            syncs.append(_sync(model, identifier, raw, at, settings, timezone=meta.timezone))
        except ConfigurationError as error:
            problems.extend(error.problems)
    problems.extend(_repeated_names(model, syncs))
    if problems:
        raise ConfigurationError(problems)
    return syncs


def _sync(model: Model, identifier: tuple[str, ...], raw: Any, at: int, settings: Settings, *, timezone: str) -> Sync:
    name = raw.get("name") if isinstance(raw, dict) else None
    place = _place(model, name if isinstance(name, str) else f"number {at + 1}")
    mapping = parse(MappingMeta, raw, place)
    problems: list[str] = []
    destination = _collect(problems, place, _destination, mapping, settings)
    fields = _collect(problems, place, _expand, mapping)
    action = _collect(problems, place, find_action, mapping.action)
    to_call = (
        _collect(problems, place, compile_action, mapping.action, fields) if action and fields is not None else None
    )
    if to_call is not None:
        problems.extend(
            f"{place}: fields.{field}: {mapping.action} has no such field."
            + (f" Did you mean {near!r}?" if near else " `dbt-segconn fields` lists them.")
            for field, near in unknown_fields(mapping.action, fields)
        )
    if problems or destination is None or to_call is None:
        raise ConfigurationError(problems)
    named = (columns_named(fields) | set(mapping.consent.values())) - {SEGMENT_ID}
    return Sync(
        id=_id(model, mapping.name, destination),
        name=f"{model.name}.{mapping.name}",
        model=model,
        mapping=mapping,
        destination=destination,
        identifier=identifier,
        timezone=timezone,
        columns=None if columns_used(fields) is ALL_COLUMNS else named,
        named=named,
        names_record=SEGMENT_ID.encode() in orjson.dumps(fields),
        fields=fields,
        definition=_definition(mapping, identifier, fields),
        to_call=to_call,
    )


def _collect(problems: list[str], place: str, step: Callable[..., Any], *arguments: Any) -> Any:
    """Run a step; what it objects to joins `problems`, so that later steps still find theirs."""
    try:
        return step(*arguments)
    except ConfigurationError as error:
        problems.extend(f"{place}: {_in_fields(problem)}" for problem in error.problems)
        return None


def _in_fields(problem: str) -> str:
    """Name the place of a mapping's problem as it stands in the YAML: fields.traits.email."@path"."""
    if not isinstance(problem, Problem):
        return problem
    keys = (f'"{key}"' if key.startswith("@") else key for key in problem.path)
    return f"{'.'.join(('fields', *keys))}: {problem.reason}."


def _expand(mapping: MappingMeta) -> dict[str, Any]:
    fields: dict[str, Any] = expand(mapping.fields)
    if mapping.consent:
        fields.setdefault("consent", {"@path": "$.context.consent"})
    return fields


def _destination(mapping: MappingMeta, settings: Settings) -> str:
    names = tuple(settings.destinations)
    if mapping.destination is None and len(names) == 1:
        return names[0]
    if mapping.destination in names:
        return mapping.destination
    wrong = "is missing" if mapping.destination is None else f"{mapping.destination!r} is not in segconn.yml"
    near = near_name(mapping.destination or "", names)
    raise ConfigurationError(f"destination: {wrong}.{near} Destinations: {', '.join(names)}.")


def _definition(mapping: MappingMeta, identifier: tuple[str, ...], fields: dict[str, Any]) -> str:
    shape = [mapping.action, fields, identifier, mapping.consent, mapping.sync_null_values, mapping.sync_mode]
    return hashlib.sha256(orjson.dumps(shape, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _id(model: Model, mapping: str, destination: str) -> str:
    """Name a mapping's tables: readable, at most ID_LENGTH, unique by its hash."""
    tail = hashlib.sha256("\x1f".join((model.unique_id, mapping, destination)).encode()).hexdigest()[:8]
    words = re.sub(r"\W+", "_", f"{model.name}_{mapping}", flags=re.ASCII).strip("_").lower()
    return f"{words[: ID_LENGTH - len(tail) - 1].rstrip('_')}_{tail}"


def _repeated_names(model: Model, syncs: list[Sync]) -> list[str]:
    names = [sync.mapping.name for sync in syncs]
    return [
        f"{_place(model, name)}: two mappings of the model have this name. Rename one."
        for name in sorted({name for name in names if names.count(name) > 1})
    ]


def _place(model: Model, mapping: str | None = None) -> str:
    place = f"{model.file}: {model.resource_type} {model.name}"
    return place if mapping is None else f"{place}, mapping {mapping}"


# {{ first_name }}: a bare name, which dbt renders to nothing; calls such as var('x') are meant for dbt
_BARE_NAME = re.compile(r"\{\{\{?\s*[\w.\[\]'\" ]+\s*\}?\}\}")


def _written_meta(model: Model, project_dir: Path) -> Any:
    """Read what stands in the model's YAML file; the manifest only has it as dbt rendered it."""
    try:
        text = (project_dir / model.file).read_text(encoding="utf-8")
        content = load_yaml(text, model.file) if "{{" in text else None
    except (OSError, UnicodeDecodeError, ConfigurationError):
        return None  # of another package, or perhaps changed since
    for kind in ("models", "seeds", "snapshots"):
        for node in (content or {}).get(kind) or ():
            if isinstance(node, dict) and node.get("name") == model.name.partition(".v")[0]:
                return ((node.get("config") or node).get("meta") or {}).get(META_KEY)
    return None


def _rendered_away(model: Model, written: Any) -> list[str]:
    """Find templates that dbt's own Jinja has emptied before anyone else could read them."""
    return [
        f"{_place(model)}: {'.'.join(path)}: dbt has rendered {raw!r} to {now!r}. Write ${{column}} in place of "
        "{{ column }}, or keep it from dbt with {% raw %}…{% endraw %}."
        for path, raw, now in _texts(written, model.meta, ())
        if "{% raw %}" not in raw and _BARE_NAME.search(raw) and _BARE_NAME.sub("", raw) == now
    ]


def _texts(raw: Any, now: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], str, str]]:
    if isinstance(raw, dict) and isinstance(now, dict):
        for key in raw.keys() & now.keys():
            yield from _texts(raw[key], now[key], (*path, str(key)))
    elif isinstance(raw, list) and isinstance(now, list):
        for at, (one, other) in enumerate(zip(raw, now, strict=False)):
            yield from _texts(one, other, (*path, str(at)))
    elif isinstance(raw, str) and isinstance(now, str):
        yield path, raw, now
