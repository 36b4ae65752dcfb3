"""What all syncs share in the warehouse: the history, the discards' table, the claims of locks.

Everything here is only ever appended to: a saved watermark is a new row of `sync_history`, and the view
`syncs` shows the last row of each sync. So no statement waits for another's, and warehouses without
update and merge are served, too.
"""

from __future__ import annotations

import uuid
from collections import abc
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from typing import Any

from dbt_segconn.errors import ConfigurationError, WarehouseError
from dbt_segconn.project.mapping_names import MappingNames, mapping_in
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.warehouse.session import Row, Session
from dbt_segconn.warehouse.source import Source

INSERT_ROWS = 500
# A sync that has ended so has made its changes the new records
SETTLED = ("success", "partial")
# A row of the history that stands for no sync: the mapping's records were forgotten here
RESET = "reset"

# What a sync counts: records, in the order in which they are told
COUNTS = (
    "added",
    "updated",
    "deleted",
    "unidentified",
    "held_back",
    "left_out",
    "to_send",
    "sent",
    "confirmed",
    "discarded",
    "resumed",
)
LOCK_COLUMNS = {
    "mapping_id": "text",
    "token": "text",
    "holder": "text",
    "claimed_at": "time",
    "beat_at": "time",
}


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of the history: a sync as its log last saw it. Times are UTC, counts are records.

    Extracted were the `added`, `updated` and `deleted` records and the `unidentified` ones, whose
    identifier is null or not unique; those `held_back` for want of any consent value, which Segment has never
    got, are no changes yet. Changes `left_out` by the sync mode are not sent; those `to_send`
    end up `confirmed` or, with the unidentified ones, `discarded`. `sent` counts the calls that Segment
    has answered, `resumed` the confirmed ones that a later run than the sync's own has delivered.
    `status` goes from `staging` over `running` and `settling` to one of the final `success`, `partial`
    and `blocked`, or to `failed` or `canceled`; without `finished_at`, they have an outbox to resume.
    `reset` is a row of its own. Once the sync is settled, all up to `checkpoint` of `checkpoint_of`, the
    mapping's column of that kind and time zone, has been read.
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
    run_id: str
    dbt_invocation_id: str | None
    started_at: datetime
    saved_at: datetime
    finished_at: datetime | None = None
    watermark: int = 0
    added: int = 0
    updated: int = 0
    deleted: int = 0
    unidentified: int = 0
    held_back: int = 0
    left_out: int = 0
    to_send: int = 0
    sent: int = 0
    confirmed: int = 0
    discarded: int = 0
    resumed: int = 0
    error: str | None = None
    identifier: str | None = None
    relation: str | None = None
    checkpoint: str | None = None
    checkpoint_of: str | None = None

    @property
    def names(self) -> MappingNames:
        """Every name of the mapping, as it was when the sync began."""
        return MappingNames(self.model, mapping_in(self.mapping, self.model), self.mapping_id)

    def next(self, now: datetime, **changes: Any) -> HistoryRow:
        """Return the sync's next row of the log."""
        return replace(self, revision=self.revision + 1, saved_at=now, **changes)

    def as_reset(self, now: datetime) -> HistoryRow:
        """Return the row that says that the mapping of this sync was reset."""
        no_counts: Any = dict.fromkeys(COUNTS, 0)
        return replace(
            self,
            sync_id=new_sync_id(),
            revision=0,
            sync_mode="",
            status=RESET,
            started_at=now,
            saved_at=now,
            finished_at=now,
            watermark=0,
            error=None,
            checkpoint=None,
            **no_counts,
        )


@dataclass(frozen=True, slots=True)
class DiscardRow:
    """A record that a sync refused or Segment did, with the reason.

    `doubtful` is 1 where Segment may have taken an earlier attempt of the same call, else 0. A row of
    the kind CLOSED ends the record's earlier refusals: what comes after it is counted anew.
    """

    sync_id: str
    mapping_id: str
    mapping: str
    definition: str
    record_id: str | None
    change_type: str
    checksum: str | None
    reason: str
    discarded_at: datetime
    doubtful: int = 0


def _columns_of(row: type[Any]) -> dict[str, str]:
    types = {"str": "text", "int": "number", "datetime": "time"}
    return {one.name: types[str(one.type).split(" ")[0]] for one in fields(row)}


SYNC_COLUMNS = _columns_of(HistoryRow)
DISCARD_COLUMNS = _columns_of(DiscardRow)


