"""What the state tables say of the past: the last sync of every mapping, the history, the discards; reset."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from dbt_segconn.invocation import Options, Plan, opened, read_plan
from dbt_segconn.locks import Locks
from dbt_segconn.preview import named
from dbt_segconn.state import State

HISTORY = (
    "started_at",
    "mapping",
    "status",
    "added",
    "updated",
    "deleted",
    "left_out",
    "confirmed",
    "discarded",
    "error",
    "sync_id",
)
DISCARDS = ("mapping_id", "mapping", "record_id", "kind", "reason", "attempts", "first_at", "last_at")


@contextmanager
def _state(options: Options) -> Iterator[tuple[Plan, State]]:
    plan = read_plan(options, needs_results=False)
    with opened(plan, options) as warehouse, warehouse.session("overview") as session:
        yield plan, State(session, plan.settings.state, warehouse.database)


def overview(options: Options) -> list[dict[str, Any]]:
    """Return one row a mapping of the project: what it is, and how its newest sync ended."""
    with _state(options) as (plan, state):
        last = {sync.id: state.last_sync(sync.id) for sync in plan.syncs} if state.exists() else {}
    rows = []
    for sync in plan.syncs:
        newest = last.get(sync.id)
        enabled = sync.mapping.enabled and plan.settings.destinations[sync.destination].enabled
        rows.append(
            {
                "mapping": sync.name,
                "action": sync.mapping.action,
                "destination": sync.destination,
                "enabled": "yes" if enabled else "no",
                "status": newest.status if newest else "never synced",
                "started_at": newest.started_at if newest else None,
                "confirmed": newest.confirmed if newest else None,
                "discarded": newest.discarded if newest else None,
                "error": newest.error if newest else None,
            }
        )
    return rows


def history(options: Options, limit: int) -> list[dict[str, Any]]:
    """Return the newest syncs of all mappings, newest first."""
    with _state(options) as (_, state):
        syncs = state.history(limit) if state.exists() else []
    return [{name: getattr(sync, name) for name in HISTORY} for sync in syncs]


def discards(options: Options, limit: int) -> list[dict[str, Any]]:
    """Return the refused records, with the reason, the number of attempts and the first and last time."""
    with _state(options) as (_, state):
        rows = state.open_discards(limit) if state.exists() else []
    return [dict(zip(DISCARDS[1:], row[1:], strict=True)) for row in rows]


def reset(options: Options, mappings: Collection[str]) -> list[str]:
    """Forget the records of mappings, so that their next sync finds all of them added.

    Returns the names of the mappings that were reset. Raises ConfigurationError for a name that no
    mapping has, and LockedError while one is being synced.
    """
    locks = Locks()
    with _state(options) as (plan, state):
        syncs = named(plan.syncs, mappings)
        state.prepare()
        for sync in syncs:
            with locks.hold(state, sync.id, sync.name):
                state.of(sync.id).reset()
    return [sync.name for sync in syncs]
