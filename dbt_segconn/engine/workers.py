"""Where workers run: in processes of this machine, or on the workers of a Dask scheduler."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

from dbt_segconn.delivery import Canceled, Delivery, Destination, Progress, Stop
from dbt_segconn.delivery.destination import build_config
from dbt_segconn.engine.calls import message_id_prefix, order_of
from dbt_segconn.engine.opening import Options, Project, opened, read_project, resolve_context
from dbt_segconn.engine.ranges import Range, RangeResult, Workers, calls_of, send
from dbt_segconn.errors import ConfigurationError, SegconnError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import State
from dbt_segconn.version import __version__
from dbt_segconn.warehouse.adapter import Warehouse


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
        return replace(mapping, run_integrations=changes.integrations)

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
    """Open project and warehouse before the first share comes; what fails then, fails again with a range."""
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


CONNECT_SECONDS, CLOSE_SECONDS = 15, 5
POLL_SECONDS = 1.0


@contextmanager
def workforce(options: Options, project: Project, warehouse: Warehouse, run_id: str) -> Iterator[Workers | None]:
    """Start the workers of the options. Yield None if this process delivers by itself."""
    if options.workers == 1 and not options.scheduler:
        yield None
        return
    if reason := warehouse.only_one_process:
        raise ConfigurationError(f"{_asked(options)}: {reason}. Leave the option out.")
    theirs = _of_workers(project, warehouse)
    if options.scheduler:
        theirs = _without_vars(theirs, project, options.scheduler)
        with _dask_workers(options.scheduler, theirs, run_id) as workers:
            yield workers
    else:
        local = LocalWorkers(theirs, options.workers, run_id)
        try:
            yield local
        finally:
            local.close()


def _asked(options: Options) -> str:
    return f"--scheduler {options.scheduler}" if options.scheduler else f"--workers {options.workers}"


def _of_workers(project: Project, warehouse: Warehouse) -> Options:
    """Return the options with which a worker opens the same project and target from any folder."""
    return Options(
        project_dir=project.context.project_dir.resolve(),
        profiles_dir=project.context.profiles_dir.resolve(),
        profile=warehouse.config.profile_name,
        target=warehouse.config.target_name,
        target_path=project.context.artifacts_dir.resolve(),
        run_results=[str(file.path.resolve()) for file in project.context.results],
        vars=project.context.vars,
        all=True,
    )


def _without_vars(theirs: Options, project: Project, scheduler: str) -> Options:
    """Remove the vars, which may hold a key: a scheduler keeps the arguments of tasks, and its workers log them.

    Raises ConfigurationError unless a worker reads the same vars from dbt's results.
    """
    theirs = replace(theirs, vars={})
    if resolve_context(theirs).vars != project.context.vars:
        raise ConfigurationError(
            f"--scheduler {scheduler}: --vars may hold a key and must not pass the scheduler. Remove --vars and write "
            "the values under vars in dbt_project.yml, keys as env_var() in segconn.yml and profiles.yml; or pass the "
            "same --vars to dbt: workers read them from its run_results.json."
        )
    return theirs


class LocalWorkers:
    """Processes of this machine. One that dies takes the pool with it, so the next share finds a new one."""

    may_repeat = False

    def __init__(self, options: Options, count: int, run_id: str) -> None:
        self.count = count
        self._options = options
        # spawned elsewhere: forks of macOS do not bear some of its own libraries
        self._context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":  # one import of dbt for all workers
            self._context.set_forkserver_preload(["dbt_segconn.engine.workers", "dbt.context.providers"])
        self._stop = self._context.Event()
        self._guard = threading.Lock()
        self._pool = self._new_pool()
        for _ in range(count):
            self._pool.submit(warm_up, options, run_id)

    def submit(self, changes: Range) -> Future[RangeResult]:
        """Hand in a range."""
        with self._guard:
            try:
                return self._pool.submit(_deliver_here, self._options, changes)
            except BrokenProcessPool:
                self._pool = self._new_pool()
                return self._pool.submit(_deliver_here, self._options, changes)

    def is_lost(self, error: BaseException) -> bool:
        """Check whether the exception of a range means that its worker has died."""
        return isinstance(error, BrokenProcessPool)

    def are_gone(self) -> str | None:
        """Return None: a broken pool is replaced."""
        return None

    def stop(self) -> None:
        """Stop all workers after the calls in flight."""
        self._stop.set()

    def close(self) -> None:
        """Wait for the processes to end."""
        self._pool.shutdown(cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.count, self._context, _begin, (self._stop,))


_stop_here: list[Stop] = []


def _begin(stop: Stop) -> None:
    """Prepare a process: Ctrl-C is the run's to hear, and without the run there is no worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop_here[:] = [stop]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _deliver_here(options: Options, changes: Range) -> RangeResult:
    return deliver_range(options, changes, _stop_here[0])


