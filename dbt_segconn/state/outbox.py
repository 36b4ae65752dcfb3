"""The records and the outbox of one mapping: stage, read, settle, abandon, reset, adopt, resend."""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.checkpoint import Window, known_checkpoint, lower_bound, new_checkpoint
from dbt_segconn.state.diff import COLUMN_HASHES, ColumnHashes, Diff, ResendChoice
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outcomes import RETRY_DAYS, RETRY_SYNCS, Deliveries, Discards
from dbt_segconn.state.tables import DISCARD_COLUMNS, INSERT_ROWS, SYNC_COLUMNS, HistoryRow, State
from dbt_segconn.warehouse.session import PagedQuery, Row
from dbt_segconn.warehouse.source import LOSSY_TYPES, TIMES, Column, Source

# White space, besides spaces, that is removed around ids before they are compared with placeholders
BLANKS = ("\t", "\n", "\r")

# Names of text columns that may hold the id of a build, such as dbt's `invocation_id`
_OF_BUILD = re.compile(r"invocation|batch|build|load|etl|run_?id|refresh|synced|extracted")
RECORD_COLUMNS = {"record_id": "text", "checksum": "text"}
# A key of `count` that is not a change: some rows of the model repeat an unchanged record
REPEATED = "repeated"


class Present(NamedTuple):
    """Which tables of a mapping exist."""

    records: bool
    outbox: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of one change type in an outbox: their count, and their first and last change number."""

    count: int
    first: int
    last: int


class Change(NamedTuple):
    """A change of a record, with the checksum of its new values."""

    change_type: str
    record_id: str | None
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Id:
    """A field of calls with a user or group id, and the columns of the outbox (aliases) that it consists of.

    `junk` are placeholders that identify nothing, in lower case; for numbers, 0 and -1 are junk.
    """

    field: str
    columns: tuple[str, ...]
    is_number: bool
    junk: tuple[str, ...]


class MappingTables:
    """The tables of one mapping. In its diffs, the records in `resent` count as updated."""

    def __init__(self, state: State, mapping_id: str, resent: ResendChoice | None = None) -> None:
        self._state = state
        self._session = state.session
        self._resent = resent
        self.mapping_id = mapping_id
        self._known: int | None = None
        self._counted: abc.Mapping[str, Changes] | None = None
        self.records = state.table(f"records_{mapping_id}")
        self.outbox = state.table(f"outbox_{mapping_id}")
        self.discards = Discards(state, mapping_id)
        self.hashes = ColumnHashes(self._session, self.records, self.outbox)
        self._tables = {"outbox": self.outbox, "records": self.records, "discards": state.discards}
        self.deliveries = Deliveries(state, self.hashes, self._tables)

    def present(self) -> Present:
        """Return which of the tables exist now."""
        names = self._state.present(self.records, self.outbox)
        return Present(self.records.identifier.lower() in names, self.outbox.identifier.lower() in names)

    def known(self) -> int:
        """Count the records of the last settled sync. They are counted once: PostgreSQL reads the whole table."""
        if self._known is None:
            self._known = int(self._session.rows("segconn_count_records", records=self.records)[0][0])
        return self._known

    def create_records(self) -> None:
        """Create an empty table of records if none exists."""
        self._session.run("segconn_create_records", relation=self.records, columns=self._record_columns)

    def missing_column(self) -> str | None:
        """Return a text about a column that the tables lack; None if they have all columns."""
        kept = set(self._record_columns)
        for relation, wanted in ((self.records, kept), (self.outbox, kept | {"change_number", "change_type"})):
            found = {name.lower() for name in self._session.columns(relation)}
            # a table that does not exist has no columns: `resume` reports it
            if found and (missing := sorted(wanted - found)):
                return f"{relation} has no column {missing[0]}"
        return None

    @property
    def _record_columns(self) -> dict[str, str]:
        return {**RECORD_COLUMNS, "fingerprint": "number"} if self._session.dialect.fingerprints else RECORD_COLUMNS

    def window(self, mapping: Mapping, source: Source) -> Window | None:
        """Return the rows of the model that the next sync reads; None for all rows."""
        if source.step and source.checkpoint:
            # discarded records wait for the sync of the rest, which has no limits
            return Window(source.checkpoint, source.step[0], before=source.step[1])
        setting, column = mapping.meta.checkpoint, source.checkpoint
        if setting is None or column is None or not self._state.exists() or not self.present().records:
            return None
        checkpoint = known_checkpoint(mapping, source, self._state.last_records(self.mapping_id))
        after = lower_bound(column, checkpoint, setting.lag) if checkpoint else None
        return None if after is None else Window(column, after, self._has_unsettled())

    def _has_unsettled(self) -> bool:
        """Return whether some records must be read whatever their age.

        If none must, the condition is left out: it slows the query of a sorted model.
        """
        arguments = {"records": self.records, "discards": self._state.discards, "mapping_id": self.mapping_id}
        return bool(self._session.rows("segconn_count_unsettled", **arguments)[0][0])

    def checkpoint(self, mapping: Mapping, source: Source, window: Window | None, now: datetime) -> str | None:
        """Return the checkpoint of a sync that stages this window. Call this before staging.

        A row that is added between the two statements is then read twice, not missed.
        """
        if source.checkpoint is None:
            return None
        if source.step:  # rows outside of the step are still unread, so the checkpoint stays
            return known_checkpoint(mapping, source, self._state.last_records(self.mapping_id))
        arguments = {"model": source.relation, "column": source.checkpoint, "window": window}
        newest = self._session.rows("segconn_newest", **arguments)[0][0]
        last = self._state.last_records(self.mapping_id) if window else None
        return new_checkpoint(source.checkpoint, newest, known_checkpoint(mapping, source, last), now)

    def stage(
        self,
        mapping: Mapping,
        source: Source,
        window: Window | None = None,
        *,
        is_baseline: bool = False,
        few_change: bool = False,
    ) -> None:
        """Write the diff of the model, or of a window of it, into the mapping's outbox.

        A baseline includes records without a consent value, which a sync would hold back. With `few_change`, the values
        of unchanged records are not computed; if `count` then has REPEATED, the outbox is incomplete.
        """
        diff = self._diff(mapping, source, window, is_baseline=is_baseline)
        diff = replace(diff, fingerprints=self._session.dialect.fingerprints)
        if diff.keeps_hashes:
            self.hashes.prepare()
        by_candidates = few_change and diff.fingerprints and window is None
        diff = diff.over_candidates(self.known()) if by_candidates else replace(diff, fills_hashes=diff.keeps_hashes)
        # DuckDB stages with all its threads, but with one if the query numbers its rows
        numbers_later = not diff.order and bool(self._session.rows("segconn_can_add_numbers", outbox=self.outbox))
        self._session.run("segconn_stage", outbox=self.outbox, diff=diff, is_numbered=not numbers_later)
        if numbers_later:
            self._session.run("segconn_add_numbers", outbox=self.outbox)
        self._session.run("segconn_index_outbox", outbox=self.outbox)

    def whole_diff(self, mapping: Mapping, source: Source, window: Window | None) -> Diff | None:
        """Return the diff for `State.count_work`; None if column hashes are to be stored for the first time."""
        diff = self._diff(mapping, source, window)
        if diff.keeps_hashes and not self.hashes.are_kept():
            return None
        return replace(diff, fills_hashes=diff.keeps_hashes)

    def preview(
        self,
        mapping: Mapping,
        source: Source,
        change_types: Iterable[str],
        limit: int,
        record_ids: Collection[str] = (),
    ) -> list[Row]:
        """Return the first changes that a sync would stage now, with the columns of `read`. Writes nothing.

        Records in `record_ids` are returned even if they are given up.
        """
        diff = self.diff(mapping, source)
        if record_ids:
            diff = replace(diff, discards=None)
        return self._session.rows(
            "segconn_preview", diff=diff, change_types=list(change_types), limit=limit, record_ids=list(record_ids)
        )

    def find(self, mapping: Mapping, source: Source, record_id: str, *, also_silent: bool = False) -> Row | None:
        """Return a record of the model, changed or not, as an added one; None if it is not found.

        If the mapping skips records without a consent value, `also_silent` finds them, too.
        """
        holds = mapping.skips_unknown_consent and not also_silent
        # without records, every row is added
        diff = replace(self._diff(mapping, source), records=None, discards=None, holds_back=holds, resent=None)
        found = self._session.rows(
            "segconn_preview", diff=diff, change_types=["added"], limit=1, record_ids=[record_id]
        )
        return found[0] if found else None

    def sample(self, mapping: Mapping, source: Source, every: int, limit: int) -> list[Row]:
        """Return every n-th change that a sync would send now, at most `limit`, with the columns of `preview`.

        n is `every`.
        """
        change_types = list(mapping.meta.sync_mode)
        return self._session.rows(
            "segconn_sample", diff=self.diff(mapping, source), change_types=change_types, every=every, limit=limit
        )

    def count_diff(self, mapping: Mapping, source: Source, *, is_baseline: bool = False) -> abc.Mapping[str, int]:
        """Count the changes that a sync would stage now, by change type. Writes nothing."""
        rows = self._session.rows("segconn_count_diff", diff=self.diff(mapping, source, is_baseline=is_baseline))
        return {change_type: int(count) for change_type, count in rows}

    def diff(self, mapping: Mapping, source: Source, *, is_baseline: bool = False) -> Diff:
        """Return the diff of the next sync; the mapping may have no records yet."""
        window = None if is_baseline and not source.step else self.window(mapping, source)
        diff = self._diff(mapping, source, window, is_baseline=is_baseline)
        return diff if self.present().records else replace(diff, records=None)

    def _diff(
        self, mapping: Mapping, source: Source, window: Window | None = None, *, is_baseline: bool = False
    ) -> Diff:
        return Diff(
            window=window,
            window_discards=self._state.discards,
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
            type_if_unknown="updated" if "updated" in mapping.meta.sync_mode else "added",
            mapping_id=self.mapping_id,
            definition=mapping.definition,
            consent=_consent_columns(mapping, source),
            holds_back=holds_back(mapping) and not is_baseline,
            discards=self.discards.table(),
            discard_columns=DISCARD_COLUMNS,
            retry_syncs=RETRY_SYNCS,
            retry_days=RETRY_DAYS,
            keeps_hashes=mapping.meta.changed_columns,
            resent=self._resent,
            deliveries=self._state.deliveries,
            syncs=self._state.syncs,
        )

    def count_held_back(self, mapping: Mapping, source: Source) -> int:
        """Count the records that are held back now because they have no consent value."""
        if not holds_back(mapping):
            return 0
        return int(self._session.rows("segconn_count_held_back", diff=self.diff(mapping, source))[0][0])

    def count(self) -> abc.Mapping[str, Changes]:
        """Count the outbox by change type: added, updated, deleted, null_identifier, duplicate_identifier; once.

        After staging with `few_change`, REPEATED may be among them.
        """
        if self._counted is None:
            rows = self._session.rows("segconn_count_changes", outbox=self.outbox)
            self._counted = {name: Changes(int(count), int(first), int(last)) for name, count, first, last in rows}
        return self._counted

    def count_lost(self, source: Source, change_types: Iterable[str]) -> int:
        """Count the values that JSON cannot represent, in the changes of these change types."""
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
        """Find junk ids, and ids that more than `most` records share: in the outbox, or in a diff.

        Return rows (field, junk id, number of records, 0), and rows (field, None, number of shared ids, number of
        records of the most shared id).
        """
        return self._session.rows(
            "segconn_doubtful_ids",
            outbox=self.outbox,
            diff=diff,
            ids=list(junk),
            shared=list(shared),
            blanks=BLANKS,
            change_types=list(change_types),
            most=most,
        )

    def stamps(self, source: Source) -> list[str]:
        """Return the names of columns with the same time, or the same id of a build, in all rows of the model."""
        candidates = [
            column
            for column in source.columns
            if column.value_type in TIMES or (column.value_type == "text" and _OF_BUILD.search(column.name.casefold()))
        ]
        if not candidates:
            return []
        (found,) = self._session.rows("segconn_have_one_value", model=source.relation, columns=candidates)
        return [column.name for column, is_one in zip(candidates, found, strict=True) if is_one]

    def query_calls(self, call: object, change_types: Iterable[str]) -> PagedQuery:
        """Return the query for `read_calls`. It is rendered once for all pages and sessions."""
        arguments = {"outbox": self.outbox, "call": call, "change_types": list(change_types)}
        return self._session.paged("segconn_read_calls", ("after", "upto", "size"), **arguments)

    def read_calls(self, query: PagedQuery, after: int, upto: int, size: int) -> list[Row]:
        """Return the calls of changes, as the warehouse writes them, in groups of at most `size` changes, in order.

        A row has the last change number, the counts of changes and of calls, the text of the calls, and the numbers of
        the changes whose calls are not in it.
        """
        rows = self._session.page(query, after=after, upto=upto, size=size)
        rows.sort(key=itemgetter(0))  # in Python: see `read`
        return rows

    def written_types(self) -> frozenset[str]:
        """Return the value types of which the warehouse writes exact JSON."""
        return frozenset(self._session.render("segconn_written_types").split())

    def read(
        self,
        columns: Sequence[Column],
        change_types: Iterable[str],
        after: int,
        upto: int,
        numbers: Sequence[int] = (),
    ) -> list[Row]:
        """Return the changes with numbers above `after` and up to `upto`, or only those with `numbers`, in order.

        A row has the change number, change type, record id and the columns.
        """
        rows = self._session.rows(
            "segconn_read_changes",
            outbox=self.outbox,
            columns=list(columns),
            change_types=list(change_types),
            after=after,
            upto=upto,
            numbers=list(numbers),
        )
        rows.sort(key=itemgetter(0))  # mostly sorted already: Python sorts this faster than a warehouse
        return rows

    def describe(self, numbers: Sequence[int]) -> dict[int, Change]:
        """Return single changes by their numbers."""
        rows = [
            row
            for at in range(0, len(numbers), INSERT_ROWS)
            for row in self._session.rows(
                "segconn_describe_changes", outbox=self.outbox, numbers=numbers[at : at + INSERT_ROWS]
            )
        ]
        return {int(number): Change(*change) for number, *change in rows}

    def settle(self, row: HistoryRow, final: HistoryRow, *, with_hashes: bool = False) -> None:
        """Apply the outbox to the records, close discards, drop the outbox.

        On a warehouse without transactions it can be repeated after a crash: the outbox is dropped last.
        """
        kept = ["fingerprint"] if self._session.dialect.fingerprints else []
        if with_hashes and self.hashes.are_complete():
            kept.append(COLUMN_HASHES)
        arguments = {**self._tables, "sync_id": row.sync_id, "kept": kept}
        self._known = None
        self._session.run("segconn_delete_settled", **arguments)
        self._session.run("segconn_insert_settled", **arguments)
        self._session.run("segconn_index_records", records=self.records)
        self.discards.close_settled(self.outbox, final)
        self.drop_outbox()

    def abandon(self, row: HistoryRow) -> None:
        """Drop an outbox that no longer fits its mapping. Records that may have been sent are sent again.

        Their checksum becomes null, which differs from every row.
        """
        arguments = {**self._tables, "sync_id": row.sync_id, "change_types": row.change_types}
        self._known = None
        self._session.run("segconn_delete_abandoned", **arguments)
        self._session.run("segconn_insert_abandoned", **arguments, watermark=row.watermark)
        self.drop_outbox()

    def drop_outbox(self) -> None:
        """Drop the outbox if it exists."""
        self._counted = None
        self._session.run("segconn_drop", relation=self.outbox)

    def forget(self, last: HistoryRow | None, reset: HistoryRow) -> None:
        """Drop records and outbox, close all discards, append `reset` to the history; cancel `last` if unfinished."""
        if last and last.finished_at is None:
            ended = last.next(reset.saved_at, status="canceled", finished_at=reset.saved_at, error="reset")
            self._state.append(self._state.history, [ended])
            if self.present().outbox:
                # calls above the watermark may have arrived as well, but this is not known
                self.deliveries.log(last, reset.saved_at, upto=last.watermark)
        self._known = None
        self.drop_outbox()
        self._session.run("segconn_drop", relation=self.records)
        self.discards.close_all(reset)
        self._state.append(self._state.history, [reset])

    def adopt(self, old: MappingTables, last: HistoryRow, changed: abc.Mapping[str, str]) -> None:
        """Move the records and outbox of the mapping `old` to this one; copy its discards and history.

        `last` is the newest sync of `old`. `changed` has new values for columns of the history, such as `mapping`.
        The messageIds of the outbox stay the same, because they depend on the sync id only.
        """
        self._known = None
        # it is empty or missing: no sync of the mapping has settled
        self._session.run("segconn_drop", relation=self.records)
        self._session.rename(old.records, self.records)
        if old.present().outbox:
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
        self.discards.copy_from(old.mapping_id, renamed)
        old.discards.close_all(last)  # they stay in the table: it is append-only


def holds_back(mapping: Mapping) -> bool:
    """Return whether a sync holds back added records without a consent value."""
    return mapping.skips_unknown_consent and "added" in mapping.meta.sync_mode


def _consent_columns(mapping: Mapping, source: Source) -> tuple[Column, ...]:
    """Return the consent columns, if the mapping skips records without a consent value."""
    names = set(mapping.consent.values()) if mapping.skips_unknown_consent else ()
    return tuple(column for column in source.columns if column.key in names)


@dataclass(frozen=True, slots=True)
class Resend:
    """The records that a diff sends again on purpose, and the tables in which they are counted and marked.

    They are marked by a null checksum: the next sync finds them as updated.
    """

    state: State
    tables: MappingTables
    diff: Diff

    def count(self) -> int:
        """Count the chosen records that are known: Segment has received them."""
        return int(self.state.session.rows("segconn_count_resent", diff=self.diff)[0][0])

    def count_chosen(self) -> int:
        """Count the chosen identifiers, known or not. The choice must be a sync or a condition, not record ids."""
        return int(self.state.session.rows("segconn_count_chosen", diff=self.diff)[0][0])

    def unknown(self, record_ids: Sequence[str]) -> list[str]:
        """Return the identifiers among `record_ids` that are not known, each once."""
        known = {record_id for (record_id,) in self.state.session.rows("segconn_resent", diff=self.diff)}
        return [record_id for record_id in dict.fromkeys(record_ids) if record_id not in known]

    def mark(self, row: HistoryRow, lock: Lock) -> None:
        """Mark the records, close their discards and append `row` to the history, in one transaction."""
        diff = replace(self.diff, fingerprints=self.state.session.dialect.fingerprints)

        def mark() -> None:
            lock.confirm()  # in the transaction: another process may have broken the lock
            self.tables.discards.close_all(row, diff)
            self.state.session.run("segconn_mark_resent", records=self.tables.records, diff=diff)
            self.state.append(self.state.history, [row])

        self.state.together(mark)
