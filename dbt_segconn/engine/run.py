"""One invocation: settings and artifacts → plan → gate → syncs → result."""

from __future__ import annotations

import threading
import time
import uuid
from collections import abc
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from dbt_segconn.delivery import Destination
from dbt_segconn.delivery.destination import build_destinations
from dbt_segconn.engine.alerts import alerting
from dbt_segconn.engine.budget import Budget
from dbt_segconn.engine.gate import Choice, Skip, without_used
from dbt_segconn.engine.opening import Options, Project, find_sources, gate, opened, read_project
from dbt_segconn.engine.report import RunResult, held_back_by, write_artifact
from dbt_segconn.engine.sync import SyncResult, run_sync
from dbt_segconn.engine.work import Observer, RunContext
from dbt_segconn.engine.workers import workforce
from dbt_segconn.errors import message_of
from dbt_segconn.project.mapping_names import only
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.locks import Locks, heartbeat
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import RESET, HistoryRow, State
from dbt_segconn.warehouse.source import Source

# A signal may come to another thread; Python handles it when its main thread wakes up
WAKE_SECONDS = 0.2


class Listener(Observer):
    """Who follows an invocation; does nothing by itself, so that a subclass hears only what it wants."""

    def begin(self, plan: Project, choice: Choice) -> None:
        """Hear which syncs will go, before any of them has started."""

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Hear that a sync starts, as number so-and-so of all."""

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Hear how a sync has ended."""

    def note(self, mapping: Mapping, text: str) -> None:
        """Hear of something that the user should know before the sync ends."""

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Hear how many of the changes to send are done."""

    def warn(self, text: str) -> None:
        """Hear of something that went wrong beside the syncs, such as an alert that could not be sent."""


class _Shielded(Listener):
    """Passes events on to a listener. What the listener raises becomes a warning: it ends no delivery."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._warnings: dict[str, None] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings so far, each once."""
        return tuple(self._warnings)

    def begin(self, plan: Project, choice: Choice) -> None:
        """Pass it on."""
        self._pass(self._listener.begin, plan, choice)

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Pass it on."""
        self._pass(self._listener.start, number, total, mapping)

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Pass it on."""
        self._pass(self._listener.end, number, total, result)

    def note(self, mapping: Mapping, text: str) -> None:
        """Pass it on."""
        self._pass(self._listener.note, mapping, text)

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Pass it on."""
        self._pass(self._listener.progress, mapping, done, total)

    def warn(self, text: str) -> None:
        """Keep a warning, and pass it on."""
        self._warnings[text] = None
        self._pass(self._listener.warn, text)

    def _pass(self, tell: Callable[..., None], *event: Any) -> None:
        try:
            tell(*event)
        except Exception as error:  # noqa: BLE001  a listener is beside the syncs
            name = getattr(tell, "__name__", "of an event")
            self._warnings[f"the listener's method {name} raised {type(error).__name__}"] = None


def run(options: Options, listener: Listener, stop: threading.Event) -> RunResult:
    """Sync every refreshed model's mappings, and write target/segconn/run_results.json.

    Raises ConfigurationError, or another SegconnError, where no sync could be started. Whatever happens to a
    single sync is part of its result; what goes wrong once the syncs have ended is a warning of the result. Once
    `stop` is set, what is in flight is finished and saved.
    """
    plan = read_project(options)
    for name in options.mappings:
        only(name, plan.mappings)
    allowed = {only(name, plan.mappings).name for name in options.allow_guarded}
    shielded = _Shielded(listener)
    with alerting(plan.settings.alerts, plan.context.project_dir.resolve().name, shielded.warn) as ended:
        result = _run(plan, options, shielded, stop, allowed)
        with _warning_of("the alerts were not sent", shielded):
            ended(result)
    return replace(result, warnings=shielded.warnings)


def _run(
    plan: Project, options: Options, listener: _Shielded, stop: threading.Event, allowed: Collection[str]
) -> RunResult:
    started, started_at = time.monotonic(), datetime.now(timezone.utc)
    run_id = str(uuid.uuid4())
    destinations = build_destinations(plan.settings)
    ends: list[tuple[list[SyncResult], list[Skip]]] = []
    with (
        _warning_of("the warehouse was not closed well", listener, is_due=lambda: bool(ends)),
        opened(plan, options) as warehouse,
        workforce(options, plan, warehouse, run_id) as workers,
        _time_limit(options.max_runtime, stop),
    ):
        choice = gate(plan, options, warehouse)
        with warehouse.session("prepare") as session:
            state = State(session, plan.settings.state, warehouse.database)
            state.prepare()
            now = _clock_of(state)
            choice = _narrowed(choice, plan, options, state)
        sources = find_sources(choice.chosen, warehouse)
        job = RunContext(
            warehouse=warehouse,
            settings=plan.settings.state,
            locks=Locks(break_locks=options.break_lock),
            observer=listener,
            stop=stop,
            now=now,
            clock=time.monotonic,
            run_id=run_id,
            budget=Budget(plan.settings.budget),
            mapping_ids=frozenset(mapping.id for mapping in plan.mappings),
            dbt_invocation_of=plan.results.invocation_of if plan.results else _no_invocation,
            full_refresh=options.full_refresh,
            baseline=options.baseline,
            retry=options.retry,
            allow_guarded=allowed,
            workers=workers,
        )
        listener.begin(plan, choice)
        with heartbeat(lambda: _beat(job)):
            ends.append(
                _run_syncs(
                    choice, sources, destinations, job, listener, threads=warehouse.threads, fail_fast=options.fail_fast
                )
            )
    (results, unstarted), skipped = ends[0], choice.skipped
    seconds = time.monotonic() - started
    result = RunResult(run_id, started_at, seconds, tuple(results), (*skipped, *unstarted))
    with _warning_of("the artifact was not written", listener):
        write_artifact(result, plan.context.target_dir)
    return result


@contextmanager
def _warning_of(what: str, listener: Listener, is_due: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn what fails beside the syncs into a warning, where that `is_due`."""
    try:
        yield
    except Exception as error:
        if not is_due():
            raise
        listener.warn(f"the syncs have ended, but {what}: {message_of(error)}")