class State:
    """The shared tables of the state schema, as one session of the warehouse sees them."""

    def __init__(self, session: Session, settings: StateSettings, database: str | None) -> None:
        self.session = session
        self._settings = settings
        self._database = settings.database or database
        self._exists = False
        self.history, self.syncs, self.discards, self.locks = map(
            self.table, ("sync_history", "syncs", "discards", "locks")
        )

    def table(self, name: str) -> Any:
        """Name a table of the state schema."""
        return self.session.relation(self._database, self._settings.schema_, name)

    def exists(self) -> bool:
        """Say whether there is any history to read. Tables that were there once are not looked for again."""
        if not self._exists:
            self.present()
        return self._exists

    def present(self, *tables: Any) -> set[str]:
        """Return the lower-case names of those tables that are there now."""
        names = self.session.present(*tables, self.syncs)
        self._exists = self._exists or self.syncs.identifier.lower() in names
        return names

    def prepare(self) -> None:
        """Create the schema and its tables where they are missing, and add columns that this version knows.

        Raises ConfigurationError with the rights to ask for where the role may not do so.
        """
        tables = {self.history: SYNC_COLUMNS, self.discards: DISCARD_COLUMNS, self.locks: LOCK_COLUMNS}
        found = self.session.names_beside(self.syncs)
        as_known = {one.identifier for one in (*tables, self.syncs)} <= found
        shown = self._columns(self.syncs) if self.syncs.identifier in found else ()
        if as_known and set(SYNC_COLUMNS) <= set(shown):
            return
        try:
            self.session.create_schema(self.syncs)
            for relation, columns in tables.items():
                self._complete(relation, columns)
            self._replace_view(shown)
        except WarehouseError as error:
            if not self.session.is_denied(error):
                raise
            grant = self.session.render("segconn_grant", relation=self.syncs)
            raise ConfigurationError(
                f"segconn.yml: state.schema: the tables of {self.syncs.without_identifier()} cannot be created: "
                f"{error}. Ask for: {grant}"
            ) from None

    def _complete(self, relation: Any, columns: abc.Mapping[str, str]) -> None:
        self.session.run("segconn_create_table", relation=relation, columns=columns)
        found = self._columns(relation)
        for name, column_type in columns.items():
            if name not in found:  # of an earlier version, or taken away by hand
                self.session.run("segconn_add_column", relation=relation, name=name, column_type=column_type)

    def _replace_view(self, shown: Collection[str]) -> None:
        """Show the columns of `shown` first and in their order: PostgreSQL adds columns to a view only at its end."""
        in_history = self._columns(self.history)
        columns = [
            *(name for name in shown if name in in_history),
            *(name for name in SYNC_COLUMNS if name not in shown),
        ]
        view = {"relation": self.syncs, "history": self.history, "columns": columns}
        try:
            self.session.run("segconn_create_syncs_view", **view)
        except WarehouseError as error:
            if not shown or self.session.is_denied(error):
                raise
            self._recreate_view(view)

    def _recreate_view(self, view: abc.Mapping[str, Any]) -> None:
        """Drop the view and create it: Redshift replaces no view by one of more columns."""
        try:
            self.session.run("segconn_drop_view", relation=self.syncs)
        except WarehouseError as error:
            if self.session.is_denied(error):
                raise
            reason = str(error).partition("HINT:")[0].strip()  # PostgreSQL proposes cascade
            raise ConfigurationError(
                f"{self.syncs} has other columns than this version of dbt-segconn needs, and cannot be replaced: "
                f"{reason}. Drop what depends on it, run dbt-segconn again, then create that anew."
            ) from None
        self.session.run("segconn_create_syncs_view", **view)

    def _columns(self, relation: Any) -> list[str]:
        return [name.lower() for name in self.session.columns(relation)]

    def now(self) -> datetime:
        """Return the warehouse's time in UTC: one clock for all that share the tables."""
        now: datetime = self.session.rows("segconn_select_now")[0][0]
        return now

    def transaction(self) -> AbstractContextManager[None]:
        """Commit the statements of a block together, where the warehouse has transactions."""
        return self.session.transaction()

    def append(self, relation: Any, rows: Sequence[HistoryRow | DiscardRow]) -> None:
        """Append rows to the log or to the discards."""
        for at in range(0, len(rows), INSERT_ROWS):
            self.session.run(
                "segconn_append",
                relation=relation,
                columns=[one.name for one in fields(rows[0])],
                rows=[astuple(row) for row in rows[at : at + INSERT_ROWS]],
            )

    def last_sync(self, mapping_id: str) -> HistoryRow | None:
        """Return the mapping's newest sync."""
        found = self._syncs("segconn_last_sync", mapping_id=mapping_id)
        return found[0] if found else None

    def made_records(self, mapping_id: str) -> HistoryRow | None:
        """Return the newest sync that changed the mapping's records: settled, or canceled with its outbox given up."""
        found = self._syncs("segconn_last_records", mapping_id=mapping_id, settled=[*SETTLED, RESET])
        return found[0] if found and found[0].status != RESET else None

    def last_records(self, mapping_id: str) -> HistoryRow | None:
        """Return the sync that made the mapping's records what they are, if it was settled: none gave up its outbox."""
        last = self.made_records(mapping_id)
        return last if last and last.status in SETTLED else None

    def last_syncs(self) -> list[HistoryRow]:
        """Return the newest sync of every mapping that ever was."""
        return self._syncs("segconn_last_syncs")

    def newest_of_each(self, count: int) -> list[HistoryRow]:
        """Return the newest syncs of every mapping, newest first; at most this many of each."""
        return self._syncs("segconn_newest_of_each", count=count)

    def has_settled(self, mapping_id: str) -> bool:
        """Say whether any sync has sent or settled anything since the mapping was new or reset."""
        arguments = {"syncs": self.syncs, "mapping_id": mapping_id, "settled": SETTLED, "reset": RESET}
        return bool(self.session.rows("segconn_count_settled", **arguments)[0][0])

    def newest(self, limit: int) -> list[HistoryRow]:
        """Return the newest syncs of all mappings, newest first."""
        return self._syncs("segconn_history", limit=limit)

    def interruptions(self, syncs: Sequence[HistoryRow]) -> dict[str, list[HistoryRow]]:
        """Return the earlier ends of these syncs, by sync id and oldest first: each failed, or was canceled."""
        found: dict[str, list[HistoryRow]] = {}
        last = {mapping.sync_id: mapping.revision for mapping in syncs}
        if last:
            arguments = {"history": self.history, "columns": list(SYNC_COLUMNS), "sync_ids": list(last)}
            for row in self.session.rows("segconn_interruptions", **arguments):
                state = HistoryRow(*row)
                if state.revision < last[state.sync_id]:
                    found.setdefault(state.sync_id, []).append(state)
        return found

    def spent(self, since: datetime, *, besides: str = "") -> int:
        """Count the calls of syncs that ended since then or are not at their end, but for one invocation's own."""
        arguments = {"syncs": self.syncs, "since": since, "besides": besides, "not_sent": ("blocked", RESET)}
        return int(self.session.rows("segconn_count_spent", **arguments)[0][0])

    def _syncs(self, query: str, **arguments: Any) -> list[HistoryRow]:
        rows = self.session.rows(query, syncs=self.syncs, columns=list(SYNC_COLUMNS), **arguments)
        return [HistoryRow(*row) for row in rows]

    def orphans(self, mapping_ids: Collection[str]) -> list[HistoryRow]:
        """Return the newest sync of every mapping that is not among `mapping_ids`, yet was not reset."""
        return [last for last in self.last_syncs() if last.mapping_id not in mapping_ids and last.status != RESET]

    def claim(self, mapping_id: str, token: str, holder: str) -> None:
        """Write a claim of a mapping's lock."""
        self.session.run("segconn_claim", locks=self.locks, mapping_id=mapping_id, token=token, holder=holder)

    def claims(self, mapping_id: str) -> list[Row]:
        """Return all claims of a mapping: token, holder, since when, age and silence in seconds."""
        return self.session.rows("segconn_claims", locks=self.locks, mapping_id=mapping_id)

    def beat(self, tokens: Sequence[str]) -> None:
        """Write a heartbeat of each claim."""
        self.session.run("segconn_beat", locks=self.locks, tokens=list(tokens))

    def release(self, tokens: Sequence[str]) -> None:
        """Take claims back."""
        self.session.run("segconn_release", locks=self.locks, tokens=list(tokens))


def new_row(
    mapping: Mapping, now: datetime, *, sync_mode: str = "", run_id: str = "", source: Source | None = None
) -> HistoryRow:
    """Return the first row of a sync that is about to be staged."""
    return HistoryRow(
        sync_id=new_sync_id(),
        revision=0,
        mapping_id=mapping.id,
        model=mapping.model.unique_id,
        mapping=mapping.name,
        destination=mapping.destination,
        action=mapping.meta.action,
        sync_mode=sync_mode,
        status="staging",
        definition=mapping.definition,
        signature=source.signature if source else "",
        run_id=run_id,
        dbt_invocation_id=None,
        started_at=now,
        saved_at=now,
        identifier=",".join(mapping.identifier),
        relation=str(source.relation) if source else None,
        checkpoint_of=source.checkpoint.basis if source and source.checkpoint else None,
    )


def new_sync_id() -> str:
    """Return an id that no other sync has."""
    return uuid.uuid4().hex
