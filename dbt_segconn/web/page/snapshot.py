"""What the page shows: the project's mappings and what the state tables say of them, as one value for JSON."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from dbt_segconn.engine.opening import Options, Project
from dbt_segconn.inspection.overview import names_shown, opened_state
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.discards import (
    LISTED_COLUMNS,
    OPEN_COLUMNS,
    REASON_COLUMNS,
    all_discards,
    discard_reasons,
    open_discards,
)
from dbt_segconn.state.locks import Claim
from dbt_segconn.state.tables import COUNTS, RESET, HistoryRow, State
from dbt_segconn.version import __version__
from dbt_segconn.warehouse.session import Row

# Raised when a field changes its meaning or goes
SNAPSHOT_VERSION = 1
# So many syncs of all mappings at most; the newest of each mapping is there beyond them
HISTORY = 1_000
REFUSALS = 1_000

SYNC_FIELDS = ("sync_id", "mapping_id", "sync_mode", "watermark", "error", "run_id", "dbt_invocation_id")


@dataclass(frozen=True, slots=True)
class Past:
    """What the state tables hold, newest first.

    `held` are the mappings that a process is at work on, `earlier` the ends of a sync before it was resumed, by its id.
    """

    syncs: Sequence[HistoryRow] = ()
    discards: Sequence[Row] = ()
    reasons: Sequence[Row] = ()
    refused: Sequence[Row] = ()
    held: Collection[str] = ()
    earlier: abc.Mapping[str, Sequence[HistoryRow]] = field(default_factory=dict)


def read_snapshot(options: Options, limit: int = HISTORY) -> dict[str, Any]:
    """Read the project and its state tables, and close the warehouse again.

    Returns a value for JSON: `mappings`, `syncs` (the newest `limit`, newest first), `discards` (refusals that
    stand), and of each sync `reasons` and `refused` records. Times are ISO-8601 in UTC. Raises
    ConfigurationError where the project needs mending, WarehouseError where the warehouse cannot be read.
    """
    with opened_state(options) as (project, state):
        past = read_past(state, limit) if state.exists() else Past()
    return snapshot(project, past, datetime.now(timezone.utc))


def read_past(state: State, limit: int) -> Past:
    """Read the state tables, which must exist."""
    newest = state.last_syncs()
    syncs = {sync.sync_id: sync for sync in (*state.newest(limit), *newest)}
    return Past(
        sorted(syncs.values(), key=lambda sync: sync.started_at, reverse=True),
        open_discards(state, REFUSALS),
        discard_reasons(state, REFUSALS),
        all_discards(state, REFUSALS),
        {sync.mapping_id for sync in newest if sync.finished_at is None and _is_held(state, sync)},
        state.interruptions(list(syncs.values())),
    )


def _is_held(state: State, sync: HistoryRow) -> bool:
    return any(Claim(*row).live for row in state.claims(sync.mapping_id))


def snapshot(project: Project, past: Past, now: datetime) -> dict[str, Any]:
    """Put together what the page shows, as `read_snapshot` returns it."""
    known = {mapping.id for mapping in project.mappings}
    gone = {mapping.mapping_id: mapping for mapping in reversed(past.syncs) if mapping.mapping_id not in known}
    shown = names_shown(project, gone.values())
    return {
        "version": SNAPSHOT_VERSION,
        "dbt_segconn_version": __version__,
        "generated_at": _iso(now),
        "project": str(project.manifest.raw["metadata"].get("project_name") or project.context.project.name),
        "state_schema": project.settings.state.schema_,
        "has_identifiers": True,
        "mappings": [
            *(_mapping(mapping, project) for mapping in project.mappings),
            *(_orphan(mapping, shown[mapping.mapping_id]) for mapping in gone.values() if mapping.status != RESET),
        ],
        "syncs": list(_syncs(past)),
        "discards": [
            {**one, "mapping": shown.get(one["mapping_id"], one["mapping"])}
            for one in _as_objects(OPEN_COLUMNS, past.discards)
        ],
        "reasons": _as_objects(REASON_COLUMNS, past.reasons),
        "refused": _as_objects(LISTED_COLUMNS, past.refused),
    }


def _mapping(mapping: Mapping, project: Project) -> dict[str, Any]:
    destination = project.settings.destinations[mapping.destination]
    return {
        "id": mapping.id,
        "name": mapping.name,
        "model": mapping.model.name,
        "action": mapping.meta.action,
        "destination": mapping.destination,
        "is_enabled": mapping.meta.enabled and destination.enabled,
        "is_in_project": True,
        "sync_mode": list(mapping.meta.sync_mode),
        "identifier": list(mapping.identifier),
        "file": mapping.model.file,
        "fields": mapping.meta.fields,
    }


def _orphan(last: HistoryRow, name: str) -> dict[str, Any]:
    """Describe a mapping that has gone from the project and still has state."""
    return {
        "id": last.mapping_id,
        "name": name,
        "model": last.model.rpartition(".")[2],
        "action": last.action,
        "destination": last.destination,
        "is_enabled": False,
        "is_in_project": False,
        "sync_mode": [],
        "identifier": last.identifier.split(",") if last.identifier else [],
        "file": None,
        "fields": {},
    }


def _syncs(past: Past) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for sync in past.syncs:
        is_newest = sync.mapping_id not in seen
        seen.add(sync.mapping_id)
        yield {
            **{name: getattr(sync, name) for name in (*SYNC_FIELDS, *COUNTS)},
            "status": _status(sync, is_held=is_newest and sync.mapping_id in past.held),
            "is_baseline": not sync.sync_mode and sync.status != RESET,
            "has_outbox": sync.finished_at is None,
            "earlier": [_end(one) for one in past.earlier.get(sync.sync_id, ())],
            "started_at": _iso(sync.started_at),
            "saved_at": _iso(sync.saved_at),
            "finished_at": _iso(sync.finished_at),
        }


def _end(mapping: HistoryRow) -> dict[str, Any]:
    return {"status": mapping.status, "saved_at": _iso(mapping.saved_at), "error": mapping.error}


def _status(sync: HistoryRow, *, is_held: bool) -> str:
    """Name a sync's status: the log's own, but for syncs that a process is at work on, or has left behind."""
    if sync.finished_at is not None:
        return sync.status
    if is_held:
        return "in_progress"
    return sync.status if sync.status in {"failed", "canceled"} else "interrupted"


def _as_objects(names: Sequence[str], rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{name: _value(value) for name, value in zip(names, row, strict=True)} for row in rows]


def _value(value: Any) -> Any:
    return _iso(value) if isinstance(value, datetime) else value


def _iso(when: datetime | None) -> str | None:
    """Write a time in UTC; those of the state tables have no zone and are in UTC."""
    if when is None:
        return None
    utc = when.astimezone(timezone.utc) if when.tzinfo else when
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z"
