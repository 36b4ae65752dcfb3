"""One run: from settings and artifacts to the project, the gate, the syncs, and the result."""

from __future__ import annotations

import threading
import time
import uuid
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from dbt_segconn.delivery import Destination
from dbt_segconn.delivery.destination import build_destinations
from dbt_segconn.engine.alerts import Alerts, Place
from dbt_segconn.engine.gate import GOOD, Choice, RunResult, Skip, SyncResult, without_used
from dbt_segconn.engine.guards import Budget
from dbt_segconn.engine.idle import groups_of, sync_idle
from dbt_segconn.engine.opening import Options, Project, find_sources, gate, opened, read_project
from dbt_segconn.engine.ranges import Workers
from dbt_segconn.engine.report import PlanFile, held_back_by, read_plan, write_artifact
from dbt_segconn.engine.steps import run_sync
from dbt_segconn.engine.sync import Listener, RunContext, ShieldedListener
from dbt_segconn.engine.workers import workforce
from dbt_segconn.errors import ConfigurationError, WarehouseError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import find_mapping
from dbt_segconn.project.spec_integrations import unknown_names
from dbt_segconn.state.locks import Locks, heartbeat
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.outcomes import prune_deliveries
from dbt_segconn.state.tables import RESET, State, open_state
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source

# The main thread wakes up this often: Python runs signal handlers only in this thread, and only while it is awake
WAKE_SECONDS = 0.2
# A process has one adapter of each type, with its connections: dbt keeps them in global variables
_ONE_AT_A_TIME = threading.Lock()


def run(options: Options, listeners: Sequence[Listener], stop: threading.Event) -> RunResult:
    """Sync the mappings of all refreshed models, and write target/segconn/run_results.json.

    Raise ConfigurationError or another SegconnError if no sync can start. An exception of one sync becomes its
    result. A failure after the syncs becomes a warning of the result. If `stop` is set, the run ends early: calls in
    flight are confirmed and saved. If a signal handler raises an exception while syncs run, `stop` is set, and the
    exception is raised again after the artifact is written.
    """
    planned = _planned(options)
    if planned is not None:
        options = replace(options, mappings=tuple(planned))
    project = read_project(options, needs_results=planned is None)
    plan = PlanFile(options.plan, project.settings.pricing) if options.plan else None
    # commands that only read accept a name of two mappings; a run sends, so it does not
    for name in (*options.mappings, *options.allow_guarded):
        find_mapping(name, project.mappings)
    run_id, shielded = str(uuid.uuid4()), ShieldedListener(listeners)
    for name, fix in unknown_names(options.integrations):
        shielded.warn(f"--integrations: {name!r} is not in the list of Segment's destinations. {fix}")
    # before the warehouse is opened: an error there must be alerted, too
    alerts = Alerts(project.settings.alerts, _place(project), shielded.warn)
    shielded.open(project, run_id)
    try:
        with _ONE_AT_A_TIME:
            result, interruption = _Run(project, options, run_id, shielded, stop, alerts, plan, planned).sync()
        if plan:
            plan.write(result)
    except Exception as error:
        alerts.send_error(error)
        shielded.finish(error)
        raise
    shielded.finish(result)
    if interruption:
        raise interruption
    return replace(result, warnings=shielded.warnings)


def _place(project: Project) -> Place:
    context = project.context
    name = context.project.content.get("name") or context.project_dir.resolve().name
    return Place(str(name), str(context.target))


def _after(what: str, error: Exception) -> str:
    return f"the syncs have ended, but {what}: {message_of(error)}"


# Options that decide what a plan contains, so they have no effect when it is applied
_PLANNED_BEFORE = (
    *("select", "exclude", "selector", "mappings", "run_results", "all", "full_refresh", "ignore_tests"),
    *("integrations", "after", "before"),
)


def _planned(options: Options) -> dict[str, str] | None:
    """Return the syncs of the plan to apply: name of the mapping → sync id; None without --apply.

    Raise ConfigurationError for options that contradict --plan or --apply.
    """
    if options.plan and (beside := _given(options, ("full_refresh", "apply"))):
        raise ConfigurationError(f"--plan changes no records: leave out {' and '.join(beside)}.")
    if options.apply is None:
        return None
    if beside := _given(options, _PLANNED_BEFORE):
        raise ConfigurationError(
            f"--apply delivers what the plan has, and nothing else: leave out {', '.join(beside)}."
        )
    return read_plan(options.apply)


def _given(options: Options, names: Iterable[str]) -> list[str]:
    """Return the options of these names that have a value, as on the command line."""
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]


