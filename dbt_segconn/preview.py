"""The calls that a run would send now: sends nothing, changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timezone
from typing import Any

from dbt_segconn.calls import CallMaker
from dbt_segconn.errors import RecordError
from dbt_segconn.opening import Options, find_sources, gate, opened, read_plan
from dbt_segconn.outbox import MappingState
from dbt_segconn.plan import Sync
from dbt_segconn.state import State

# Stands in for the id of a sync that never happens
PREVIEW = "preview"


def preview_calls(
    options: Options,
    *,
    kinds: Collection[str] = (),
    records: Collection[str] = (),
    limit: int = 5,
    with_records: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield up to `limit` calls of each mapping: `{"mapping", "kind", "record_id", "call"}`.

    A record that would be discarded has `discard`, its reason, in place of `call`; `with_records` adds
    `record`, its columns as the mapping sees them. Kinds are those that
    the mapping sends unless named; `records` are identifiers of changed records, also of refused ones that
    were given up. Raises ConfigurationError as `run` does.
    """
    plan = read_plan(options, needs_results=False)
    with opened(plan, options) as warehouse:
        choice = gate(plan, options, warehouse)
        disabled = [skip.sync for skip in choice.skipped]
        syncs = (*choice.chosen, *disabled)
        sources = find_sources(syncs, warehouse)
        with warehouse.session(PREVIEW) as session:
            state = State(session, plan.settings.state, warehouse.database)
            for sync in syncs:
                write_key = plan.settings.destinations[sync.destination].write_key.get_secret_value()
                wanted = kinds or sync.mapping.sync_mode
                changes = MappingState(state, sync.id).preview(sync, sources[sync.id], wanted, limit, records)
                make_call = CallMaker(
                    sync,
                    sources[sync.id].columns,
                    write_key=write_key,
                    sync_id=PREVIEW,
                    started_at=datetime.now(timezone.utc),
                )
                yield from (_shown(sync, change, make_call, with_record=with_records) for change in changes)


def _shown(sync: Sync, change: tuple[Any, ...], make_call: CallMaker, *, with_record: bool) -> dict[str, Any]:
    shown = {"mapping": sync.name, "kind": change[1], "record_id": change[2]}
    if with_record:
        shown["record"] = make_call.event(change, PREVIEW)["properties"]
    try:
        return {**shown, "call": make_call(change)}
    except RecordError as error:
        return {**shown, "discard": str(error)}
