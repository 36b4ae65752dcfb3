"""The page of syncs: its data as one JSON value, and its form as one HTML file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import abc
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import orjson

from dbt_segconn.engine.opening import Options, Project
from dbt_segconn.inspection.overview import names_shown, opened_state
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.locks import Claim
from dbt_segconn.state.outcomes import (
    LISTED_COLUMNS,
    OPEN_COLUMNS,
    REASON_COLUMNS,
    all_discards,
    discard_reasons,
    open_discards,
)
from dbt_segconn.state.tables import COUNTS, PLANNED, RESEND, RESET, HistoryRow, State
from dbt_segconn.version import __version__
from dbt_segconn.warehouse.session import Row
from dbt_segconn.web.files import Assets

# Incremented if a field changes its meaning or is removed
SNAPSHOT_VERSION = 2
# The most syncs of all mappings, besides the newest one of each mapping
HISTORY = 1_000
DISCARDS = 1_000

ASSETS = Assets("dbt_segconn.web.page", "assets")
_STYLE = re.compile(r'<link rel="stylesheet" href="(\w+\.css)">')
_SCRIPT = re.compile(r'<script type="module" src="(\w+\.js)"></script>')
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)

SYNC_FIELDS = ("sync_id", "mapping_id", "sync_mode", "watermark", "error", "run_id", "dbt_invocation_id")


@dataclass(frozen=True, slots=True)
class Past:
    """The content of the state tables, newest first.

    `locked` are mappings that a live process syncs. `earlier` has the failed attempts of each resumed sync, by its id.
    """

    syncs: Sequence[HistoryRow] = ()
    discards: Sequence[Row] = ()
    reasons: Sequence[Row] = ()
    discarded_records: Sequence[Row] = ()
    locked: Collection[str] = ()
    earlier: abc.Mapping[str, Sequence[HistoryRow]] = field(default_factory=dict)


def read_snapshot(options: Options, limit: int = HISTORY) -> dict[str, Any]:
    """Read the project and its state tables, and close the warehouse.

    Returns a JSON value: `mappings`, `syncs` (the newest `limit`, newest first), open `discards`, and for each
    sync the `reasons` of discards and its `discarded_records`. Times are ISO-8601 in UTC. Raises
    ConfigurationError if the project has errors, WarehouseError if the warehouse cannot be read.
    """
    with opened_state(options) as (project, state):
        past = _read_past(state, limit) if state.exists() else Past()
    return _build(project, past, datetime.now(timezone.utc))


def _read_past(state: State, limit: int) -> Past:
    newest = state.last_syncs()
    # the last sync of a mapping that rarely runs may be older than the newest `limit` syncs
    syncs = {sync.sync_id: sync for sync in (*state.newest(limit), *newest)}
    return Past(
        sorted(syncs.values(), key=lambda sync: sync.started_at, reverse=True),
        open_discards(state, DISCARDS),
        discard_reasons(state, DISCARDS),
        all_discards(state, DISCARDS),
        {sync.mapping_id for sync in newest if sync.finished_at is None and _is_locked(state, sync)},
        state.interruptions(list(syncs.values())),
    )


def _is_locked(state: State, sync: HistoryRow) -> bool:
    return any(Claim(*row).live for row in state.claims([sync.mapping_id]))


def _build(project: Project, past: Past, now: datetime) -> dict[str, Any]:
    ids = {mapping.id for mapping in project.mappings}
    # from the oldest to the newest: the newest sync of a mapping remains
    removed = {sync.mapping_id: sync for sync in reversed(past.syncs) if sync.mapping_id not in ids}
    names = names_shown(project, removed.values())
    return {
        "version": SNAPSHOT_VERSION,
        "dbt_segconn_version": __version__,
        "generated_at": iso(now),
        "project": str(project.manifest.raw["metadata"].get("project_name") or project.context.project.name),
        "state_schema": project.settings.state.schema_,
        "has_identifiers": True,
        "mappings": [
            *(_mapping(mapping, project) for mapping in project.mappings),
            *(_removed(last, names[last.mapping_id]) for last in removed.values() if last.status != RESET),
        ],
        "syncs": list(_syncs(past)),
        "discards": [
            {**row, "mapping": names.get(row["mapping_id"], row["mapping"])}
            for row in _as_objects(OPEN_COLUMNS, past.discards)
        ],
        "reasons": _as_objects(REASON_COLUMNS, past.reasons),
        "discarded_records": _as_objects(LISTED_COLUMNS, past.discarded_records),
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


def _removed(last: HistoryRow, name: str) -> dict[str, Any]:
    """Describe a mapping that was removed from the project but still has state."""
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
            "status": _status(sync, is_locked=is_newest and sync.mapping_id in past.locked),
            "is_baseline": not sync.sync_mode and sync.status not in {RESET, RESEND},
            "has_outbox": sync.finished_at is None,
            "earlier": [_attempt(row) for row in past.earlier.get(sync.sync_id, ())],
            "started_at": iso(sync.started_at),
            "saved_at": iso(sync.saved_at),
            "finished_at": iso(sync.finished_at),
        }


def _attempt(row: HistoryRow) -> dict[str, Any]:
    return {"status": row.status, "saved_at": iso(row.saved_at), "error": row.error}


def _status(sync: HistoryRow, *, is_locked: bool) -> str:
    """Return the status of a history row; `in_progress` or `interrupted` if the sync has not finished."""
    if sync.finished_at is not None:
        return sync.status
    if is_locked:
        return "in_progress"
    # without a lock and with any other status, its process was killed
    return sync.status if sync.status in {"failed", "canceled", PLANNED} else "interrupted"


def _as_objects(names: Sequence[str], rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{name: _value(value) for name, value in zip(names, row, strict=True)} for row in rows]


def _value(value: Any) -> Any:
    return iso(value) if isinstance(value, datetime) else value


def iso(time: datetime | None) -> str | None:
    """Write a time in UTC. Times of the state tables are in UTC and have no time zone."""
    if time is None:
        return None
    # milliseconds, because a Date of JavaScript holds no more
    utc = time.astimezone(timezone.utc) if time.tzinfo else time
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z"


def freeze(snapshot: dict[str, Any], *, identifiers: bool = False) -> str:
    """Return the page with its data, styles and scripts as one HTML text that loads nothing else.

    The data has no values of rows, except identifiers of discarded records with `identifiers`.
    """
    # the file may be published, and identifiers may be data of persons
    shown = snapshot if identifiers else _without_identifiers(snapshot)
    page = _text("index.html")
    styles = [_text(name) for name in _STYLE.findall(page)]
    script = _bundle(_SCRIPT.findall(page)[0])  # the policy allows exactly these texts, by their hashes
    data = f'<script type="application/json" id="data">{_as_json(shown)}</script>'
    page = _STYLE.sub(lambda one: f"<style>{_text(one[1])}</style>", page)
    # a policy in a <meta> element does not apply to what stands before it
    page = _SCRIPT.sub("", page).replace("<title>", f"{_policy(styles, [script])}\n<title>")
    return page.replace("</body>", f'{data}\n<script type="module">{script}</script>\n</body>')


def _without_identifiers(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot without identifiers of records. Reasons and counts of discards remain."""
    return {
        **snapshot,
        "has_identifiers": False,
        "discards": [{**row, "record_id": None} for row in snapshot["discards"]],
        "discarded_records": [],
    }


def _bundle(entry: str) -> str:
    """Return a module and the modules that it imports as one script: a page from a file cannot import modules.

    All modules share one scope: their top-level names must be unique, and `import` must not rename.
    """
    names: dict[str, None] = {}

    def add(name: str) -> None:
        for imported in _IMPORT.findall(_text(name)):
            if imported not in names:
                add(imported)
        names[name] = None

    add(entry)
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _text(name))) for name in names)


def _text(name: str) -> str:
    return ASSETS.read(name).decode()


def _as_json(value: Any) -> str:
    """Write JSON that cannot close its script element, whatever texts it has, such as `</script>`."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy that allows only these styles and scripts, and no requests."""
    return (
        '<meta http-equiv="Content-Security-Policy" content="'
        f"default-src 'none'; script-src {_digests(scripts)}; style-src {_digests(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'\">"
    )


def _digests(texts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{one}'" for one in hashes)