@dataclass(frozen=True, slots=True)
class _Run:
    """A run with its files read, before its warehouse is opened. For `planned` see `_planned`."""

    project: Project
    options: Options
    run_id: str
    listener: ShieldedListener
    stop: threading.Event
    alerts: Alerts
    plan: PlanFile | None
    planned: abc.Mapping[str, str] | None

    def sync(self) -> tuple[RunResult, BaseException | None]:
        """Sync the chosen mappings, write the artifact and send the alerts.

        Return the result, and the exception of a signal handler that ended the run.
        """
        started, started_at = time.monotonic(), datetime.now(timezone.utc)
        options, listener = self.options, self.listener
        destinations = build_destinations(self.project.settings)
        result: RunResult | None = None
        interruption: BaseException | None = None
        try:
            with (
                opened(self.project, options) as warehouse,
                workforce(options, self.project, warehouse, self.run_id) as workers,
                _time_limit(options.max_runtime, self.stop),
            ):
                choice, now = self._choose(warehouse)
                context = self._context(warehouse, workers, choice, now)
                sources = find_sources(choice.chosen, warehouse, options)
                listener.connect(warehouse, sources)
                listener.begin(self.project, choice)
                with heartbeat(partial(_beat, context)):
                    ends, interruption = _sync_all(
                        choice.chosen, sources, destinations, context, fail_fast=options.fail_fast
                    )
                results = tuple(end for end in ends if isinstance(end, SyncResult))
                skipped = (*choice.skipped, *(end for end in ends if isinstance(end, Skip)))
                result = RunResult(self.run_id, started_at, time.monotonic() - started, results, skipped)
                self._report(result, context)
                _prune(context)
        except Exception as error:
            if result is None:
                raise
            # the syncs have their results: an error on closing the warehouse must not replace them
            listener.warn(_after("the warehouse was not closed well", error))
        return result, interruption

    def _choose(self, warehouse: Warehouse) -> tuple[Choice, Callable[[], datetime]]:
        """Prepare the state tables. Return the mappings to sync, and the warehouse's clock."""
        choice = gate(self.project, self.options, warehouse)
        # before anything is sent: a mapping of the plan may have been disabled since
        if self.options.apply and choice.skipped:
            raise ConfigurationError(
                [f"--apply: {one.mapping.name} is skipped: {one.reason}" for one in choice.skipped]
            )
        with open_state(warehouse, self.project.settings.state, "prepare") as state:
            state.prepare(state.session.relation_of(choice.chosen[0].model) if choice.chosen else None)
            return _narrowed(choice, self.project, self.options, state), _clock_of(state)

    def _context(
        self, warehouse: Warehouse, workers: Workers | None, choice: Choice, now: Callable[[], datetime]
    ) -> RunContext:
        project, options, planned = self.project, self.options, self.planned
        return RunContext(
            warehouse=warehouse,
            settings=project.settings.state,
            locks=Locks(break_locks=options.break_lock),
            listener=self.listener,
            stop=self.stop,
            now=now,
            clock=time.monotonic,
            run_id=self.run_id,
            budget=Budget(project.settings.budget),
            mapping_ids=frozenset(mapping.id for mapping in project.mappings),
            results=project.results,
            full_refresh=options.full_refresh,
            baseline=options.baseline,
            retry=options.retry,
            allow_guarded={find_mapping(name, project.mappings).name for name in options.allow_guarded},
            workers=workers,
            plan=self.plan,
            applied=None if planned is None else {one.id: planned[one.name] for one in choice.chosen},
        )

    def _report(self, result: RunResult, run: RunContext) -> None:
        """Write the artifact, then send the alerts. A failure is a warning: it does not make a delivered run fail."""
        project = self.project
        destinations = project.settings.destinations
        # all enabled mappings, chosen or not: each of them may have become stale
        enabled = [one for one in project.mappings if one.meta.enabled and destinations[one.destination].enabled]
        open_alerts = partial(open_state, run.warehouse, run.settings, "alerts")
        for what, step in (
            ("the artifact was not written", partial(write_artifact, result, project.context.target_dir)),
            ("the alerts were not sent", partial(self.alerts.send, result, enabled, open_alerts, run.now)),
        ):
            try:
                step()
            except Exception as error:  # noqa: BLE001
                self.listener.warn(_after(what, error))


@contextmanager
def _time_limit(seconds: float | None, stop: threading.Event) -> Iterator[None]:
    """Set `stop` after this many seconds, if given. The import of dbt and the start of the warehouse do not count."""
    timer = threading.Timer(seconds or 0.0, stop.set)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _clock_of(state: State) -> Callable[[], datetime]:
    """Return a clock with the warehouse's time in UTC, without a zone.

    The clocks of machines that share the state tables may differ. The warehouse is asked once; from then on, this
    machine counts the seconds, without jumps of its clock.
    """
    now = state.now()
    base = now.astimezone(timezone.utc).replace(tzinfo=None) if now.tzinfo else now
    read_at = time.monotonic()
    return lambda: base + timedelta(seconds=time.monotonic() - read_at)


