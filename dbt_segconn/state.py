"""What is kept in the warehouse: records, outboxes, discards and the history of syncs.

Everything that several syncs share is only ever appended to: a saved watermark is a new row of
`sync_log`, and the view `syncs` shows the last row of each sync. So no statement here waits for
another's, and warehouses without update and merge are served, too.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from typing import Any

from dbt_segconn.plan import Sync
from dbt_segconn.settings import StateSettings
from dbt_segconn.warehouse.session import Row, Session
from dbt_segconn.warehouse.source import Source
from dbt_segconn.warehouse.values import Column

# https://segment.com/docs/connections/reverse-etl/ : failed records are tried again in 5 syncs or 14 days
RETRY_SYNCS = 5
RETRY_DAYS = 14
# Rows that are not unique by their identifier are all counted; so many of them are kept by name
KEPT_REPEATED = 1000
INSERT_ROWS = 500

RECORD_COLUMNS = {"record_id": "text", "checksum": "text"}
LOCK_COLUMNS = {
    "mapping_id": "text",
    "token": "text",
    "holder": "text",
    "claimed_at": "time",
    "beat_at": "time",
}


@dataclass(frozen=True, slots=True)
class SyncState:
    """One row of the history: a sync as its log last saw it. Times are UTC, counts are records.

    `unidentified` records have an identifier that is null or not unique; they are `discarded`, as are
    those that Segment or its rules refused. Changes `left_out` by the sync mode are not sent.
    `status` goes from `staging` over `running` and `settling` to one of the final `success`, `partial`
    and `blocked`, or to `failed` or `canceled`, which leave an outbox to resume.
    """

    sync_id: str
    revision: int
    mapping_id: str
    model: str
    mapping: str
    destination: str
    action: str
    sync_mode: str
    status: str
    definition: str
    signature: str
    invocation_id: str
    dbt_invocation_id: str | None
    started_at: datetime
    saved_at: datetime
    finished_at: datetime | None = None
    watermark: int = 0
    added: int = 0
    updated: int = 0
    deleted: int = 0
    unidentified: int = 0
    left_out: int = 0
    to_send: int = 0
    confirmed: int = 0
    discarded: int = 0
    error: str | None = None

    def next(self, now: datetime, **changes: Any) -> SyncState:
        """Return the sync's next row of the log."""
        return replace(self, revision=self.revision + 1, saved_at=now, **changes)


@dataclass(frozen=True, slots=True)
class Discard:
    """A record that a sync refused or Segment did, with the reason."""

    sync_id: str
    mapping_id: str
    mapping: str
    definition: str
    record_id: str | None
    kind: str
    checksum: str | None
    reason: str
    discarded_at: datetime


def _columns_of(row: type[Any]) -> dict[str, str]:
    kinds = {"str": "text", "int": "number", "datetime": "time"}
    return {one.name: kinds[str(one.type).split(" ")[0]] for one in fields(row)}


SYNC_COLUMNS = _columns_of(SyncState)
DISCARD_COLUMNS = _columns_of(Discard)


