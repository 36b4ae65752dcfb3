"""The records and the outbox of one mapping: stage, read, settle, give up, forget, carry over."""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from dbt_segconn.errors import SyncError
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.checkpoint import Window, first_to_read, known_checkpoint, reached
from dbt_segconn.state.column_hashes import ColumnHashes
from dbt_segconn.state.diff import Diff
from dbt_segconn.state.discards import RETRY_DAYS, RETRY_SYNCS, Discards
from dbt_segconn.state.tables import DISCARD_COLUMNS, INSERT_ROWS, SYNC_COLUMNS, HistoryRow, State
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Source
from dbt_segconn.warehouse.values import LOSSY_TYPES, TIMES, Column

# What may stand around a text besides spaces
BLANKS = ("\t", "\n", "\r")

_OF_BUILD = re.compile(r"invocation|batch|build|load|etl|run_?id|refresh|synced|extracted")
RECORD_COLUMNS = {"record_id": "text", "checksum": "text"}


@dataclass(frozen=True, slots=True)
class Changes:
    """How many changes of one kind an outbox holds, and between which change numbers."""

    count: int
    first: int
    last: int


class Change(NamedTuple):
    """What has become of which record, with its checksum."""

    change_type: str
    record_id: str | None
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Id:
    """A field of calls that names a user or group, and the columns of the outbox, by alias, that make it.

    `junk` are texts in lower case that name none; of numbers, 0 and -1 are.
    """

    field: str
    columns: tuple[str, ...]
    is_number: bool
    junk: tuple[str, ...]


