"""A project opened to be looked at: its mappings and what a run would find, with nothing written anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from dbt_segconn.project.plan import Sync
from dbt_segconn.runs.gate import Choice
from dbt_segconn.runs.opening import Options, Plan, find_sources, gate, opened, read_plan
from dbt_segconn.state.outbox import MappingState
from dbt_segconn.state.tables import State
from dbt_segconn.syncs.calls import CallMaker
from dbt_segconn.warehouse.source import Source

# Stands in for the id of a sync that never happens
NO_SYNC = "preview"


@dataclass(frozen=True, slots=True)
class Look:
    """What is open: the plan, the mappings that were chosen, their sources by sync id, the state tables."""

    plan: Plan
    choice: Choice
    sources: Mapping[str, Source]
    state: State

    def tables(self, sync: Sync) -> MappingState:
        """Return the mapping's records and outbox, which may not exist yet."""
        return MappingState(self.state, sync.id)

    def call_maker(self, sync: Sync, sync_id: str = NO_SYNC) -> CallMaker:
        """Return what makes the calls of a sync with this id."""
        write_key = self.plan.settings.destinations[sync.destination].write_key.get_secret_value()
        now = datetime.now(timezone.utc)
        columns = self.sources[sync.id].columns
        return CallMaker(sync, columns, write_key=write_key, sync_id=sync_id, started_at=now)


@contextmanager
def looking(options: Options, *, also_disabled: bool = True) -> Iterator[Look]:
    """Open the project for as long as the block lasts; models are taken as they are with `options.all`.

    Raises ConfigurationError as a run does.
    """
    plan = read_plan(options, needs_results=False)
    with opened(plan, options) as warehouse:
        choice = gate(plan, options, warehouse)
        disabled = [skip.sync for skip in choice.skipped] if also_disabled else []
        sources = find_sources((*choice.chosen, *disabled), warehouse)
        with warehouse.session("looking") as session:
            yield Look(plan, choice, sources, State(session, plan.settings.state, warehouse.database))