@contextmanager
def _time_limit(seconds: float | None, stop: threading.Event) -> Iterator[None]:
    """Set `stop` after this many seconds, if given; the start of dbt and its warehouse does not count."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _no_invocation(_: str) -> None:
    """Stand in for dbt's results where models are taken as they are."""


def _clock_of(state: State) -> Callable[[], datetime]:
    """Return the warehouse's clock, read once: machines that share the state tables may disagree by their own."""
    now = state.now()
    base = now.astimezone(timezone.utc).replace(tzinfo=None) if now.tzinfo else now
    read_at = time.monotonic()
    return lambda: base + timedelta(seconds=time.monotonic() - read_at)


def _narrowed(choice: Choice, plan: Project, options: Options, state: State) -> Choice:
    """Leave out what the history shows to be done: what needs no retry, what these results of dbt were used for."""
    if options.retry:
        return _unfinished(choice, plan, state)
    if plan.results and not options.full_refresh:
        return without_used(choice, plan.results, state.last_syncs())
    return choice


def _unfinished(choice: Choice, plan: Project, state: State) -> Choice:
    """Keep the syncs that have something to try again, or that the last run had to hold back."""
    held_back = held_back_by(plan.context.target_dir) | _retried_by_dbt(plan)
    chosen = [
        mapping
        for mapping in choice.chosen
        if mapping.id in held_back or _needs_retry(MappingTables(state, mapping.id), state.last_sync(mapping.id))
    ]
    return replace(choice, chosen=tuple(chosen))


def _retried_by_dbt(plan: Project) -> set[str]:
    """Return the syncs whose models, or their tests, `dbt retry` has tried again."""
    models = plan.results.retried if plan.results else ()
    return {mapping.id for mapping in plan.mappings if mapping.model.unique_id in models}


def _needs_retry(tables: MappingTables, last: HistoryRow | None) -> bool:
    return last is not None and (last.status not in {"success", RESET} or tables.discards.count() > 0)


def _beat(job: RunContext) -> None:
    with job.warehouse.session("heartbeat") as session:
        job.locks.beat(State(session, job.settings, job.warehouse.database))


def _run_syncs(
    choice: Choice,
    sources: abc.Mapping[str, Source],
    destinations: abc.Mapping[str, Destination],
    job: RunContext,
    listener: Listener,
    *,
    threads: int,
    fail_fast: bool,
) -> tuple[list[SyncResult], list[Skip]]:
    """Run the chosen syncs, so many at a time; none is started once one has failed fast or `stop` is set.

    Returns the results, and what was not started for a failure of another.
    """
    failed = threading.Event()

    def one(number: int, mapping: Mapping) -> SyncResult | Skip:
        if failed.is_set():
            listener.note(mapping, "is not started: another sync has failed (--fail-fast)")
            return Skip(mapping, "another sync has failed (--fail-fast)", is_failure=True)
        if job.stop.is_set():
            return SyncResult(mapping, "canceled", 0.0, "interrupted before it began; the next run syncs it")
        listener.start(number, len(choice.chosen), mapping)
        result = run_sync(mapping, sources[mapping.id], destinations[mapping.destination], job)
        if fail_fast and result.status == "failed":
            failed.set()
        listener.end(number, len(choice.chosen), result)
        return result

    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="segconn") as pool:
        futures = [pool.submit(one, number, mapping) for number, mapping in enumerate(choice.chosen, 1)]
        while wait(futures, WAKE_SECONDS).not_done:
            continue
        ends = [future.result() for future in futures]
    results = [end for end in ends if isinstance(end, SyncResult)]
    return results, [end for end in ends if isinstance(end, Skip)]
