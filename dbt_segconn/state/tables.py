"""The tables that all mappings share: the history, the discards, the locks and the alerts.

Rows are only appended: a new watermark is a new row of `sync_history`, and the view `syncs` shows the last row of each
sync. No statement waits for another one, and warehouses without update and merge are supported.
"""

from __future__ import annotations

import uuid
from collections import abc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dbt_segconn.errors import ConfigurationError, WarehouseError
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import MappingNames, mapping_in
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.warehouse.session import Row, Session
from dbt_segconn.warehouse.source import Source

if TYPE_CHECKING:
    from dbt_segconn.warehouse.adapter import Warehouse

# The rows, or change numbers, of one statement
INSERT_ROWS = 500
# With these statuses, a sync has applied its outbox to the records
SETTLED = ("success", "partial")
# Statuses of rows that are not syncs: the records of the mapping were dropped, or some were marked to be sent again
RESET = "reset"
RESEND = "resend"
# The outbox of the sync waits for `run --apply`. No call of it was sent
PLANNED = "planned"

DELIVERY_COLUMNS = {
    "sync_id": "text",
    "record_id": "text",
    "change_type": "text",
    "message_id": "text",
    "changed_columns": "text",
    "settled_at": "time",
}
LOCK_COLUMNS = {"mapping_id": "text", "token": "text", "holder": "text", "claimed_at": "time", "beat_at": "time"}


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of the history: a sync at one time. Times are UTC; counts are records. For columns see `lineage.COLUMNS`.

    `status` is `staging`, `running`, then `settling`; at the end `success`, `partial`, `blocked`, `failed` or
    `canceled`. A failed or canceled sync without `finished_at` has an outbox to resume. The outbox of a `planned` sync
    waits for `run --apply`. `reset` and `resend` are rows that are not syncs.

    The changes `to_send` become `confirmed` or `discarded`; `discarded` includes the `unidentified` rows. `resumed`
    counts the confirmed records that a later run delivered. `checkpoint` is valid for `checkpoint_of`: the column, its
    value type and its time zone. `integrations` are those of --integrations, as JSON. The messageId of a call is the
    `message_prefix` with the change number appended; it is null if the mapping makes its own messageIds.
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
    integrations: str | None = None
    message_prefix: str | None = None

    @property
    def names(self) -> MappingNames:
        """The names of the mapping at the start of the sync."""
        return MappingNames(self.model, mapping_in(self.mapping, self.model), self.mapping_id)

    @property
    def change_types(self) -> list[str]:
        """The change types that the sync sends. A baseline has an empty text, which no change has."""
        return self.sync_mode.split(",")

    @property
    def changed_records(self) -> bool:
        """Whether the sync changed the mapping's records: it settled or abandoned its outbox, or was a reset."""
        return self.status in {*SETTLED, RESET} or (self.status == "canceled" and self.finished_at is not None)

    @property
    def read_from(self) -> dict[str, str | None]:
        """What guards compare the next sync with: the relation that was read, its identifier and columns."""
        return {"relation": self.relation, "identifier": self.identifier, "signature": self.signature}

    def next(self, now: datetime, **changes: Any) -> HistoryRow:
        """Return the sync's next history row."""
        return replace(self, revision=self.revision + 1, saved_at=now, **changes)

    def as_reset(self, now: datetime) -> HistoryRow:
        """Return a row for the reset of this sync's mapping."""
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
            integrations=None,
            message_prefix=None,
            **no_counts,
        )

    def as_resend(self, now: datetime, run_id: str, what: str) -> HistoryRow:
        """Return a row that reports in `error` (`what`) how many records were marked to be sent again.

        It keeps relation, identifier and signature: the guards of the next sync compare with its newest row.
        """
        row = self.as_reset(now)
        return replace(row, status=RESEND, sync_mode=self.sync_mode, run_id=run_id, dbt_invocation_id=None, error=what)