class State:
    """The state schema, as one session of the warehouse sees it."""

    def __init__(self, session: Session, settings: StateSettings, database: str | None) -> None:
        self._session = session
        self._settings = settings
        self._database = settings.database or database
        self.log, self.syncs, self.discards, self.locks = map(self.table, ("sync_log", "syncs", "discards", "locks"))

    def table(self, name: str) -> Any:
        """Name a table of the state schema."""
        return self._session.relation(self._database, self._settings.schema_, name)

    def exists(self) -> bool:
        """Say whether the state schema has been prepared."""
        return self._session.exists(self.syncs)

    def prepare(self) -> None:
        """Create the schema and its tables where they are missing."""
        if self.exists():
            return
        self._session.create_schema(self.syncs)
        tables = {self.log: SYNC_COLUMNS, self.discards: DISCARD_COLUMNS, self.locks: LOCK_COLUMNS}
        for relation, columns in tables.items():
            self._session.run("segconn_create_table", relation=relation, columns=columns)
        self._session.run("segconn_create_syncs_view", relation=self.syncs, log=self.log, columns=list(SYNC_COLUMNS))

    def transaction(self) -> AbstractContextManager[None]:
        """Commit the statements of a block together, where the warehouse has transactions."""
        return self._session.transaction()

    def append(self, relation: Any, rows: Sequence[SyncState | Discard]) -> None:
        """Append rows to the log or to the discards."""
        for at in range(0, len(rows), INSERT_ROWS):
            self._session.run(
                "segconn_append",
                relation=relation,
                columns=[one.name for one in fields(rows[0])],
                rows=[astuple(row) for row in rows[at : at + INSERT_ROWS]],
            )

    def last_sync(self, mapping_id: str) -> SyncState | None:
        """Return the mapping's newest sync."""
        rows = self._session.rows(
            "segconn_last_sync", syncs=self.syncs, columns=list(SYNC_COLUMNS), mapping_id=mapping_id
        )
        return SyncState(*rows[0]) if rows else None

    def history(self, limit: int) -> list[SyncState]:
        """Return the newest syncs of all mappings, newest first."""
        rows = self._session.rows("segconn_history", syncs=self.syncs, columns=list(SYNC_COLUMNS), limit=limit)
        return [SyncState(*row) for row in rows]

    def open_discards(self, limit: int) -> list[Row]:
        """Return refused records: mapping id, mapping, record, kind, reason, attempts, first and last time."""
        return self._session.rows("segconn_open_discards", discards=self.discards, limit=limit)

    def claim(self, mapping_id: str, token: str, holder: str) -> None:
        """Write a claim of a mapping's lock."""
        self._session.run("segconn_claim", locks=self.locks, mapping_id=mapping_id, token=token, holder=holder)

    def claims(self, mapping_id: str) -> list[Row]:
        """Return all claims of a mapping: token, holder, since when, age and silence in seconds."""
        return self._session.rows("segconn_claims", locks=self.locks, mapping_id=mapping_id)

    def beat(self, tokens: Sequence[str]) -> None:
        """Write a heartbeat of each claim."""
        self._session.run("segconn_beat", locks=self.locks, tokens=list(tokens))

    def release(self, tokens: Sequence[str]) -> None:
        """Take claims back."""
        self._session.run("segconn_release", locks=self.locks, tokens=list(tokens))

    def of(self, mapping_id: str) -> MappingState:
        """Return the tables of one mapping."""
        return MappingState(self._session, self, mapping_id)


@dataclass(frozen=True, slots=True)
class Changes:
    """How many changes of one kind an outbox holds, and between which change numbers."""

    count: int
    first: int
    last: int


