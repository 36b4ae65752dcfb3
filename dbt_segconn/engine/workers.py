"""The workers that deliver ranges: processes of this machine, or the workers of a Dask scheduler."""

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
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

from dbt_segconn.delivery import Canceled, Delivery, Destination, Progress, Request, Stop
from dbt_segconn.delivery.destination import build_config
from dbt_segconn.engine.calls import message_id_prefix, order_of
from dbt_segconn.engine.opening import Options, Project, opened, read_project, resolve_context
from dbt_segconn.engine.ranges import Range, RangeResult, Workers, calls_of, send
from dbt_segconn.errors import ConfigurationError, SegconnError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import open_state
from dbt_segconn.version import __version__
from dbt_segconn.warehouse.adapter import Warehouse

# The time limits of Dask's client
CONNECT_SECONDS, CLOSE_SECONDS = 15, 5
# How often a worker of Dask checks whether the run has stopped: each check is a request to the scheduler
POLL_SECONDS = 1.0


@contextmanager
def workforce(options: Options, project: Project, warehouse: Warehouse, run_id: str) -> Iterator[Workers | None]:
    """Start the workers for the duration of the block. Yield None if this process delivers by itself.

    Raise ConfigurationError if the warehouse or the scheduler does not allow workers.
    """
    if options.workers == 1 and not options.scheduler:
        yield None
        return
    if options.workers > 1 and options.scheduler:
        raise ConfigurationError(
            f"--workers {options.workers} and --scheduler {options.scheduler}: set only one. A scheduler has workers "
            "of its own."
        )
    if reason := warehouse.only_one_process:
        raise ConfigurationError(f"{_asked(options)}: {reason}. Leave the option out.")
    theirs = _of_workers(project, warehouse)
    if options.scheduler:
        theirs = _without_vars(theirs, project, options.scheduler)
        with _dask_workers(options.scheduler, theirs, run_id) as workers:
            yield workers
    else:
        with closing(LocalWorkers(theirs, options.workers, run_id)) as local:
            yield local


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

    Raise ConfigurationError unless a worker reads the same vars from dbt's results.
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
    """Processes of this machine. If one dies, Python's pool is broken, and the next range starts a new pool."""

    may_repeat = False

    def __init__(self, options: Options, count: int, run_id: str) -> None:
        self.count = count
        self._options = options
        # forking a process with threads is not safe, and libraries of macOS may start threads in any process:
        # https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods
        self._context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":  # the fork server imports dbt once for all workers
            self._context.set_forkserver_preload(["dbt_segconn.engine.workers", "dbt.context.providers"])
        self._stop = self._context.Event()
        self._guard = threading.Lock()
        self._pool = self._new_pool()
        for _ in range(count):
            self._pool.submit(warm_up, options, run_id)

    def submit(self, changes: Range) -> Future[RangeResult]:
        """Submit a range."""
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
    """Prepare a worker process. It ignores Ctrl-C, which the run handles, and ends if the run's process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop_here[:] = [stop]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # sys.exit() would end only this thread


def _deliver_here(options: Options, changes: Range) -> RangeResult:
    return deliver_range(options, changes, _stop_here[0])


class DaskWorkers:
    """The workers of a Dask scheduler. If one dies, the scheduler gives its range to another by itself."""

    may_repeat = True

    def __init__(self, client: Any, address: str, options: Options, run_id: str) -> None:
        self._client = client
        self._address = address
        self._options = options
        self._stop_name = f"segconn-stop-{run_id}"
        self._count = 1
        self._executor = client.get_executor(pure=False)  # a range that is submitted again must run again

    @property
    def count(self) -> int:
        """The number of workers that the scheduler has now, or had when it last answered."""
        try:
            self._count = max(1, len(self._client.nthreads()))
        except Exception:  # OSError, and others if the client is closed meanwhile
            if not self.are_gone():
                raise
        return self._count

    def submit(self, changes: Range) -> Future[RangeResult]:
        """Submit a range. If the scheduler is gone, return a canceled future, which counts as lost."""
        try:
            future: Future[RangeResult] = self._executor.submit(_deliver_there, self._options, changes, self._stop_name)
        except Exception:  # a closed client raises `Exception` itself
            if not self.are_gone():
                raise
            future = Future()
            future.set_exception(CancelledError())
        return future

    def is_lost(self, error: BaseException) -> bool:
        """Check whether the exception of a range means that its workers have died, or that the scheduler restarted."""
        from distributed import KilledWorker

        return isinstance(error, (KilledWorker, CancelledError))

    def are_gone(self) -> str | None:
        """Return the reason if the scheduler is gone. The client has then lost the submitted ranges."""
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
    # it logs stack traces of errors that are reported here in one line
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        # not the default client: the process may have one of its own
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
    """Deliver a range on a worker of Dask. Stop early if the run sets its event."""
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


class Worker:
    """The project, warehouse and destinations of one run in a worker. They stay open from range to range."""

    def __init__(self, options: Options) -> None:
        self._project = read_project(options, needs_results=False)
        self._mappings = {mapping.id: mapping for mapping in self._project.mappings}
        self._open = ExitStack()
        self._warehouse = self._open.enter_context(opened(self._project, options))
        self._destinations: dict[tuple[str, int], Destination] = {}

    def deliver(self, changes: Range, stop: Stop) -> RangeResult:
        """Deliver a range. An error that ends it early is part of the result."""
        mapping = self._mapping(changes)
        destination = self._destination(mapping.destination, changes)
        calls = calls_of(changes, mapping, destination.config.write_key)
        notes: dict[str, None] = {}
        requests: list[Request] = []
        with (
            open_state(self._warehouse, self._project.settings.state, mapping.id) as state,
            Delivery(
                destination,
                start_after=changes.after,
                stop=stop,
                order=order_of(mapping),
                notify=lambda text: notes.update({text: None}),
                observe=requests.append if changes.observes_requests else None,
            ) as delivery,
        ):
            lock = Lock(state, mapping.id, mapping.name, changes.token)
            failure, canceled = None, False
            try:
                send(changes, calls, MappingTables(state, mapping.id), lock, delivery)
                delivery.finish()
            except Canceled:
                canceled = True
            except Exception as error:  # noqa: BLE001  the result has the progress up to this error
                failure = message_of(error)
            delivery.close()  # waits for the calls in flight, which count in the progress
            spent = delivery.timings.spent()
            return RangeResult(
                delivery.progress(), failure, canceled, tuple(notes), tuple(requests), spent, calls.violations
            )

    def close(self) -> None:
        """Close the warehouse."""
        self._open.close()

    def _mapping(self, changes: Range) -> Mapping:
        mapping = self._mappings.get(changes.mapping_id)
        if mapping is None or mapping.definition != changes.definition:
            raise ConfigurationError(
                f"{self._project.context.project_dir}: a worker reads a mapping here that differs from the run's. "
                "The project must be the same for both, and must not change during a run; run again."
            )
        return replace(mapping, run_integrations=changes.integrations)

    def _destination(self, name: str, changes: Range) -> Destination:
        """Return a destination with this worker's part of the rate limit and of the requests in flight."""
        among = changes.among
        if (name, among) not in self._destinations:
            config = build_config(name, self._project.settings.destinations[name])
            rate, concurrency = config.events_per_second, math.ceil(config.concurrency / among)
            part = replace(config, events_per_second=rate and rate / among, concurrency=concurrency)
            self._destinations[name, among] = Destination(part)
        found = self._destinations[name, among]
        if message_id_prefix(found.config.write_key, changes.sync_id) != changes.fingerprint:
            raise ConfigurationError(f"destination {name}: its write key differs from that of the run")
        return found


# dbt's flags and the working directory are global in a process, so it works for one run at a time
_workers: dict[str, Worker] = {}
_guard = threading.Lock()


def deliver_range(options: Options, changes: Range, stop: Stop) -> RangeResult:
    """Deliver a range in this process. Any error is part of the result."""
    with _guard:
        try:
            return _worker(options, changes.run_id).deliver(changes, stop)
        except Exception as error:  # noqa: BLE001  some exceptions cannot be pickled, so they cannot leave the process
            nothing = Progress(changes.after, 0, 0, ())
            return RangeResult(nothing, f"a worker could not start: {message_of(error)}")


def warm_up(options: Options, run_id: str) -> None:
    """Open project and warehouse before the first range arrives. An error is raised again with that range."""
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
