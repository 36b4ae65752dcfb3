"""YAML and SQL for dbt: an exposure for each mapping, and the state tables as a source with a model on it."""

from __future__ import annotations

import re
from collections import Counter, abc
from collections.abc import Collection, Sequence
from importlib import resources
from typing import Any

import yaml

from dbt_segconn.engine.opening import Project
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.mapping.compiler import expand, uses
from dbt_segconn.project.artifacts import Manifest
from dbt_segconn.project.findings import dotted
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.state.tables import DELIVERY_COLUMNS, DISCARD_COLUMNS, SYNC_COLUMNS

HEADER = "# Written by `dbt-segconn {command}`, which overwrites it."


def exposures(project: Project, default: abc.Mapping[str, str | None]) -> str:
    """Return a dbt YAML file with an exposure for each mapping: https://docs.getdbt.com/docs/build/exposures .

    The owner is `meta.owner` of the model, else the owner of its group, else `default`, each with `name` or `email`.
    Raises ConfigurationError, with the names of the models, if models have no owner.
    """
    owners = {mapping.model.unique_id: _owner(mapping, project.manifest, default) for mapping in project.mappings}
    if ownerless := sorted({mapping.model.name for mapping in project.mappings if not owners[mapping.model.unique_id]}):
        raise ConfigurationError(
            f"{', '.join(ownerless)}: dbt requires an owner for each exposure. Add `meta.owner` or a group with an "
            "owner to the model, or set one for all others with --owner or --owner-email."
        )
    names = _exposure_names(project.mappings)
    listed = [
        _exposure(mapping, names[mapping.id], owners[mapping.model.unique_id], project) for mapping in project.mappings
    ]
    return _as_yaml("exposures", {"exposures": listed})


def _owner(mapping: Mapping, manifest: Manifest, default: abc.Mapping[str, str | None]) -> dict[str, str]:
    """Return the owner as in dbt's YAML, which requires a name or an email address; empty if there is none."""
    node = manifest.raw["nodes"][mapping.model.unique_id]
    config = node.get("config") or {}
    owner = (config.get("meta") or node.get("meta") or {}).get("owner")
    if isinstance(owner, str):
        return _named({"email" if "@" in owner else "name": owner})
    name = node.get("group") or config.get("group")  # dbt 2 leaves keys out that are null
    groups = [one for one in manifest.raw.get("groups", {}).values() if one["name"] == name]
    found = owner if isinstance(owner, dict) else groups[0]["owner"] if groups else {}
    return _named(found) or _named(default)


def _named(owner: abc.Mapping[str, Any]) -> dict[str, str]:
    return {key: owner[key] for key in ("name", "email") if owner.get(key)}


def _exposure_names(mappings: Sequence[Mapping]) -> abc.Mapping[str, str]:
    """Return a unique name for each exposure, by mapping id: the short name, else the full name, else with a hash.

    dbt allows only letters, digits and underscores: `a.b_c` and `a_b.c` would have the same name.
    """
    choices = {
        mapping.id: (
            _word(mapping.names.short),
            _word(mapping.names.full),
            f"{_word(mapping.names.short)}_{mapping.id[-8:]}",
        )
        for mapping in mappings
    }
    counts = Counter(name for each in choices.values() for name in {*each})
    return {key: next(name for name in each if counts[name] == 1) for key, each in choices.items()}


def _word(name: str) -> str:
    return re.sub(r"\W+", "_", f"segconn_{name}", flags=re.ASCII)


def _exposure(mapping: Mapping, name: str, owner: abc.Mapping[str, str], project: Project) -> dict[str, Any]:
    change_types = " and ".join(filter(None, (", ".join(mapping.meta.sync_mode[:-1]), mapping.meta.sync_mode[-1])))
    meta = {
        "mapping": mapping.meta.name,
        "action": mapping.meta.action,
        "destination": mapping.destination,
        "sync_mode": list(mapping.meta.sync_mode),
        "unique_identifier": list(mapping.identifier),
        "columns": "all" if mapping.columns is None else sorted(mapping.columns),
        "fields": _fields(mapping),
    }
    enabled = mapping.meta.enabled and project.settings.destinations[mapping.destination].enabled
    exposure: dict[str, Any] = {
        "name": name,
        "label": f"Segment: {mapping.meta.name}",
        "type": "application",
        "description": f"Sends {change_types} records of {mapping.model.name} to the Segment destination "
        f"{mapping.destination} as {mapping.meta.action} calls.",
        "depends_on": [_ref(mapping, project.manifest)],
        "owner": dict(owner),  # a copy: YAML would write a shared value once, with references to it
    }
    # dbt leaves a disabled exposure out of its lineage, as no data goes to Segment
    config: dict[str, Any] = {} if enabled else {"enabled": False}
    if _reads_config_meta(project.manifest):
        return {**exposure, "config": {**config, "meta": {"segconn": meta}}}
    return {**exposure, **({"config": config} if config else {}), "meta": {"segconn": meta}}


def _reads_config_meta(manifest: Manifest) -> bool:
    """Return whether this dbt reads the meta of exposures under config: since 1.10, which warns of it elsewhere."""
    version = str(manifest.raw["metadata"].get("dbt_version", "")).split(".")
    # other first numbers are those of dbt 2 and of the dbt platform, such as 2025.4.1: both do
    return version[:1] != ["1"] or not version[1].isdecimal() or int(version[1]) >= 10