def _narrowed(choice: Choice, project: Project, options: Options, state: State) -> Choice:
    """Remove the mappings that need no retry, or were synced with the same results of dbt."""
    if options.retry:
        return _unfinished(choice, project, state)
    if project.results and not options.full_refresh:
        return without_used(choice, project.results, state.last_syncs())
    return choice


def _unfinished(choice: Choice, project: Project, state: State) -> Choice:
    """Keep the mappings to retry: they failed, were interrupted, have discards, or were skipped in the last run.

    A mapping is also kept if `dbt retry` has run its model or a test again: their failure had held the model back.
    """
    held_back = held_back_by(project.context.target_dir)
    retried = project.results.retried if project.results else ()

    def is_unfinished(mapping: Mapping) -> bool:
        if mapping.id in held_back or mapping.model.unique_id in retried:
            return True
        last = state.last_sync(mapping.id)
        if last is None or last.status == RESET:
            return False
        return last.status not in GOOD or MappingTables(state, mapping.id).discards.count() > 0

    return replace(choice, chosen=tuple(filter(is_unfinished, choice.chosen)))


def _prune(run: RunContext) -> None:
    """Delete the rows of the delivery log that are too old. A failure is a warning: the syncs have ended."""
    keep = run.settings.deliveries and run.settings.deliveries.keep
    if not keep:
        return
    try:
        with open_state(run.warehouse, run.settings, "deliveries") as state:
            prune_deliveries(state, run.now() - keep)
    except WarehouseError as error:
        run.listener.warn(_after("old rows of the delivery log were not deleted", error))


def _beat(run: RunContext) -> None:
    with open_state(run.warehouse, run.settings, "heartbeat") as state:
        run.locks.beat(state)


def _sync_all(
    mappings: Sequence[Mapping],
    sources: abc.Mapping[str, Source],
    destinations: abc.Mapping[str, Destination],
    run: RunContext,
    *,
    fail_fast: bool,
) -> tuple[list[SyncResult | Skip], BaseException | None]:
    """Sync the mappings, one in each of dbt's threads. With `fail_fast`, no sync starts after one has failed.

    Return the result or skip of each mapping, and the exception of a signal handler that ended the syncs early.
    """
    failed = threading.Event()
    total, listener = len(mappings), run.listener
    idle: dict[str, SyncResult] = {}

    def sync(number: int, mapping: Mapping) -> SyncResult | Skip:
        if mapping.id not in idle and (unstarted := _unstarted(mapping, run, failed)):
            return unstarted
        listener.start(number, total, mapping)
        source, destination = sources[mapping.id], destinations[mapping.destination]
        result = idle.get(mapping.id) or run_sync(mapping, source, destination, run)
        if fail_fast and result.status == "failed":
            failed.set()
        listener.end(number, total, result)
        return result

    # mappings without changes first, many of them together: see `idle.py`
    with ThreadPoolExecutor(max_workers=run.warehouse.threads, thread_name_prefix="segconn") as pool:
        found = [pool.submit(sync_idle, some, sources, run) for some in groups_of(mappings, run.warehouse.threads)]
        early = _wait(found, run.stop)
        for future in found:
            idle.update(future.result())
        futures = [pool.submit(sync, number, mapping) for number, mapping in enumerate(mappings, 1)]
        late = _wait(futures, run.stop)
        return [future.result() for future in futures], early or late


def _unstarted(mapping: Mapping, run: RunContext, failed: threading.Event) -> SyncResult | Skip | None:
    """Return the result of a sync that must not start: another one has `failed`, or the run was stopped."""
    if failed.is_set():
        reason = "another sync has failed (--fail-fast)"
        run.listener.note(mapping, f"is not started: {reason}")
        return Skip(mapping, reason, is_failure=True)
    if run.stop.is_set():  # --max-runtime or Ctrl-C
        again = "; give it the same --integrations" if mapping.run_integrations else ""
        return SyncResult(mapping, "canceled", 0.0, f"interrupted before it began; the next run syncs it{again}")
    return None


def _wait(futures: Sequence[Future[Any]], stop: threading.Event) -> BaseException | None:
    """Wait for all syncs. Return the exception that a signal handler raised in this thread in the meantime.

    Prefect, Dagster, Airflow's timeout and Ctrl-C in a notebook raise one. It sets `stop`, so the syncs end soon.
    """
    interruption = None
    while True:
        try:
            # with a timeout: see WAKE_SECONDS
            while wait(futures, WAKE_SECONDS).not_done:
                continue
        except BaseException as error:  # noqa: BLE001  raised again once the syncs have ended
            stop.set()
            interruption = interruption or error
        else:
            return interruption
