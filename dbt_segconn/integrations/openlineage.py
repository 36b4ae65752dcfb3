"""OpenLineage: events of a run and its syncs, sent by openlineage-python and configured as that client is.

Tables have the names that `dbt-ol` gives them, so that dbt's events and these are about the same datasets.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import abc
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    RunFacet,
    column_lineage_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
)

from dbt_segconn.engine.gate import Choice, RunResult, SyncResult
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.sync import Listener
from dbt_segconn.errors import SegconnError, message_of
from dbt_segconn.mapping import ALL_COLUMNS, columns_used
from dbt_segconn.mapping.compiler import values
from dbt_segconn.project.identifiers import SEGMENT_ID
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.tables import PLANNED
from dbt_segconn.version import __version__
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source

PRODUCER = f"https://pypi.org/project/dbt-segconn/{__version__}"
# The end of a run waits at most this long for queued events: the client tries a server that is down for 9 s
CLOSE_SECONDS = 4.0
RUNNING_SECONDS = 60.0
_ENDS = {**dict.fromkeys(("success", "partial", PLANNED), RunState.COMPLETE), "canceled": RunState.ABORT}


class JobRun(NamedTuple):
    """A run and its job."""

    namespace: str
    job: str
    run_id: str


class Emitter:
    """Sends events in their order from a thread, so that a slow server delays no sync."""

    def __init__(self, client: OpenLineageClient) -> None:
        self._client = client
        self._queue: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        self._is_over = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._send_all, name="segconn-openlineage", daemon=True)
        self._thread.start()

    def emit(self, event: RunEvent) -> None:
        """Queue an event."""
        self._queue.put(event)

    def close(self) -> None:
        """Wait at most CLOSE_SECONDS for the events. Raise SegconnError if some were not delivered."""
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        self._is_over = True
        late = f"no answer in {CLOSE_SECONDS:.0f} seconds" if self._thread.is_alive() else None
        if reason := self._failure or late:
            raise SegconnError(f"OpenLineage: events were not delivered: {reason}. The syncs are not affected")

    def _send_all(self) -> None:
        while (event := self._queue.get()) and not self._is_over:
            try:
                self._client.emit(event)
            except Exception as error:  # noqa: BLE001  an event never ends a run
                self._failure = type(error).__name__  # the text may hold the URL, and the URL a key
        self._client.close(CLOSE_SECONDS)


class LineageListener(Listener):
    """Sends START, RUNNING, and COMPLETE, FAIL or ABORT for a run and for each of its syncs.

    Raise SegconnError if the configuration of the client, or the parent run, is not valid.
    """

    def __init__(self) -> None:
        self._above = _above(os.environ)
        try:
            client = OpenLineageClient()
            is_without = client.transport.kind == "console" and not client.config.transport
        except Exception as error:  # noqa: BLE001  transports raise errors of their own
            raise SegconnError(f"OpenLineage: its configuration is not valid ({type(error).__name__})") from None
        if is_without:  # the client would print the events
            raise SegconnError("OpenLineage: its configuration has no `transport`. No events are sent")
        self._client = client
        self._namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or "dbt"  # the default of dbt-ol
        self._running_at: dict[str, float] = {}

    def open(self, project: Project, run_id: str) -> None:
        """Send the START of the run."""
        self._emitter = Emitter(self._client)
        self._project = project
        self._run = JobRun(self._namespace, f"dbt-segconn-run-{project.context.project.name}", run_id)
        self._emit(RunState.START)

    def connect(self, warehouse: Warehouse, sources: abc.Mapping[str, Source]) -> None:
        """Keep the namespace of the tables."""
        self._tables = warehouse.dialect.lineage_namespace(warehouse.config.credentials)
        self._sources = sources

    def begin(self, project: Project, choice: Choice) -> None:  # noqa: ARG002
        """Send RUNNING of the run."""
        self._emit(RunState.RUNNING)

    def start(self, number: int, total: int, mapping: Mapping) -> None:  # noqa: ARG002
        """Send the START of a sync."""
        self._emit(RunState.START, mapping)

    def progress(self, mapping: Mapping, done: int, total: int) -> None:  # noqa: ARG002
        """Send RUNNING of a sync when its delivery starts, then once a minute."""
        # deliveries report their progress many times a minute
        if time.monotonic() >= self._running_at.get(mapping.id, 0.0):
            self._running_at[mapping.id] = time.monotonic() + RUNNING_SECONDS
            self._emit(RunState.RUNNING, mapping, calls=done)

    def end(self, number: int, total: int, result: SyncResult) -> None:  # noqa: ARG002
        """Send the end of a sync, with its counts."""
        state = _ENDS.get(result.status, RunState.FAIL)
        counts = RunFacet(producer=PRODUCER).with_additional_properties(status=result.status, **result.counts)
        error = result.message if state is RunState.FAIL else None
        self._emit(state, result.mapping, calls=result.confirmed, error=error, segconn_sync=counts)

    def finish(self, outcome: RunResult | Exception) -> None:
        """Send the end of the run, and wait at most CLOSE_SECONDS for all events."""
        if isinstance(outcome, Exception):
            self._emit(RunState.FAIL, error=message_of(outcome))
        else:
            ends = {_ENDS.get(one.status, RunState.FAIL) for one in outcome.results}
            ends |= {RunState.FAIL for one in outcome.skipped if one.is_failure}
            self._emit(next((one for one in (RunState.FAIL, RunState.ABORT) if one in ends), RunState.COMPLETE))
        self._emitter.close()

    def _emit(
        self,
        state: RunState,
        mapping: Mapping | None = None,
        *,
        calls: int | None = None,
        error: str | None = None,
        **facets: Any,
    ) -> None:
        """Queue an event of a sync, or without a mapping of the run."""
        identity, above = (self._sync_of(mapping), (self._run, *self._above)) if mapping else (self._run, self._above)
        if above:
            facets["parent"] = _parent_facet(above[0], above[-1])
        if error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(error, "python", producer=PRODUCER)
        job_type = job_type_job.JobTypeJobFacet("BATCH", "DBT_SEGCONN", "SYNC" if mapping else "RUN", producer=PRODUCER)
        event = RunEvent(
            eventType=state,
            eventTime=datetime.now(timezone.utc).isoformat(),
            run=Run(identity.run_id, facets),
            job=Job(identity.namespace, identity.job, {"jobType": job_type}),
            inputs=[self._table(mapping)] if mapping else [],
            outputs=[self._destination(mapping, calls)] if mapping else [],
            producer=PRODUCER,
        )
        self._emitter.emit(event)

    def _sync_of(self, mapping: Mapping) -> JobRun:
        name = f"{self._project.context.project.name}.segconn.{mapping.name}"
        # OpenLineage requires a UUID; this one is the same in all events of a sync
        return JobRun(self._namespace, name, str(uuid5(UUID(self._run.run_id), mapping.id)))

    def _table(self, mapping: Mapping) -> InputDataset:
        # without a schema: it would replace the one of dbt's events by the columns that this mapping reads
        model = mapping.model
        return InputDataset(self._tables, ".".join(filter(None, (model.database, model.schema, model.identifier))))

    def _destination(self, mapping: Mapping, calls: int | None) -> OutputDataset:
        """Return the destination, with the fields of all its mappings and the columns of this one's."""
        host = urlsplit(self._project.settings.destinations[mapping.destination].base_url).netloc
        # Each event replaces the schema of a dataset, so it needs the fields of all mappings
        alike = [one for one in self._project.mappings if one.destination == mapping.destination]
        names = sorted({name for one in alike for name, _ in _fields(one)})
        schema = schema_dataset.SchemaDatasetFacet(
            [schema_dataset.SchemaDatasetFacetFields(name) for name in names], producer=PRODUCER
        )
        columns = column_lineage_dataset.ColumnLineageDatasetFacet(self._columns(mapping), producer=PRODUCER)
        rows = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(calls, producer=PRODUCER)
        return OutputDataset(
            f"segment://{host}",
            mapping.destination,
            facets={"schema": schema, "columnLineage": columns},
            outputFacets={} if calls is None else {"outputStatistics": rows},
        )

    def _columns(self, mapping: Mapping) -> dict[str, column_lineage_dataset.Fields]:
        """Return the columns of each field of the calls."""
        source, table, found = self._sources[mapping.id], self._table(mapping), {}
        for name, value in _fields(mapping):
            # OpenLineage's terms for a column as it is, and for a value that is made of columns
            subtype = "IDENTITY" if isinstance(value, dict) and value.keys() == {"@path"} else "TRANSFORMATION"
            how = column_lineage_dataset.Transformation("DIRECT", subtype)
            if columns := dict.fromkeys(_columns_of(value, source)):
                found[name] = column_lineage_dataset.Fields(
                    [column_lineage_dataset.InputField(table.namespace, table.name, one, [how]) for one in columns]
                )
        return found