class DaskWorkers:
    """The workers of a Dask scheduler, which gives the share of one that dies to another by itself."""

    may_repeat = True

    def __init__(self, client: Any, address: str, options: Options, run_id: str) -> None:
        self._client = client
        self._address = address
        self._options = options
        self._stop_name = f"segconn-stop-{run_id}"
        self._count = 1
        self._executor = client.get_executor(pure=False)

    @property
    def count(self) -> int:
        """How many workers the scheduler has now, or had when it last answered."""
        with suppress(OSError):  # `are_gone` gives the reason
            self._count = max(1, len(self._client.nthreads()))
        return self._count

    def submit(self, changes: Range) -> Future[RangeResult]:
        """Hand in a range. It is lost at once if the scheduler is gone."""
        try:
            future: Future[RangeResult] = self._executor.submit(_deliver_there, self._options, changes, self._stop_name)
        except Exception:  # a closed client raises this very class
            if not self.are_gone():
                raise
            future = Future()
            future.set_exception(CancelledError())
        return future

    def is_lost(self, error: BaseException) -> bool:
        """Check whether a range's exception means that its workers have died, or a scheduler that started again."""
        from distributed import KilledWorker

        return isinstance(error, (KilledWorker, CancelledError))

    def are_gone(self) -> str | None:
        """Return the reason if the scheduler is gone: its client then loses the submitted ranges."""
        if self._client.status == "running":
            return None
        return (
            f"the Dask scheduler {self._address} is gone. The next run delivers the unreported ranges again, "
            "under the same messageIds"
        )

    def stop(self) -> None:
        """Stop all workers after the calls in flight."""
        from distributed import Event

        if self._client.status == "running":
            Event(self._stop_name, client=self._client).set()


@contextmanager
def _dask_workers(address: str, options: Options, run_id: str) -> Iterator[DaskWorkers]:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigurationError(
            f"--scheduler {address}: Dask is not installed. pip install 'dbt-segconn[dask]'"
        ) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it would tell by tracebacks what we tell in a line
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--scheduler {address}: no Dask scheduler answers there ({error})") from None
    try:
        _check_versions(address, client)
        yield DaskWorkers(client, address, options, run_id)
    finally:
        client.close(timeout=CLOSE_SECONDS)


def _check_versions(address: str, client: Any) -> None:
    """Raise ConfigurationError if a worker has another version of dbt-segconn."""
    versions = client.run(_version, on_error="return")
    if not versions:
        raise ConfigurationError(f"--scheduler {address}: it has no workers. Start some (`dask worker {address}`).")
    for worker, version in versions.items():
        if version != __version__:
            raise ConfigurationError(
                f"--scheduler {address}: the worker {worker} {_what(version)}, and this is dbt-segconn "
                f"{__version__}. Install the same version on all workers."
            )


def _what(version: Any) -> str:
    return f"has dbt-segconn {version}" if isinstance(version, str) else f"cannot load dbt-segconn ({version})"


def _version() -> str:
    return __version__


def _deliver_there(options: Options, changes: Range, stop_name: str) -> RangeResult:
    """Deliver a range on a worker of Dask, until the run's event says stop."""
    from distributed import Event

    remote, stop, done = Event(stop_name), threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            if remote.is_set():
                stop.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        outcome = deliver_range(options, changes, stop)
        return replace(outcome, failure=outcome.failure and f"{_name_of_worker()}: {outcome.failure}")
    finally:
        done.set()
        watcher.join()


def _name_of_worker() -> str:
    from distributed import get_worker

    return str(get_worker().address)
