"""One invocation: settings and artifacts → project → gate → syncs → result."""

from __future__ import annotations

import threading
import time
import uuid
from collections import abc
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from dbt_segconn.delivery import Destination
from dbt_segconn.delivery.destination import build_destinations
from dbt_segconn.engine.alerts import Alerts
from dbt_segconn.engine.block_reasons import Budget
from dbt_segconn.engine.gate import Choice, RunResult, Skip, SyncResult, without_used
from dbt_segconn.engine.idle import groups_of, sync_idle
from dbt_segconn.engine.opening import Options, Project, find_sources, gate, opened, read_project
from dbt_segconn.engine.plans import PlanFile, read_plan
from dbt_segconn.engine.report import held_back_by, write_artifact
from dbt_segconn.engine.steps import run_sync
from dbt_segconn.engine.sync import Listener, RunContext, ShieldedListener
from dbt_segconn.engine.workers import workforce
from dbt_segconn.errors import ConfigurationError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import find_mapping
from dbt_segconn.state.locks import Locks, heartbeat
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import PLANNED, RESET, State
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source

# Python handles a signal in the main thread only, once that wakes up
WAKE_SECONDS = 0.2
# dbt keeps one adapter of each type in a process, with its connections
_ONE_AT_A_TIME = threading.Lock()


def run(options: Options, listener: Listener, stop: threading.Event) -> RunResult:
    """Sync the mappings of all refreshed models, and write target/segconn/run_results.json.

    Raise ConfigurationError or another SegconnError if no sync can start. An exception of one sync becomes its
    result. A failure after the syncs becomes a warning of the result. Setting `stop` ends the run: calls in flight
    are confirmed and saved. An exception that a signal handler raises while syncs run sets `stop`, and is raised after
    the artifact is written.
    """
    planned = _planned(options)
    if planned is not None:
        options = replace(options, mappings=tuple(planned))
    project = read_project(options, needs_results=planned is None)
    plan = PlanFile(options.plan, project.settings.pricing) if options.plan else None
    for name in options.mappings:  # a name of two mappings is an error: a run writes
        find_mapping(name, project.mappings)
    allowed = {find_mapping(name, project.mappings).name for name in options.allow_guarded}
    shielded = ShieldedListener(listener)
    # before the warehouse is opened, so that this error is an alert too
    alerts = Alerts(project.settings.alerts, project.context.project_dir.resolve().name, shielded.warn)
    try:
        with _ONE_AT_A_TIME:
            result, interruption = _run(project, options, shielded, stop, allowed, plan=plan, planned=planned)
    except Exception as error:
        alerts.send_error(error)
        raise
    if plan:
        plan.write(result)
    for what, step in (
        ("the artifact was not written", lambda: write_artifact(result, project.context.target_dir)),
        ("the alerts were not sent", lambda: alerts.send(result)),
    ):
        try:
            step()
        except Exception as error:  # noqa: BLE001  what was delivered stays delivered
            shielded.warn(_after(what, error))
    if interruption:
        raise interruption
    return replace(result, warnings=shielded.warnings)


def _after(what: str, error: Exception) -> str:
    return f"the syncs have ended, but {what}: {message_of(error)}"


def _planned(options: Options) -> dict[str, str] | None:
    """Return the syncs of the plan to apply: mapping → sync id. Raise ConfigurationError for options beside it."""
    if options.plan and (options.full_refresh or options.apply):
        raise ConfigurationError("--plan changes no records: leave out --full-refresh and --apply.")
    if options.apply is None:
        return None
    chosen = ("select", "exclude", "selector", "mappings", "run_results", "all", "full_refresh", "ignore_tests")
    if beside := [f"--{name.replace('_', '-')}" for name in chosen if getattr(options, name)]:
        raise ConfigurationError(
            f"--apply delivers what the plan has, and nothing else: leave out {', '.join(beside)}."
        )
    return read_plan(options.apply)


def _run(
    project: Project,
    options: Options,
    listener: ShieldedListener,
    stop: threading.Event,
    allowed: Collection[str],
    *,
    plan: PlanFile | None,
    planned: abc.Mapping[str, str] | None,
) -> tuple[RunResult, BaseException | None]:
    """Sync the chosen mappings. Return the result, and the exception of a signal handler that ended the run."""
    started, started_at = time.monotonic(), datetime.now(timezone.utc)
    run_id = str(uuid.uuid4())
    destinations = build_destinations(project.settings)
    ends: list[SyncResult | Skip] | None = None
    interruption: BaseException | None = None
    try:
        with (
            opened(project, options) as warehouse,
            workforce(options, project, warehouse, run_id) as workers,
            _time_limit(options.max_runtime, stop),
        ):
            choice, now = _choose(project, options, warehouse)
            context = RunContext(
                warehouse=warehouse,
                settings=project.settings.state,
                locks=Locks(break_locks=options.break_lock),
                listener=listener,
                stop=stop,
                now=now,
                clock=time.monotonic,
                run_id=run_id,
                budget=Budget(project.settings.budget),
                mapping_ids=frozenset(mapping.id for mapping in project.mappings),
                dbt_invocation_of=project.results.invocation_of if project.results else _no_invocation,
                full_refresh=options.full_refresh,
                baseline=options.baseline,
                retry=options.retry,
                allow_guarded=allowed,
                workers=workers,
                plan=plan,
                applied=None if planned is None else {one.id: planned[one.name] for one in choice.chosen},
            )
            sources = find_sources(choice.chosen, warehouse)
            listener.begin(project, choice)
            with heartbeat(partial(_beat, context)):
                ends, interruption = _sync_all(
                    choice.chosen, sources, destinations, context, fail_fast=options.fail_fast
                )
    except Exception as error:
        if ends is None:
            raise
        # what was delivered is in the history, and no error of the end may hide that
        listener.warn(_after("the warehouse was not closed well", error))
    results = tuple(end for end in ends if isinstance(end, SyncResult))
    unstarted = (end for end in ends if isinstance(end, Skip))
    skipped = (*choice.skipped, *unstarted)
    return RunResult(run_id, started_at, time.monotonic() - started, results, skipped), interruption