def _fields(mapping: Mapping) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a mapping's calls, as `identify.traits.email`, each with its value in the mapping."""
    for path, value in values(mapping.fields):
        if value == {"@path": "$.context.consent"}:  # the consent columns of the model
            for category, column in mapping.consent.items():
                yield f"{mapping.meta.action}.consent.{category}", {"@path": f"$.properties.{column}"}
        else:
            yield ".".join((mapping.meta.action, *path)), value


def _columns_of(value: Any, source: Source) -> Iterator[str]:
    """Yield the columns of the model that a value reads."""
    used = columns_used(value)
    for column in source.columns:
        if used is ALL_COLUMNS or column.key in used:
            yield column.name
    if used is not ALL_COLUMNS and SEGMENT_ID in used:
        yield from (column.name for column in source.identifier)


def _parent_facet(parent: JobRun, root: JobRun) -> parent_run.ParentRunFacet:
    return parent_run.ParentRunFacet(
        parent_run.Run(parent.run_id),
        parent_run.Job(parent.namespace, parent.job),
        parent_run.Root(parent_run.RootRun(root.run_id), parent_run.RootJob(root.namespace, root.job)),
        producer=PRODUCER,
    )


def _above(environment: abc.Mapping[str, str]) -> Sequence[JobRun]:
    """Return the parent run and the root run, from the variables that `dbt-ol` reads.

    Raise SegconnError if a variable is not valid.
    """
    try:
        if context := environment.get("OPENLINEAGE_CONTEXT"):
            parent = json.loads(context)["parent"]
            found = [_identity(one) for one in (parent, parent.get("root")) if one]
        else:
            texts = (environment.get(f"OPENLINEAGE_{one}PARENT_ID") for one in ("", "ROOT_"))
            found = [JobRun(*text.rsplit("/", 2)) for text in texts if text]
        for one in found:
            UUID(one.run_id)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise SegconnError(
            "OpenLineage: OPENLINEAGE_PARENT_ID and OPENLINEAGE_ROOT_PARENT_ID must be namespace/job/run id, with a "
            "UUID as the run id. OPENLINEAGE_CONTEXT must be JSON with parent.run.runId, parent.job.namespace and "
            "parent.job.name. No events are sent"
        ) from None
    return found


def _identity(value: Any) -> JobRun:
    return JobRun(value["job"]["namespace"], value["job"]["name"], value["run"]["runId"])
