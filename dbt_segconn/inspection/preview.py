"""What a sync would find now: its changes, their calls, and why guards would block it. Nothing is sent or changed."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cache
from typing import Any

from dbt_segconn.delivery.batches import discard_reason
from dbt_segconn.engine.calls import CallMaker
from dbt_segconn.engine.gate import Choice
from dbt_segconn.engine.guards import CheckedChanges, before_staging, one_value
from dbt_segconn.engine.opening import Options, Project, find_sources, gate, opened, read_project
from dbt_segconn.errors import RecordError, counted
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.state.diff import ChangedColumns, Diff, ResendChoice
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import PLANNED, HistoryRow, State, in_force, new_row, open_state
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Source

# The sync id in the messageIds of calls that are shown and not sent
NO_SYNC = "preview"


@dataclass(frozen=True, slots=True)
class OpenedProject:
    """The open project: selected and skipped mappings, the source of each mapping by its id, the state tables.

    The records in `resent` count as updated. The state tables may not exist yet: call `state.exists()` first.
    """

    project: Project
    choice: Choice
    sources: abc.Mapping[str, Source]
    state: State
    resent: ResendChoice | None = None
    _diffs: dict[str, Diff] = field(default_factory=dict)

    def tables(self, mapping: Mapping) -> MappingTables:
        """Return the tables of records and outbox of a mapping. They may not exist yet."""
        return MappingTables(self.state, mapping.id, self.resent)

    def diff(self, mapping: Mapping) -> Diff:
        """Return the diff of the next sync. It is cached: with a checkpoint, its window costs four statements."""
        if mapping.id not in self._diffs:
            self._diffs[mapping.id] = self.tables(mapping).diff(mapping, self.sources[mapping.id])
        return self._diffs[mapping.id]

    def call_maker(self, mapping: Mapping, sync_id: str = NO_SYNC) -> CallMaker:
        """Return the maker of the calls of a sync with this id."""
        write_key = self.project.settings.destinations[mapping.destination].write_key.get_secret_value()
        now = datetime.now(timezone.utc)
        columns = self.sources[mapping.id].columns
        # an interrupted run with --integrations keeps them until its sync is settled
        mapping = in_force(mapping, self.state.last_sync(mapping.id) if self.state.exists() else None)
        return CallMaker(mapping, columns, write_key=write_key, sync_id=sync_id, started_at=now)


@contextmanager
def opened_read_only(
    options: Options, *, also_disabled: bool = True, resent: ResendChoice | None = None
) -> Iterator[OpenedProject]:
    """Open the project until the block ends, with all selected models, refreshed by dbt or not. Nothing is written.

    Changes are counted as if the records in `resent` were marked to be sent again.

    Raises ConfigurationError as a run does.
    """
    project = read_project(options, needs_results=False)  # these commands do not depend on dbt's last invocation
    with opened(project, options) as warehouse:
        choice = gate(project, options, warehouse)
        # a user previews a mapping before enabling it; an estimate counts only what a run would send
        disabled = [skip.mapping for skip in choice.skipped] if also_disabled else []
        sources = find_sources((*choice.chosen, *disabled), warehouse, options)
        with open_state(warehouse, project.settings.state, "looking") as state:
            yield OpenedProject(project, choice, sources, state, resent)


UNIDENTIFIED = {
    "null_identifier": "the unique identifier is null",
    "duplicate_identifier": "the unique identifier is not unique",
}
"""Change type of a row without a unique identifier → discard reason, with the words of `sql/discards.sql`."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Counts of records, as a sync would count them now.

    `changes`: the number of changes by change type. `calls`: the same for the change types that the mapping sends; a
    baseline sends none. `unfinished`: calls that an interrupted sync has not delivered; a run delivers them first.
    `stamps`: if all known records are updated, the columns with one value in all rows; else None. `changed`: the
    changed columns of updated records, if the mapping has `changed_columns`; else None. `block_reasons`: messages of
    guards.
    """

    changes: abc.Mapping[str, int]
    calls: abc.Mapping[str, int]
    is_baseline: bool
    unidentified: int
    held_back: int
    unfinished: int
    changed: ChangedColumns | None = None
    stamps: tuple[str, ...] | None = None
    block_reasons: tuple[str, ...] = ()

    @property
    def left_out(self) -> int:
        """The number of changes that are not sent, because of the sync mode or a baseline."""
        return sum(self.changes.values()) - sum(self.calls.values())

    def notes(self) -> Iterator[str]:
        """Yield a sentence for each difference between the changes and what a run sends."""
        if self.left_out and self.is_baseline:
            yield f"{counted(self.left_out, 'change')} left out: the first sync is a baseline, which sends nothing"
        elif self.left_out:
            change_types = [
                f"{count:,} {change_type}"
                for change_type, count in self.changes.items()
                if count and change_type not in self.calls
            ]
            yield f"{counted(self.left_out, 'change')} left out by its sync mode ({', '.join(change_types)})"
        yield from self.updates()
        if self.stamps is not None:
            others = "Leave columns that change with each build, such as load times,"
            leave_them = f"{one_value(self.stamps)}: leave it" if self.stamps else others
            yield (
                f"all {self.changes['updated']:,} known records count as updated. {leave_them} out of `fields`; map "
                "columns by name instead of by $*"
            )
        if self.held_back:
            yield f"{counted(self.held_back, 'record')} held back: no consent column has a value"
        if self.unidentified:
            yield f"{counted(self.unidentified, 'record')} discarded: the identifier is null or not unique"
        if self.unfinished:
            yield (
                f"an interrupted sync has {counted(self.unfinished, 'call')} left, which a run delivers first; "
                "calls that it has already delivered may be counted here again"
            )
        yield from self.guarded()

    def updates(self) -> Iterator[str]:
        """Yield a line that counts updated records by their changed columns, if there are any."""
        if self.changed and self.changed.updated:
            yield f"updated {self.changed.updated:,}: {self.changed.summary()}"

    def guarded(self) -> Iterator[str]:
        """Yield a sentence for each guard that would block the sync."""
        yield from (f"a guard would block it: {text}" for text in self.block_reasons)


def _is_resumed(last: HistoryRow) -> bool:
    # a run drops the outbox of a plan that was not applied
    return last.finished_at is None and last.status != PLANNED


def outlook(look: OpenedProject, mapping: Mapping) -> Outlook:
    """Count the changes that a sync would find now. Writes nothing."""
    tables, source = look.tables(mapping), look.sources[mapping.id]
    state = look.state if look.state.exists() else None
    last = state.last_sync(mapping.id) if state else None
    is_new = state is None or not state.has_settled(mapping.id)
    is_baseline = mapping.meta.first_sync == "baseline" and is_new
    found = tables.count_diff(mapping, source, is_baseline=is_baseline)
    sent = () if is_baseline else mapping.meta.sync_mode
    has_records, has_outbox = tables.present()
    one = Outlook(
        changes={change_type: found.get(change_type, 0) for change_type in CHANGE_TYPES},
        calls={change_type: found.get(change_type, 0) for change_type in CHANGE_TYPES if change_type in sent},
        is_baseline=is_baseline,
        unidentified=sum(found.get(change_type, 0) for change_type in UNIDENTIFIED),
        held_back=0 if is_baseline else tables.count_held_back(mapping, source),
        unfinished=max(0, last.to_send - last.confirmed) if last and _is_resumed(last) and has_outbox else 0,
        changed=_changed(look, mapping, found.get("updated", 0)),
    )
    known = tables.known() if has_records else 0
    updated = one.changes["updated"]
    # a single known record may well change; if all of several records change, a build stamp is the likely reason,
    # unless a resend has chosen them
    is_every = look.resent is None and updated > 1 and updated == known - one.changes["deleted"]
    stamps = cache(lambda: tuple(tables.stamps(source)))  # reads the whole model
    reasons = tuple(_block_reasons(look, mapping, one, known=known, last=last, stamps=stamps))
    return replace(one, stamps=stamps() if is_every else None, block_reasons=reasons)


def _changed(look: OpenedProject, mapping: Mapping, updated: int) -> ChangedColumns | None:
    if not mapping.meta.changed_columns:
        return None
    return look.tables(mapping).hashes.count(look.sources[mapping.id], updated, look.diff(mapping))


def _block_reasons(
    look: OpenedProject,
    mapping: Mapping,
    one: Outlook,
    *,
    known: int,
    last: HistoryRow | None,
    stamps: Callable[[], Sequence[str]],
) -> Iterator[str]:
    """Yield the reasons for which a run would block the sync. Like a run, stop after those that precede staging."""
    source, state = look.sources[mapping.id], look.state
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    staging = new_row(mapping, now, sync_mode=",".join(one.calls), source=source)
    has_state = state.exists()
    if has_state:
        ids = {other.id for other in look.project.mappings}  # all: a mapping that is not selected is not gone
        if reasons := tuple(before_staging(mapping, state, staging, last=last, known=known, mapping_ids=ids)):
            yield from reasons
            return
    to_send = sum(one.calls.values())
    counts = {**one.changes, "unidentified": one.unidentified, "held_back": one.held_back, "to_send": to_send}
    checked = CheckedChanges(
        mapping,
        source,
        look.tables(mapping),
        replace(staging, **counts),  # type: ignore[arg-type]  # names of counts alone
        made=state.made_records(mapping.id) if has_state else None,
        known=known,
        changed=lambda: one.changed,
        stamps=stamps,
        diff=look.diff(mapping) if to_send else None,  # only calls have ids to check
    )
    yield from checked.reasons()


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
