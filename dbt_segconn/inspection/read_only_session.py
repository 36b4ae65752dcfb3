"""A project opened for reading: its mappings, their models and the state tables. Writes nothing."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from dbt_segconn.engine.calls import CallMaker
from dbt_segconn.engine.gate import Choice
from dbt_segconn.engine.opening import Options, Project, find_sources, gate, opened, read_project
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import State
from dbt_segconn.warehouse.source import Source

# Replaces the id of a sync in calls that are not sent
NO_SYNC = "preview"


@dataclass(frozen=True, slots=True)
class OpenedProject:
    """The open project: selected and skipped mappings, the source of each mapping by its id, the state tables."""

    project: Project
    choice: Choice
    sources: abc.Mapping[str, Source]
    state: State

    def tables(self, mapping: Mapping) -> MappingTables:
        """Return the tables of records and outbox of a mapping. They may not exist yet."""
        return MappingTables(self.state, mapping.id)

    def call_maker(self, mapping: Mapping, sync_id: str = NO_SYNC) -> CallMaker:
        """Return an object that builds the calls of a sync with this id."""
        write_key = self.project.settings.destinations[mapping.destination].write_key.get_secret_value()
        now = datetime.now(timezone.utc)
        columns = self.sources[mapping.id].columns
        return CallMaker(mapping, columns, write_key=write_key, sync_id=sync_id, started_at=now)


@contextmanager
def opened_read_only(options: Options, *, also_disabled: bool = True) -> Iterator[OpenedProject]:
    """Open the project until the block ends. With `options.all`, include models that dbt has not just refreshed.

    Raises ConfigurationError as a run does.
    """
    project = read_project(options, needs_results=False)
    with opened(project, options) as warehouse:
        choice = gate(project, options, warehouse)
        disabled = [skip.mapping for skip in choice.skipped] if also_disabled else []
        sources = find_sources((*choice.chosen, *disabled), warehouse)
        with warehouse.session("looking") as session:
            yield OpenedProject(project, choice, sources, State(session, project.settings.state, warehouse.database))