def _choose(project: Project, options: Options, warehouse: Warehouse) -> tuple[Choice, Callable[[], datetime]]:
    """Prepare the state tables. Return the mappings to sync, and the warehouse's clock."""
    choice = gate(project, options, warehouse)
    if options.apply and choice.skipped:
        raise ConfigurationError([f"--apply: {one.mapping.name} is skipped: {one.reason}" for one in choice.skipped])
    with warehouse.session("prepare") as session:
        state = State(session, project.settings.state, warehouse.database)
        state.prepare(session.relation_of(choice.chosen[0].model) if choice.chosen else None)
        return _narrowed(choice, project, options, state), _clock_of(state)


@contextmanager
def _time_limit(seconds: float | None, stop: threading.Event) -> Iterator[None]:
    """Set `stop` after this many seconds, if given; the start of dbt and its warehouse does not count."""
    timer = threading.Timer(seconds or 0.0, stop.set)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _no_invocation(_: str) -> None:
    """Return no dbt invocation: models are taken as they are."""


def _clock_of(state: State) -> Callable[[], datetime]:
    """Return the warehouse's clock, read once: machines that share the state tables may disagree by their own."""
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
    """Keep the syncs that have something to try again, or that the last run had to hold back.

    A model or test that `dbt retry` has run again was a reason to hold them back too.
    """
    held_back = held_back_by(project.context.target_dir)
    retried = project.results.retried if project.results else ()

    def is_unfinished(mapping: Mapping) -> bool:
        if mapping.id in held_back or mapping.model.unique_id in retried:
            return True
        last = state.last_sync(mapping.id)
        if last is None or last.status == RESET:
            return False
        return last.status not in ("success", PLANNED) or MappingTables(state, mapping.id).discards.count() > 0

    return replace(choice, chosen=tuple(filter(is_unfinished, choice.chosen)))


def _beat(run: RunContext) -> None:
    with run.warehouse.session("heartbeat") as session:
        run.locks.beat(State(session, run.settings, run.warehouse.database))


def _sync_all(
    mappings: Sequence[Mapping],
    sources: abc.Mapping[str, Source],
    destinations: abc.Mapping[str, Destination],
    run: RunContext,
    *,
    fail_fast: bool,
) -> tuple[list[SyncResult | Skip], BaseException | None]:
    """Sync the mappings, one in each thread of the target. With `fail_fast`, a failure keeps others from starting.

    Return the ends of all syncs, and the exception that ended them early.
    """
    failed = threading.Event()
    total, listener = len(mappings), run.listener
    idle: dict[str, SyncResult] = {}

    def sync(number: int, mapping: Mapping) -> SyncResult | Skip:
        if result := idle.get(mapping.id):
            listener.start(number, total, mapping)
            listener.end(number, total, result)
            return result
        if failed.is_set():
            listener.note(mapping, "is not started: another sync has failed (--fail-fast)")
            return Skip(mapping, "another sync has failed (--fail-fast)", is_failure=True)
        if run.stop.is_set():  # --max-runtime or Ctrl-C
            return SyncResult(mapping, "canceled", 0.0, "interrupted before it began; the next run syncs it")
        listener.start(number, total, mapping)
        result = run_sync(mapping, sources[mapping.id], destinations[mapping.destination], run)
        if fail_fast and result.status == "failed":
            failed.set()
        listener.end(number, total, result)
        return result

    with ThreadPoolExecutor(max_workers=run.warehouse.threads, thread_name_prefix="segconn") as pool:
        found = [pool.submit(sync_idle, some, sources, run) for some in groups_of(mappings, run.warehouse.threads)]
        early = _wait(found, run.stop)
        for future in found:
            idle.update(future.result())
        futures = [pool.submit(sync, number, mapping) for number, mapping in enumerate(mappings, 1)]
        late = _wait(futures, run.stop)
        return [future.result() for future in futures], early or late


def _wait(futures: Sequence[Future[Any]], stop: threading.Event) -> BaseException | None:
    """Wait for all syncs. Return the exception that a signal handler raised meanwhile, in this thread.

    Prefect, Dagster, Airflow's timeout and Ctrl-C in a notebook raise one. It sets `stop`, so the syncs end soon.
    """
    interruption = None
    while True:
        try:
            while wait(futures, WAKE_SECONDS).not_done:
                continue
        except BaseException as error:  # noqa: BLE001  raised again once the syncs have ended
            stop.set()
            interruption = interruption or error
        else:
            return interruption
