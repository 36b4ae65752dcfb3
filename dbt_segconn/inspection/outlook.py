"""What a sync of a mapping would find now: its changes, what is left out, what a guard would block."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from dbt_segconn.engine.block_reasons import before_staging, of_changes
from dbt_segconn.engine.guards import one_value
from dbt_segconn.inspection.read_only_session import OpenedProject
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.state.column_hashes import ChangedColumns
from dbt_segconn.state.tables import new_row
from dbt_segconn.wording import counted

UNIDENTIFIED = {
    "null_identifier": "the unique identifier is null",
    "duplicate_identifier": "the unique identifier is not unique",
}
"""kind of change → why it is discarded, as a sync writes it down"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Counts of records, as a sync has them.

    `changes` are those of each kind, `calls` those of the kinds that the mapping sends; a baseline sends none.
    `unfinished` are calls that a sync which was cut short has left: a run delivers these first. Where all known
    records are updated, `stamps` are the columns that may be the reason. `changed` are the columns of updated records
    with `changed_columns`. `objections` are what guards would say.
    """

    changes: abc.Mapping[str, int]
    calls: abc.Mapping[str, int]
    is_baseline: bool
    unidentified: int
    held_back: int
    unfinished: int
    changed: ChangedColumns | None = None
    stamps: tuple[str, ...] | None = None
    objections: tuple[str, ...] = ()

    @property
    def left_out(self) -> int:
        """How many changes are no calls, by the sync mode or as a baseline."""
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
        if self.stamps:
            yield (
                f"all {self.changes['updated']:,} known records count as updated. {one_value(self.stamps)}: leave that "
                "out of `fields`; in place of $*, map columns by name"
            )
        elif self.stamps is not None:
            yield (
                f"all {self.changes['updated']:,} known records count as updated. Leave columns that change with each "
                "build, such as load times, out of `fields`; in place of $*, map columns by name"
            )
        if self.held_back:
            yield f"{counted(self.held_back, 'record')} held back: no consent column has a value"
        if self.unidentified:
            yield f"{counted(self.unidentified, 'record')} discarded: the identifier is null or not unique"
        if self.unfinished:
            yield (
                f"a sync that was cut short has {counted(self.unfinished, 'call')} left, which a run delivers first; "
                "what it has delivered already may be counted here once more"
            )
        yield from self.guarded()

    def updates(self) -> Iterator[str]:
        """Yield a line on the columns in which updated records changed, where there are any."""
        if self.changed and self.changed.updated:
            yield f"updated {self.changed.updated:,}: {self.changed.summary()}"

    def guarded(self) -> Iterator[str]:
        """Yield a sentence for each guard that would block the sync."""
        yield from (f"a guard would block it: {text}" for text in self.objections)


def outlook(look: OpenedProject, mapping: Mapping) -> Outlook:
    """Count what a sync would find now. Writes nothing."""
    tables, source = look.tables(mapping), look.sources[mapping.id]
    is_new = not look.state.exists() or not look.state.has_settled(mapping.id)
    is_baseline = mapping.meta.first_sync == "baseline" and is_new
    found = tables.count_diff(mapping, source, is_baseline=is_baseline)
    sent = () if is_baseline else mapping.meta.sync_mode
    one = Outlook(
        changes={change_type: found.get(change_type, 0) for change_type in CHANGE_TYPES},
        calls={change_type: found.get(change_type, 0) for change_type in CHANGE_TYPES if change_type in sent},
        is_baseline=is_baseline,
        unidentified=sum(found.get(change_type, 0) for change_type in UNIDENTIFIED),
        held_back=0 if is_baseline else tables.count_held_back(mapping, source),
        unfinished=_unfinished(look, mapping),
        changed=_changed(look, mapping, found.get("updated", 0)),
    )
    known = tables.known() if tables.present()[0] else 0
    updated = one.changes["updated"]
    is_every = updated > 1 and updated == known - one.changes["deleted"]
    stamps = tuple(tables.stamps(source)) if is_every else None
    return replace(one, stamps=stamps, objections=_guarded(look, mapping, one, known))


def _guarded(look: OpenedProject, mapping: Mapping, one: Outlook, known: int) -> tuple[str, ...]:
    """Return why a run would block the sync: it counts no changes where the mapping itself is doubtful."""
    source, tables, state = look.sources[mapping.id], look.tables(mapping), look.state
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    staging = new_row(mapping, now, sync_mode=",".join(one.calls), source=source)
    is_there = state.exists()
    if is_there:
        last, ids = state.last_sync(mapping.id), {other.id for other in look.project.mappings}
        if reasons := tuple(before_staging(mapping, state, staging, last=last, known=known, mapping_ids=ids)):
            return reasons
    to_send = sum(one.calls.values())
    counts = {**one.changes, "unidentified": one.unidentified, "held_back": one.held_back, "to_send": to_send}
    counted = replace(staging, **counts)  # type: ignore[arg-type]  # names of counts alone
    made = state.made_records(mapping.id) if is_there else None
    diff = tables.diff(mapping, source) if to_send else None
    return tuple(
        of_changes(
            mapping, source, tables, made=made, counted=counted, known=known, changed=lambda: one.changed, diff=diff
        )
    )


def _changed(look: OpenedProject, mapping: Mapping, updated: int) -> ChangedColumns | None:
    if not mapping.meta.changed_columns:
        return None
    tables, source = look.tables(mapping), look.sources[mapping.id]
    return tables.hashes.count(source, updated, tables.diff(mapping, source))


def _unfinished(look: OpenedProject, mapping: Mapping) -> int:
    last = look.state.last_sync(mapping.id) if look.state.exists() else None
    if last is None or last.finished_at is not None or not look.tables(mapping).present()[1]:
        return 0
    return max(0, last.to_send - last.confirmed)