def _fields(mapping: Mapping) -> dict[str, list[str]]:
    """Return the columns of each field."""
    found: dict[str, list[str]] = {}
    for path, column in uses(expand(mapping.meta.fields)):
        found.setdefault(dotted(path), []).append(column)
    return found


def _ref(mapping: Mapping, manifest: Manifest) -> str:
    node = manifest.raw["nodes"][mapping.model.unique_id]
    # ref('package', 'model'): in dbt, models of two packages may have one name
    names = [node["package_name"], node["name"]] if manifest.is_of_package(node) else [node["name"]]
    version = [f"v={node['version']!r}"] if node.get("version") is not None else []
    return f"ref({', '.join([*map(repr, names), *version])})"


# Without tests: the tables do not exist before the first run on a target, so a test would fail `dbt build`
_TABLES: abc.Mapping[str, tuple[str, Collection[str]]] = {
    "syncs": ("One row per sync of a mapping.", SYNC_COLUMNS),
    "discards": (
        "One row per discard: a record that Segment's rules exclude before sending, or that Segment rejected.",
        DISCARD_COLUMNS,
    ),
    "deliveries": ("Delivery log: one row per confirmed call. Exists only with state.deliveries.", DELIVERY_COLUMNS),
}
COLUMNS = {
    "sync_id": "Id of the sync.",
    "revision": "Number of times the row has been written.",
    "mapping_id": "Id of the mapping; its state tables are named by it.",
    "model": "Unique id of the dbt model.",
    "mapping": "Mapping, as model.mapping; with the package if that is ambiguous.",
    "destination": "Destination of segconn.yml.",
    "action": "identify, track, group, page or screen.",
    "sync_mode": "Changes that the sync sends.",
    "status": "success, partial, blocked, failed or canceled; reset, or resend, of a mapping.",
    "definition": "Hash of everything that determines the call of a record.",
    "signature": "Hash of the columns that the sync read.",
    "run_id": "Id of the run.",
    "dbt_invocation_id": "Id of the dbt invocation that refreshed the model.",
    "started_at": "Start of the sync, in UTC.",
    "saved_at": "Time of the last write of the row, in UTC.",
    "finished_at": "End of the sync, in UTC; null while it can be resumed.",
    "watermark": "Change number up to which all calls are confirmed or discarded.",
    "added": "Added records.",
    "updated": "Updated records.",
    "deleted": "Deleted records.",
    "unidentified": "Rows with a null or repeated identifier.",
    "held_back": "Records without a consent value. They are not sent and are not changes yet.",
    "left_out": "Changes that the sync mode does not send.",
    "to_send": "Changes to send.",
    "sent": "Calls that Segment answered.",
    "confirmed": "Calls that Segment accepted.",
    "discarded": "Discarded records.",
    "resumed": "Confirmed calls that a later run delivered.",
    "error": "Reason of a failed or blocked sync.",
    "identifier": "Columns of the unique identifier.",
    "relation": "Table or view that the sync read.",
    "checkpoint": "Checkpoint: value up to which the settled sync has read the model; null without one.",
    "checkpoint_of": "Column, type and time zone of the checkpoint.",
    "integrations": "--integrations of the sync, as JSON; null without the option.",
    "message_prefix": "Each messageId of the sync is this text and a change number; null if the mapping makes its own.",
    "record_id": "Identifier of the record; null if it has none.",
    "change_type": "added, updated or deleted; closed ends the earlier discards of the record.",
    "checksum": "Checksum of the discarded form of the record.",
    "reason": "Reason of the discard.",
    "discarded_at": "Time of the discard, in UTC.",
    "doubtful": "1 if Segment may have accepted an earlier attempt of the same call, else 0.",
    "message_id": "messageId of the call; null if the mapping makes its own.",
    "changed_columns": "JSON array of the changed columns of an updated record; null if they are not known.",
    "settled_at": "Time at which the sync was settled, in UTC.",
}
"""column of a state table → description"""


def sources(state: StateSettings) -> str:
    """Return a dbt YAML file with the history of syncs and the discards as a source.

    `state` is as written in segconn.yml, before Jinja: dbt then renders it for each target.
    """
    tables = [
        {"name": name, "description": text, "columns": [{"name": one, "description": COLUMNS[one]} for one in columns]}
        for name, (text, columns) in _TABLES.items()
    ]
    source: dict[str, Any] = {
        "name": "segconn",
        "description": "State tables of dbt-segconn. The first run creates them.",
        "schema": state.schema_,
        "tables": tables,
    }
    if state.database:
        source["database"] = state.database
    return _as_yaml("sources", {"sources": [source]})


def delivery_rates() -> str:
    """Return the SQL of a model on the source, valid in all warehouses."""
    sql = (resources.files("dbt_segconn.authoring") / "delivery_rates.sql").read_text(encoding="utf-8")
    return f"-{HEADER.format(command='sources').replace('#', '-', 1)}\n{sql}"


def _as_yaml(command: str, content: abc.Mapping[str, Any]) -> str:
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    return f"{HEADER.format(command=command)}\n{body}"
