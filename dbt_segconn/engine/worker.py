"""The work of a worker: it opens the project and the warehouse by itself, and delivers ranges of outboxes."""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack
from dataclasses import replace

from dbt_segconn.delivery import Canceled, Delivery, Destination, Progress, Stop
from dbt_segconn.delivery.destination import build_config
from dbt_segconn.engine.calls import message_id_prefix, order_of
from dbt_segconn.engine.opening import Options, opened, read_project
from dbt_segconn.engine.ranges import Range, RangeResult, calls_of, send
from dbt_segconn.errors import ConfigurationError, SegconnError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import State


class Worker:
    """What a process keeps from range to range of one run: the project, the warehouse, the destinations' rates."""

    def __init__(self, options: Options) -> None:
        self._project = read_project(options, needs_results=False)
        self._mappings = {mapping.id: mapping for mapping in self._project.mappings}
        self._open = ExitStack()
        self._warehouse = self._open.enter_context(opened(self._project, options))
        self._destinations: dict[tuple[str, int], Destination] = {}

    def deliver(self, changes: Range, stop: Stop) -> RangeResult:
        """Deliver a range. An error that ends it early is part of the result."""
        mapping = self._mapping(changes)
        destination = self._destination(mapping.destination, changes.among)
        write_key = destination.config.write_key
        if message_id_prefix(write_key, changes.sync_id) != changes.fingerprint:
            raise ConfigurationError(
                f"destination {mapping.destination}: its write key is another than that of the run"
            )
        calls = calls_of(changes, mapping, write_key)
        notes: dict[str, None] = {}
        with (
            self._warehouse.session(mapping.id) as session,
            Delivery(
                destination,
                start_after=changes.after,
                stop=stop,
                order=order_of(mapping),
                notify=lambda text: notes.update({text: None}),
            ) as delivery,
        ):
            state = State(session, self._project.settings.state, self._warehouse.database)
            lock = Lock(state, mapping.id, mapping.name, changes.token)
            failure, canceled = None, False
            try:
                send(changes, calls, MappingTables(state, mapping.id), lock, delivery)
                delivery.finish()
            except Canceled:
                canceled = True
            except Exception as error:  # noqa: BLE001  with it goes how far the delivery came
                failure = message_of(error)
            delivery.close()
            return RangeResult(delivery.progress(), failure, canceled, tuple(notes), delivery.timings.spent())

    def close(self) -> None:
        """Close the warehouse."""
        self._open.close()

    def _mapping(self, changes: Range) -> Mapping:
        mapping = self._mappings.get(changes.mapping_id)
        if mapping is None or mapping.definition != changes.definition:
            raise ConfigurationError(
                f"{self._project.context.project_dir}: a worker reads another mapping here than the run. The "
                "project must be the same for both, and stay as it is while a run lasts; run again."
            )
        return mapping

    def _destination(self, name: str, among: int) -> Destination:
        """Return a destination of which this worker has its part of the rate and of the requests in flight."""
        if (name, among) not in self._destinations:
            config = build_config(name, self._project.settings.destinations[name])
            rate, concurrency = config.events_per_second, math.ceil(config.concurrency / among)
            part = replace(config, events_per_second=rate and rate / among, concurrency=concurrency)
            self._destinations[name, among] = Destination(part)
        return self._destinations[name, among]


# dbt's flags and the working directory belong to the process, so it works for one invocation at a time
_workers: dict[str, Worker] = {}
_guard = threading.Lock()


def deliver_range(options: Options, changes: Range, stop: Stop) -> RangeResult:
    """Deliver a range in this process. Any error is part of the outcome."""
    with _guard:
        try:
            return _worker(options, changes.run_id).deliver(changes, stop)
        except Exception as error:  # noqa: BLE001  not every exception passes from process to process
            nothing = Progress(changes.after, 0, 0, ())
            return RangeResult(nothing, f"a worker could not begin: {message_of(error)}")


def warm_up(options: Options, run_id: str) -> None:
    """Open project and warehouse before the first share comes; what fails then, fails again with a changes."""
    with _guard:
        try:
            _worker(options, run_id)
        except SegconnError:
            return


def _worker(options: Options, run_id: str) -> Worker:
    if run_id not in _workers:
        while _workers:
            _workers.popitem()[1].close()
        _workers[run_id] = Worker(options)
    return _workers[run_id]