@dataclass(frozen=True, slots=True)
class DiscardRow:
    """A discarded record, with the reason.

    `doubtful` is 1 if Segment may have received an earlier attempt of the same call, else 0. A row with the change type
    CLOSED closes the record's earlier discards: attempts are then counted from zero.
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


@dataclass(frozen=True, slots=True)
class AlertRow:
    """What was posted to a webhook about a mapping at `saved_at`: the `problem` that it has since `since`.

    `problem` is empty if the mapping has none.
    """

    mapping_id: str
    webhook: str
    mapping: str
    problem: str
    since: datetime
    saved_at: datetime


@dataclass(frozen=True, slots=True)
class LastEnds:
    """When a mapping was last settled, and when its last successful sync ended."""

    settled: datetime
    succeeded: datetime | None


def _columns_of(row: type[Any]) -> dict[str, str]:
    # annotations are texts here, such as "str | None": see the first import
    types = {"str": "text", "int": "number", "datetime": "time"}
    return {one.name: types[str(one.type).split(" ")[0]] for one in fields(row)}


SYNC_COLUMNS = _columns_of(HistoryRow)
DISCARD_COLUMNS = _columns_of(DiscardRow)
ALERT_COLUMNS = _columns_of(AlertRow)
# The counts of a sync, in records, in the order of reports
COUNTS = tuple(name for name, of in SYNC_COLUMNS.items() if of == "number" and name not in {"revision", "watermark"})


class State:
    """The shared tables of the state schema, in one session: `history` with its view `syncs`, and the others.

    `deliveries` exists only if the delivery log is, or was, switched on; `keep_deliveries` is None if it is off.
    """

    def __init__(self, session: Session, settings: StateSettings, database: str | None) -> None:
        self.session = session
        self._settings = settings
        self._database = settings.database or database
        self._exists = False
        self.keep_deliveries = settings.deliveries.keep if settings.deliveries else None
        self.history, self.syncs, self.discards, self.locks, self.alerts, self.deliveries = map(
            self.table, ("sync_history", "syncs", "discards", "locks", "alerts", "deliveries")
        )

    def table(self, name: str) -> Any:
        """Return the relation of a table in the state schema."""
        return self.session.relation(self._database, self._settings.schema_, name)

    def exists(self) -> bool:
        """Return whether the history exists. Once it does, the warehouse is not queried again."""
        if not self._exists:
            self.present()
        return self._exists

    def present(self, *tables: Any) -> set[str]:
        """Return the lower-case names of the tables that exist now."""
        names = self.session.present(*tables, self.syncs)
        self._exists = self._exists or self.syncs.identifier.lower() in names
        return names

    def prepare(self, beside: Any = None) -> None:
        """Create the schema and its tables if they are missing, and add missing columns.

        The schema is created in the region of `beside`, the relation of a model: a query of BigQuery reads one region.

        Raise ConfigurationError, with the grant that is needed, if the role lacks the rights.
        """
        tables = {
            self.history: SYNC_COLUMNS,
            self.discards: DISCARD_COLUMNS,
            self.locks: LOCK_COLUMNS,
            self.alerts: ALERT_COLUMNS,
        }
        if self.keep_deliveries:
            tables[self.deliveries] = DELIVERY_COLUMNS
        found = self.session.present(self.syncs, *tables)
        # usually nothing is missing: creating each table again would cost every command several statements
        is_complete = {one.identifier for one in (*tables, self.syncs)} <= found
        shown = self._columns(self.syncs) if self.syncs.identifier in found else ()
        if is_complete and set(SYNC_COLUMNS) <= set(shown):
            return
        try:
            self._create(tables, found, shown, beside)
        except WarehouseError as error:
            if not self.session.is_denied(error):
                raise
            grant = self.session.render("segconn_grant", relation=self.syncs)
            raise ConfigurationError(
                f"segconn.yml: state.schema: the tables of {self.syncs.without_identifier()} cannot be created: "
                f"{error}. Ask for: {grant}"
            ) from None

    def _create(
        self,
        tables: abc.Mapping[Any, abc.Mapping[str, str]],
        found: Collection[str],
        shown: Collection[str],
        beside: Any,
    ) -> None:
        self.session.create_schema(self.syncs, beside)
        if self.keep_deliveries:
            self.session.run("segconn_create_deliveries", relation=self.deliveries, columns=DELIVERY_COLUMNS)
        for relation, columns in tables.items():
            self.session.run("segconn_create_table", relation=relation, columns=columns)
            if relation.identifier in found:
                self._complete(relation, columns)
        self._replace_view(shown)

    def _complete(self, relation: Any, columns: abc.Mapping[str, str]) -> None:
        """Add the columns that a table of an earlier version lacks, or one that was altered."""
        existing = self._columns(relation)
        for name, column_type in columns.items():
            if name not in existing:
                self.session.run("segconn_add_column", relation=relation, name=name, column_type=column_type)

    def _replace_view(self, shown: Collection[str]) -> None:
        """Replace the view. Its current columns (`shown`) stay first: PostgreSQL adds view columns only at the end."""
        in_history = self._columns(self.history) if shown else ()
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
        """Drop and create the view: Redshift cannot add columns to a view."""
        try:
            self.session.run("segconn_drop_view", relation=self.syncs)
        except WarehouseError as error:
            if self.session.is_denied(error):
                raise
            reason = str(error).partition("HINT:")[0].strip()  # PostgreSQL's hint is to use cascade
            raise ConfigurationError(
                f"{self.syncs} has other columns than this version of dbt-segconn needs, and cannot be replaced: "
                f"{reason}. Drop the objects that depend on it, run dbt-segconn again, then create them again."
            ) from None
        self.session.run("segconn_create_syncs_view", **view)

    def _columns(self, relation: Any) -> list[str]:
        return [name.lower() for name in self.session.columns(relation)]

    def now(self) -> datetime:
        """Return the warehouse's time in UTC. It is the same clock for all machines."""
        now: datetime = self.session.rows("segconn_select_now")[0][0]
        return now

    def together(self, work: Callable[[], None]) -> None:
        """Commit the statements of `work` together. It may run more than once, after it was rolled back."""
        self.session.together(work)

    def append(self, relation: Any, rows: Sequence[HistoryRow | DiscardRow | AlertRow]) -> None:
        """Append rows to the history, the discards or the alerts."""
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

    def made_records(self, mapping_id: str, newest: Iterable[HistoryRow] = ()) -> HistoryRow | None:
        """Return the newest sync that changed the mapping's records: a settled one, or one with an abandoned outbox.

        `newest` are its newest rows, if they are known, newest first. They often tell it without a query.
        """
        found = [row for row in newest if row.changed_records]
        # a later reset has dropped the records
        found = found or self._syncs("segconn_last_records", mapping_id=mapping_id, settled=[*SETTLED, RESET])
        return found[0] if found and found[0].status != RESET else None

    def last_records(self, mapping_id: str) -> HistoryRow | None:
        """Return the sync that last changed the mapping's records; None if its outbox was abandoned."""
        last = self.made_records(mapping_id)
        return last if last and last.status in SETTLED else None

    def last_syncs(self) -> list[HistoryRow]:
        """Return the newest sync of every mapping in the history."""
        return self._syncs("segconn_last_syncs")

    def newest_of_each(self, count: int) -> list[HistoryRow]:
        """Return the newest syncs of every mapping, newest first; at most `count` of each."""
        return self._syncs("segconn_newest_of_each", count=count)

    def has_settled(self, mapping_id: str) -> bool:
        """Return whether any sync has sent or settled anything since the last reset of the mapping."""
        arguments = {"syncs": self.syncs, "mapping_id": mapping_id, "settled": SETTLED, "reset": RESET}
        return bool(self.session.rows("segconn_count_settled", **arguments)[0][0])

    def newest(self, limit: int) -> list[HistoryRow]:
        """Return the newest syncs of all mappings, newest first."""
        return self._syncs("segconn_history", limit=limit)

    def interruptions(self, syncs: Sequence[HistoryRow]) -> dict[str, list[HistoryRow]]:
        """Return the earlier failed and canceled rows of these syncs, by sync id, oldest first."""
        found: dict[str, list[HistoryRow]] = {}
        last = {sync.sync_id: sync.revision for sync in syncs}
        if last:
            arguments = {"history": self.history, "columns": list(SYNC_COLUMNS), "sync_ids": list(last)}
            for row in self.session.rows("segconn_interruptions", **arguments):
                earlier = HistoryRow(*row)
                if earlier.revision < last[earlier.sync_id]:
                    found.setdefault(earlier.sync_id, []).append(earlier)
        return found

    def spent(self, since: datetime, *, besides: str = "") -> int:
        """Count the calls of syncs that ended at or after `since` (UTC) or are unfinished. Leave out the run `besides`.

        An unfinished sync counts with all its calls: the next run may send them.
        """
        not_sent = ("blocked", PLANNED, RESET, RESEND)
        arguments = {"syncs": self.syncs, "since": since, "besides": besides, "not_sent": not_sent}
        return int(self.session.rows("segconn_count_spent", **arguments)[0][0])

    def last_alerts(self, webhooks: Collection[str]) -> list[AlertRow]:
        """Return the last alert to each of these webhooks about each mapping."""
        arguments = {"alerts": self.alerts, "columns": list(ALERT_COLUMNS), "webhooks": list(webhooks)}
        return [AlertRow(*row) for row in self.session.rows("segconn_last_alerts", **arguments)]

    def last_ends(self) -> dict[str, LastEnds]:
        """Return when each mapping was last settled, by mapping id."""
        rows = self.session.rows("segconn_last_ends", syncs=self.syncs, settled=SETTLED)
        return {row[0]: LastEnds(*row[1:]) for row in rows}

    def _syncs(self, query: str, **arguments: Any) -> list[HistoryRow]:
        # columns by name: one that was added to the view later stands last in it
        rows = self.session.rows(query, syncs=self.syncs, columns=list(SYNC_COLUMNS), **arguments)
        return [HistoryRow(*row) for row in rows]

    def orphans(self, mapping_ids: Collection[str]) -> list[HistoryRow]:
        """Return the newest sync of every mapping that is not in `mapping_ids` and was not reset."""
        return [last for last in self.last_syncs() if last.mapping_id not in mapping_ids and last.status != RESET]

    def count_few(self, tables: Sequence[Any], most: int) -> list[int]:
        """Count the records in tables of records, at most `most` in each."""
        return self._counts("segconn_count_few_records", tables, tables=tables, most=most)

    def count_work(self, diffs: Sequence[Any]) -> list[int]:
        """Count, for each diff, the changes that a sync would stage and the discards that it would close."""
        return self._counts("segconn_count_work", diffs, diffs=diffs)

    def mappings_with_discards(self) -> set[str]:
        """Return the ids of mappings with open discards."""
        return {
            mapping_id for (mapping_id,) in self.session.rows("segconn_mappings_with_discards", discards=self.discards)
        }

    def _counts(self, macro: str, of: Sequence[Any], **arguments: Any) -> list[int]:
        # SQL returns the parts of a `union all` in any order, so each row has its place
        rows = self.session.rows(macro, **arguments) if of else []
        counts = {int(nth): int(count) for nth, count in rows}
        return [counts[nth] for nth in range(len(of))]

    def claim(self, tokens: abc.Mapping[str, str], holder: str) -> None:
        """Append a claim of each mapping's lock: mapping id → token."""
        self.session.run("segconn_claim", locks=self.locks, tokens=tokens, holder=holder)

    def claims(self, mapping_ids: Collection[str]) -> list[Row]:
        """Return all claims of these mappings, with the fields of `Claim`."""
        return self.session.rows("segconn_claims", locks=self.locks, mapping_ids=mapping_ids)

    def is_claimed(self, token: str) -> bool:
        """Return whether a claim exists: it was not released, and no other process has broken the lock."""
        found = self.session.rows("segconn_is_claimed", locks=self.locks, token=token)[0]
        return int(found[0]) > 0 and not found[1]

    def beat(self, tokens: Sequence[str]) -> None:
        """Append a heartbeat for each claim."""
        self.session.run("segconn_heartbeat", locks=self.locks, tokens=list(tokens))

    def release(self, tokens: Sequence[str]) -> None:
        """Release claims."""
        self.session.run("segconn_release", locks=self.locks, tokens=list(tokens))


@contextmanager
def open_state(warehouse: Warehouse, settings: StateSettings, name: str) -> Iterator[State]:
    """Open a session of this name, with the state tables. They may not exist yet."""
    with warehouse.session(name) as session:
        yield State(session, settings, warehouse.database)


def new_row(
    mapping: Mapping, now: datetime, *, sync_mode: str = "", run_id: str = "", source: Source | None = None
) -> HistoryRow:
    """Return the first history row of a sync, before staging."""
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
        integrations=mapping.run_integrations,
    )


def in_force(mapping: Mapping, last: HistoryRow | None) -> Mapping:
    """Return the mapping with the --integrations of this run; without any, with those of its last sync if unsettled.

    Otherwise, the next scheduled run would send the rest of an interrupted backfill to every destination.
    """
    if mapping.run_integrations is None and last and last.status not in SETTLED:
        return replace(mapping, run_integrations=last.integrations)
    return mapping


def new_sync_id() -> str:
    """Return a new unique sync id."""
    return uuid.uuid4().hex