class MappingState:
    """The records and the outbox of one mapping."""

    def __init__(self, session: Session, state: State, mapping_id: str) -> None:
        self._session = session
        self._state = state
        self.mapping_id = mapping_id
        self.records = state.table(f"records_{mapping_id}")
        self.outbox = state.table(f"outbox_{mapping_id}")

    def has_outbox(self) -> bool:
        """Say whether a sync has left an outbox."""
        return self._session.exists(self.outbox)

    def has_records(self) -> bool:
        """Say whether any sync was settled since the mapping was new or reset."""
        return self._session.exists(self.records)

    def known(self) -> int:
        """Count the records of the last settled sync."""
        return int(self._session.rows("segconn_count_rows", relation=self.records)[0][0])

    def stage(self, sync: Sync, source: Source) -> None:
        """Freeze the difference between the model and the records as the mapping's outbox."""
        self._session.run("segconn_create_table", relation=self.records, columns=RECORD_COLUMNS)
        self._session.run("segconn_stage", outbox=self.outbox, diff=self._diff(sync, source))

    def preview(self, sync: Sync, source: Source, kinds: Iterable[str], limit: int) -> list[Row]:
        """Return the first changes that a sync would stage now, as `read` does, without writing anything."""
        diff = self._diff(sync, source)
        if not self.has_records():
            diff["records"] = None
        if not self._state.exists():
            diff["discards"] = None
        return self._session.rows("segconn_preview", diff=diff, kinds=list(kinds), limit=limit)

    def _diff(self, sync: Sync, source: Source) -> dict[str, Any]:
        return {
            "records": self.records,
            "discards": self._state.discards,
            "discard_columns": DISCARD_COLUMNS,
            "model": source.relation,
            "identifier": source.identifier,
            "columns": source.columns,
            "signature": source.signature,
            "unsure_kind": "updated" if "updated" in sync.mapping.sync_mode else "added",
            "mapping_id": self.mapping_id,
            "definition": sync.definition,
            "retry_syncs": RETRY_SYNCS,
            "retry_days": RETRY_DAYS,
        }

    def count(self) -> Mapping[str, Changes]:
        """Count the outbox by kind: added, updated, deleted, null_identifier, duplicate_identifier."""
        rows = self._session.rows("segconn_count_changes", outbox=self.outbox)
        return {kind: Changes(int(count), int(first), int(last)) for kind, count, first, last in rows}

    def read(self, columns: Sequence[Column], kinds: Iterable[str], after: int, upto: int) -> list[Row]:
        """Return the changes numbered after `after` up to `upto`: number, kind, record id, the columns."""
        return self._session.rows(
            "segconn_read_changes",
            outbox=self.outbox,
            columns=list(columns),
            kinds=list(kinds),
            after=after,
            upto=upto,
        )

    def describe(self, numbers: Sequence[int]) -> dict[int, tuple[str, str | None]]:
        """Return kind and checksum of single changes, by number."""
        rows = [
            row
            for at in range(0, len(numbers), INSERT_ROWS)
            for row in self._session.rows(
                "segconn_describe_changes", outbox=self.outbox, numbers=numbers[at : at + INSERT_ROWS]
            )
        ]
        return {int(number): (kind, checksum) for number, kind, checksum in rows}

    def discard_repeated(self, state: SyncState) -> None:
        """Write the records whose identifier is null or not unique to the discards."""
        self._session.run(
            "segconn_discard_repeated",
            discards=self._state.discards,
            outbox=self.outbox,
            sync_id=state.sync_id,
            mapping_id=self.mapping_id,
            mapping=state.mapping,
            definition=state.definition,
            limit=KEPT_REPEATED,
        )

    def settle(self, state: SyncState, final: SyncState) -> None:
        """Apply the outbox to the records, drop it, and log the sync as finished: together, or repeatably."""
        tables = {"outbox": self.outbox, "records": self.records, "discards": self._state.discards}
        with self._session.transaction():
            self._session.run("segconn_forget_settled", **tables, sync_id=state.sync_id)
            self._session.run("segconn_remember_settled", **tables, sync_id=state.sync_id)
            self.drop_outbox()
            self._state.append(self._state.log, [final])

    def abandon(self, state: SyncState, final: SyncState) -> None:
        """Give up an outbox that no longer fits its mapping; what may have been sent will be sent afresh."""
        tables = {"outbox": self.outbox, "records": self.records, "discards": self._state.discards}
        kinds = state.sync_mode.split(",")
        with self._session.transaction():
            self._session.run("segconn_forget_abandoned", **tables, sync_id=state.sync_id, kinds=kinds)
            self._session.run(
                "segconn_remember_abandoned",
                **tables,
                sync_id=state.sync_id,
                kinds=kinds,
                watermark=state.watermark,
            )
            self.drop_outbox()
            self._state.append(self._state.log, [final])

    def drop_outbox(self) -> None:
        """Drop the outbox, if there is one."""
        self._session.run("segconn_drop", relation=self.outbox)

    def reset(self) -> None:
        """Forget every record, so that the next sync finds them all added."""
        self.drop_outbox()
        self._session.run("segconn_drop", relation=self.records)


def new_sync_id() -> str:
    """Return an id that no other sync has."""
    return uuid.uuid4().hex
