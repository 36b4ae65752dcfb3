"""The calls that a run would send now: sends nothing, changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dbt_segconn.errors import RecordError
from dbt_segconn.inspection.looking import looking
from dbt_segconn.project.plan import Sync
from dbt_segconn.runs.opening import Options
from dbt_segconn.syncs.calls import CallMaker
from dbt_segconn.warehouse.session import Row


@dataclass(frozen=True, slots=True)
class Shown:
    """A change and its call, or in its place `discard`, the reason why there would be none.

    `record` are the columns that the mapping sees, with their values.
    """

    mapping: str
    kind: str
    record_id: str
    record: Mapping[str, Any]
    call: Mapping[str, Any] | None = None
    discard: str | None = None

    def as_json(self, *, with_record: bool = False) -> dict[str, Any]:
        """Return what machines read: the change with its call or the reason."""
        shown: dict[str, Any] = {"mapping": self.mapping, "kind": self.kind, "record_id": self.record_id}
        shown |= {"record": self.record} if with_record else {}
        return {**shown, "call": self.call} if self.discard is None else {**shown, "discard": self.discard}


def preview_calls(options: Options, *, with_records: bool = False, **given: Any) -> Iterator[dict[str, Any]]:
    """Yield what `preview` does as JSON values: `{"mapping", "kind", "record_id", "call"}`, or with `discard`."""
    return (shown.as_json(with_record=with_records) for shown in preview(options, **given))


def preview(
    options: Options,
    *,
    kinds: Collection[str] = (),
    records: Collection[str] = (),
    limit: int = 5,
    of_each_kind: bool = False,
) -> Iterator[Shown]:
    """Yield up to `limit` changes of each mapping, or of each kind of it, with their calls.

    Kinds are those that the mapping sends unless named; `records` are identifiers of changed records, also of
    refused ones that were given up. Raises ConfigurationError as `run` does.
    """
    with looking(options) as look:
        for sync in (*look.choice.chosen, *(skip.sync for skip in look.choice.skipped)):
            wanted = kinds or sync.mapping.sync_mode
            make_call = look.call_maker(sync)
            groups: list[Collection[str]] = [[kind] for kind in wanted] if of_each_kind else [wanted]
            for some in groups:
                changes = look.tables(sync).preview(sync, look.sources[sync.id], some, limit, records)
                yield from (show(sync, change, make_call) for change in changes)


def show(sync: Sync, change: Row, make_call: CallMaker) -> Shown:
    """Make the call of a change."""
    record = make_call.event(change, "")["properties"]
    try:
        return Shown(sync.name, change[1], change[2], record, call=make_call(change))
    except RecordError as error:
        return Shown(sync.name, change[1], change[2], record, discard=str(error))