class MappingTables:
    """The tables that belong to one mapping."""

    def __init__(self, state: State, mapping_id: str) -> None:
        self._state = state
        self._session = state.session
        self.mapping_id = mapping_id
        self.records = state.table(f"records_{mapping_id}")
        self.outbox = state.table(f"outbox_{mapping_id}")
        self.discards = Discards(state, mapping_id)
        self.hashes = ColumnHashes(self._session, self.records, self.outbox)

    def present(self) -> tuple[bool, bool]:
        """Say whether the table of records is there, and whether a sync has left an outbox."""
        names = self._state.present(self.records, self.outbox)
        return self.records.identifier.lower() in names, self.outbox.identifier.lower() in names

    def known(self) -> int:
        """Count the records of the last settled sync."""
        return int(self._session.rows("segconn_count_records", records=self.records)[0][0])

    def create_records(self) -> None:
        """Create an empty table of records, where there is none."""
        self._session.run("segconn_create_records", relation=self.records, columns=RECORD_COLUMNS)

    def check_columns(self) -> None:
        """Raise SyncError where somebody has altered the tables."""
        outbox_columns = {"change_number", "change_type", "record_id", "checksum"}
        for relation, wanted in ((self.records, set(RECORD_COLUMNS)), (self.outbox, outbox_columns)):
            found = {name.lower() for name in self._session.columns(relation)}
            if found and (missing := sorted(wanted - found)):
                raise SyncError(f"{relation} has no column {missing[0]}: the table was altered by hand")

    def window(self, mapping: Mapping, source: Source) -> Window | None:
        """Say which rows of the model the next sync reads; None for all of them."""
        given, column = mapping.meta.checkpoint, source.checkpoint
        if given is None or column is None or not self._state.exists() or not self.present()[0]:
            return None
        checkpoint = known_checkpoint(mapping, source, self._state.last_records(self.mapping_id))
        after = first_to_read(column, checkpoint, given.lag) if checkpoint else None
        return None if after is None else Window(column, after, self._has_unsettled())

    def _has_unsettled(self) -> bool:
        """Say whether there are records to read whatever their age: asked first, for it costs the model's order."""
        arguments = {"records": self.records, "discards": self._state.discards, "mapping_id": self.mapping_id}
        return bool(self._session.rows("segconn_count_unsettled", **arguments)[0][0])

    def checkpoint(self, mapping: Mapping, source: Source, window: Window | None, now: datetime) -> str | None:
        """Return how far a sync that stages this window now will have read; to be asked before it is staged.

        A row that comes in between is then staged and read again, rather than never.
        """
        if source.checkpoint is None:
            return None
        arguments = {"model": source.relation, "column": source.checkpoint, "window": window}
        newest = self._session.rows("segconn_newest", **arguments)[0][0]
        last = self._state.last_records(self.mapping_id) if window else None
        return reached(source.checkpoint, newest, known_checkpoint(mapping, source, last), now)

    def stage(
        self, mapping: Mapping, source: Source, window: Window | None = None, *, is_baseline: bool = False
    ) -> None:
        """Freeze the difference between the model, or a window of it, and the records as the mapping's outbox.

        A baseline takes up what would be held back for want of consent, too.
        """
        diff = self._diff(mapping, source, window, is_baseline=is_baseline)
        if diff.keeps_hashes:
            self.hashes.prepare()
            diff = replace(diff, fills_hashes=True)
        later = not source.order and bool(self._session.rows("segconn_can_number_later", outbox=self.outbox))
        self._session.run("segconn_stage", outbox=self.outbox, diff=diff, is_numbered=not later)
        if later:
            self._session.run("segconn_number_later", outbox=self.outbox)
        self._session.run("segconn_index_outbox", outbox=self.outbox)

    def has_work(self, mapping: Mapping, source: Source, window: Window | None) -> bool:
        """Say whether a sync would stage any change or close any refusal. It compares the model with all records."""
        diff = self._diff(mapping, source, window)
        if diff.keeps_hashes:
            if not self.hashes.are_kept():
                return True
            diff = replace(diff, fills_hashes=True)
        return bool(self._session.rows("segconn_count_work", diff=diff)[0][0])

    def preview(
        self,
        mapping: Mapping,
        source: Source,
        change_types: Iterable[str],
        limit: int,
        record_ids: Collection[str] = (),
    ) -> list[Row]:
        """Return the first changes that a sync would stage now, as `read` does, without writing anything.

        Named records are returned although they were given up.
        """
        diff = self.diff(mapping, source)
        if record_ids:
            diff = replace(diff, discards=None)
        return self._session.rows(
            "segconn_preview", diff=diff, change_types=list(change_types), limit=limit, record_ids=list(record_ids)
        )

    def find(self, mapping: Mapping, source: Source, record_id: str, *, also_silent: bool = False) -> Row | None:
        """Return a record of the model, changed or not, as if it was added.

        One that says nothing of consent is found where such records are sent, or where that is asked for.
        """
        holds = mapping.skips_unknown_consent and not also_silent
        diff = replace(self._diff(mapping, source), records=None, discards=None, holds_back=holds)
        found = self._session.rows(
            "segconn_preview", diff=diff, change_types=["added"], limit=1, record_ids=[record_id]
        )
        return found[0] if found else None

    def sample(self, mapping: Mapping, source: Source, every: int, limit: int) -> list[Row]:
        """Return every so-manieth change that a sync would send now, as `preview` does."""
        change_types = list(mapping.meta.sync_mode)
        return self._session.rows(
            "segconn_sample", diff=self.diff(mapping, source), change_types=change_types, every=every, limit=limit
        )

    def count_diff(self, mapping: Mapping, source: Source, *, is_baseline: bool = False) -> abc.Mapping[str, int]:
        """Count the changes that a sync would stage now, by kind, without writing anything."""
        rows = self._session.rows("segconn_count_diff", diff=self.diff(mapping, source, is_baseline=is_baseline))
        return {change_type: int(count) for change_type, count in rows}

    def diff(self, mapping: Mapping, source: Source, *, is_baseline: bool = False) -> Diff:
        """Return what a diff is made of, where the mapping may not have any records yet."""
        window = None if is_baseline else self.window(mapping, source)
        diff = self._diff(mapping, source, window, is_baseline=is_baseline)
        return diff if self.present()[0] else replace(diff, records=None)

    def _diff(
        self, mapping: Mapping, source: Source, window: Window | None = None, *, is_baseline: bool = False
    ) -> Diff:
        return Diff(
            window=window,
            refusals=self._state.discards,
            records=self.records,
            record_columns=RECORD_COLUMNS,
            model=source.relation,
            is_stored=mapping.model.is_stored,
            identifier=source.identifier,
            columns=source.columns,
            order=source.order,
            current=source.current,
            valid_to_current=source.valid_to_current,
            signature=source.names,
            unsure_type="updated" if "updated" in mapping.meta.sync_mode else "added",
            mapping_id=self.mapping_id,
            definition=mapping.definition,
            consent=_consent_columns(mapping, source),
            holds_back=holds_back(mapping) and not is_baseline,
            discards=self.discards.table(),
            discard_columns=DISCARD_COLUMNS,
            retry_syncs=RETRY_SYNCS,
            retry_days=RETRY_DAYS,
            keeps_hashes=mapping.meta.changed_columns,
            fills_hashes=False,
        )

    def count_held_back(self, mapping: Mapping, source: Source) -> int:
        """Count the records that are held back now for want of consent."""
        if not holds_back(mapping):
            return 0
        return int(self._session.rows("segconn_count_held_back", diff=self.diff(mapping, source))[0][0])

    def count(self) -> abc.Mapping[str, Changes]:
        """Count the outbox by kind: added, updated, deleted, null_identifier, duplicate_identifier."""
        rows = self._session.rows("segconn_count_changes", outbox=self.outbox)
        return {change_type: Changes(int(count), int(first), int(last)) for change_type, count, first, last in rows}

    def count_lost(self, source: Source, change_types: Iterable[str]) -> int:
        """Count the values that JSON cannot hold, among the changes of these kinds."""
        if not any(column.value_type in LOSSY_TYPES for column in source.columns):
            return 0
        return int(self._session.rows("segconn_count_lost", outbox=self.outbox, change_types=list(change_types))[0][0])

    def doubtful_ids(
        self,
        junk: Sequence[Id],
        shared: Sequence[Id],
        change_types: Iterable[str],
        most: int,
        diff: Diff | None = None,
    ) -> list[Row]:
        """Find junk among ids, and ids that more than `most` records share: in the outbox, or in a diff.

        Returns rows of field, junk, its records, 0; then of field, None, shared ids, records of the one with most.
        """
        ids = {
            "ids": list(junk),
            "shared": list(shared),
            "blanks": BLANKS,
            "change_types": list(change_types),
            "most": most,
        }
        return self._session.rows("segconn_doubtful_ids", outbox=self.outbox, diff=diff, **ids)

    def stamps(self, source: Source) -> list[str]:
        """Return the columns that have one time, or one id of a build, in all rows of the model."""
        asked = [
            column
            for column in source.columns
            if column.value_type in TIMES or (column.value_type == "text" and _OF_BUILD.search(column.name.casefold()))
        ]
        if not asked:
            return []
        (found,) = self._session.rows("segconn_have_one_value", model=source.relation, columns=asked)
        return [column.name for column, is_one in zip(asked, found, strict=True) if is_one]

    def read(
        self, columns: Sequence[Column], change_types: Iterable[str], after: int, upto: int, *, with_record: bool = True
    ) -> list[Row]:
        """Return the changes numbered after `after` up to `upto` in their order: number, kind, record id, the columns.

        Kind and record id are None, which is quicker, unless `with_record`.
        """
        rows = self._session.rows(
            "segconn_read_changes",
            outbox=self.outbox,
            columns=list(columns),
            change_types=list(change_types),
            after=after,
            upto=upto,
            with_record=with_record,
        )
        rows.sort(key=itemgetter(0))  # they mostly are in order, which Python sees faster than warehouses do
        return rows

    def describe(self, numbers: Sequence[int]) -> dict[int, Change]:
        """Say what single changes are, by number."""
        rows = [
            row
            for at in range(0, len(numbers), INSERT_ROWS)
            for row in self._session.rows(
                "segconn_describe_changes", outbox=self.outbox, numbers=numbers[at : at + INSERT_ROWS]
            )
        ]
        return {int(number): Change(*change) for number, *change in rows}

    def settle(self, state: HistoryRow, final: HistoryRow, *, with_hashes: bool = False) -> None:
        """Apply the outbox to the records, drop it, and log the sync as finished: together, or repeatably."""
        tables = {"outbox": self.outbox, "records": self.records, "discards": self._state.discards}
        given = {**tables, "sync_id": state.sync_id, "with_hashes": with_hashes and self.hashes.are_complete()}
        self._session.run("segconn_forget_settled", **given)
        self._session.run("segconn_remember_settled", **given)
        self.discards.close_settled(self.outbox, final)
        self.drop_outbox()

    def abandon(self, state: HistoryRow) -> None:
        """Give up an outbox that no longer fits its mapping; what may have been sent will be sent afresh."""
        tables = {"outbox": self.outbox, "records": self.records, "discards": self._state.discards}
        given = {**tables, "sync_id": state.sync_id, "change_types": state.sync_mode.split(",")}
        self._session.run("segconn_forget_abandoned", **given)
        self._session.run("segconn_remember_abandoned", **given, watermark=state.watermark)
        self.drop_outbox()

    def drop_outbox(self) -> None:
        """Drop the outbox, if there is one."""
        self._session.run("segconn_drop", relation=self.outbox)

    def forget(self, last: HistoryRow | None, reset: HistoryRow) -> None:
        """Forget every record and every refusal, and note it in the history, where `last` is the newest sync."""
        if last and last.finished_at is None:
            ended = last.next(reset.saved_at, status="canceled", finished_at=reset.saved_at, error="reset")
            self._state.append(self._state.history, [ended])
        self.drop_outbox()
        self._session.run("segconn_drop", relation=self.records)
        self.discards.close_all(reset)
        self._state.append(self._state.history, [reset])

    def adopt(self, old: MappingTables, last: HistoryRow, changed: abc.Mapping[str, str]) -> None:
        """Take over records, outbox, discards and history of another mapping, whose newest sync is `last`.

        `changed` are other columns of the history than the id that get new values, `mapping` among them.
        An outbox goes on under its own messageIds, which are made of the sync's id alone.
        """
        self._session.run("segconn_drop", relation=self.records)
        self._session.rename(old.records, self.records)
        if old.present()[1]:
            self._session.rename(old.outbox, self.outbox)
        state = self._state
        self._session.run(
            "segconn_adopt_history",
            history=state.history,
            syncs=state.syncs,
            columns=list(SYNC_COLUMNS),
            old=old.mapping_id,
            changed={**changed, "mapping_id": self.mapping_id},
        )
        renamed = {"mapping_id": self.mapping_id, "mapping": changed["mapping"]}
        self.discards.take_over(old.mapping_id, renamed)
        old.discards.close_all(last)


def holds_back(mapping: Mapping) -> bool:
    """Say whether a sync holds records back that it would send as added, if only they told of consent."""
    return mapping.skips_unknown_consent and "added" in mapping.meta.sync_mode


def _consent_columns(mapping: Mapping, source: Source) -> tuple[Column, ...]:
    """Return the columns that tell whether a record says anything of consent, where that matters."""
    names = set(mapping.consent.values()) if mapping.skips_unknown_consent else ()
    return tuple(column for column in source.columns if column.key in names)
