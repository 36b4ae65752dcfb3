"""The calls that a run would send now. Nothing is sent or changed."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dbt_segconn.delivery.batches import discard_reason
from dbt_segconn.engine.calls import CallMaker
from dbt_segconn.engine.opening import Options
from dbt_segconn.errors import RecordError
from dbt_segconn.inspection.outlook import UNIDENTIFIED, OpenedProject, Outlook, opened_read_only, outlook
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.warehouse.session import Row


@dataclass(frozen=True, slots=True)
class Shown:
    """A change with its call, or with the reason for its `discard`.

    `record`: the columns that the mapping can read, with their values. `unsent`: the reason for which a run would not
    send the call. `changed`: the changed columns of an updated record; None if it has no column hashes.
    """

    mapping: str
    change_type: str
    record_id: str
    record: abc.Mapping[str, Any]
    call: abc.Mapping[str, Any] | None = None
    discard: str | None = None
    unsent: str | None = None
    changed: tuple[str, ...] | None = None

    def as_json(self, *, with_record: bool = False) -> dict[str, Any]:
        """Return the change as JSON, with its call or the discard reason."""
        shown: dict[str, Any] = {"mapping": self.mapping, "change_type": self.change_type, "record_id": self.record_id}
        shown |= {"record": self.record} if with_record else {}
        shown |= {"unsent": self.unsent} if self.unsent else {}
        shown |= {} if self.changed is None else {"changed": self.changed}
        return {**shown, "call": self.call} if self.discard is None else {**shown, "discard": self.discard}


@dataclass(frozen=True, slots=True)
class Preview:
    """The changes of one mapping that are shown, and notes about its other changes.

    `total`: the number of all changes of the chosen types; None if the user named records. `skipped`: the reason for
    which a run skips the mapping. `others`: notes about changes that are not shown. `absent`: named record without a
    change → reason.
    """

    mapping: str
    shown: tuple[Shown, ...]
    total: int | None
    skipped: str | None
    others: tuple[str, ...]
    absent: abc.Mapping[str, str]

    def notes(self, more: str = "-n shows more") -> Iterator[str]:
        """Yield sentences about changes that are not shown. `more` explains how to see them."""
        if self.skipped:
            yield f"{self.skipped}: a run sends nothing of this mapping"
        if self.total is not None and len(self.shown) < self.total:
            yield f"{len(self.shown):,} of {self.total:,} changes are shown; {more}"
        yield from self.others
        for record, reason in self.absent.items():
            yield f"Nothing to show for the record {record!r}: {reason}"
        if self.total == 0:
            yield "Nothing to show: a run would send no such change now"


def preview(
    options: Options,
    *,
    change_types: Collection[str] = (),
    records: Collection[str] = (),
    limit: int = 5,
    of_each_type: bool = False,
) -> tuple[Preview, ...]:
    """Return up to `limit` changes of each mapping with their calls.

    With `of_each_type`, `limit` applies to each change type. The default change types are those that the mapping
    sends. `records` are identifiers of changed records; records that were given up are included. Raises
    ConfigurationError as `run` does.
    """
    with opened_read_only(options) as look:
        previews = []
        skipped = {skip.mapping.id: skip.reason for skip in look.choice.skipped}
        for mapping in (*look.choice.chosen, *(skip.mapping for skip in look.choice.skipped)):
            found = outlook(look, mapping)
            # a named record may have no call because its identifier is not unique: show that reason
            wanted = tuple(change_types or ((*CHANGE_TYPES, *UNIDENTIFIED) if records else mapping.meta.sync_mode))
            groups: list[Collection[str]] = [[change_type] for change_type in wanted] if of_each_type else [wanted]
            tables, source = look.tables(mapping), look.sources[mapping.id]
            changes = [row for some in groups for row in tables.preview(mapping, source, some, limit, records)]
            make_call, columns = look.call_maker(mapping), _changed_columns(look, mapping, changes)
            shown = tuple(
                replace(
                    show(mapping, row, make_call),
                    unsent=_unsent(row[1], mapping, found, skipped.get(mapping.id)),
                    changed=columns.get(row[2]) if row[1] == "updated" else None,
                )
                for row in changes
            )
            # a named record that has no change is reported by name instead
            total = None if records else sum(found.changes[change_type] for change_type in wanted)
            absent = dict(_absent(look, mapping, changes, records))
            others = tuple(_others(found, change_types, records))
            previews.append(Preview(mapping.name, shown, total, skipped.get(mapping.id), others, absent))
        return tuple(previews)


def _changed_columns(
    look: OpenedProject, mapping: Mapping, changes: Sequence[Row]
) -> abc.Mapping[str, tuple[str, ...]]:
    """Return the changed columns of updated records, by record id."""
    # without `changed_columns`, no hashes are kept
    updated = [row[2] for row in changes if row[1] == "updated"] if mapping.meta.changed_columns else []
    if not updated:
        return {}
    return look.tables(mapping).hashes.of_records(look.sources[mapping.id], updated, look.diff(mapping))


def _unsent(change_type: str, mapping: Mapping, found: Outlook, skipped: str | None) -> str | None:
    """Return the reason why a run would not send the call of a change."""
    if skipped:
        return skipped
    if found.is_baseline:
        return "left out: the first sync is a baseline"
    if change_type in CHANGE_TYPES and change_type not in mapping.meta.sync_mode:
        return f"left out: sync_mode has no {change_type} records"
    return None


def _others(found: Outlook, change_types: Collection[str], records: Collection[str]) -> Iterator[str]:
    """Yield notes about changes that are not shown."""
    # notes count all changes: beside a choice of them, they would mislead
    if not change_types and not records:
        yield from found.notes()
        return
    if "updated" in change_types:
        yield from found.updates()
    yield from found.guarded()


def _absent(
    look: OpenedProject, mapping: Mapping, changes: Sequence[Row], records: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield each named record that has no change, with the reason."""
    tables, source = look.tables(mapping), look.sources[mapping.id]
    for record in records:
        if not any(change[2] == record for change in changes):
            if tables.find(mapping, source, record):  # the model has it, but it is not a change
                yield record, "it has no such change, so a run does not send it"
            elif tables.find(mapping, source, record, also_silent=True):
                yield record, "it is held back: no consent column has a value"
            else:
                identifier = "|".join(mapping.identifier)
                yield record, f"the model has no such record. --record must be a value of {identifier}"


def show(mapping: Mapping, change: Row, make_call: CallMaker) -> Shown:
    """Build and check the call of a change, as a run does.

    `change`: change number, change type, record id, then the values of the columns.
    """
    record = make_call.event(change, "")["properties"]  # the values are the same with any messageId
    call, reason = None, UNIDENTIFIED.get(change[1])
    if reason is None:
        try:
            call = make_call(change)
        except RecordError as error:
            reason = str(error)
        else:
            reason = discard_reason(call)
    return Shown(mapping.name, change[1], change[2], record, call if reason is None else None, reason)
