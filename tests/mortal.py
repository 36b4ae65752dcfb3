"""Runs in processes of their own, which meet a fault at a step of their work, or die there by a real SIGKILL.

A step is a statement that reaches the warehouse, or a request that reaches the Tracking API. What such a process has
printed, the stacks of one that hangs or crashes, and the tracebacks of bugs outlive it in its Ending.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from forked import CONTEXT, start

PATIENCE_SECONDS = float(os.environ.get("SEGCONN_TEST_PATIENCE", "120"))
STACKS_SECONDS = 0.9 * PATIENCE_SECONDS  # what still runs then tells where it stands
SMALL_BATCHES = "SEGCONN_TEST_SMALL_BATCHES"


@dataclass(frozen=True)
class Fate:
    """What happens at the step of this number, just before it takes effect or (`late`) just after.

    `kill` ends the process, `fail` lets the warehouse report a full disk, `break` takes the locks away,
    `stop` asks the run to end as Ctrl-C does, `cut` lets a server end the connection. `disk` allows no file to
    grow beyond its size at the start by more than `step` bytes.
    """

    what: str
    step: int
    late: bool = False


@dataclass(frozen=True)
class Ending:
    """How a process ended: killed, or with the results of its run, or with what it raised.

    `bugs` are the tracebacks of what failed a sync and is no SegconnError; `printed` is all that the process printed.
    """

    killed: bool
    success: bool = False
    ends: tuple[str, ...] = ()
    error: str | None = None
    bugs: tuple[str, ...] = ()
    printed: str = ""

    def __str__(self) -> str:
        how = "killed" if self.killed else "success" if self.success else "no success"
        return "\n".join(filter(None, [f"{how}: {self.ends}", self.error, *self.bugs, self.printed]))


def run(
    project: Path,
    environment: dict[str, str],
    fate: Fate | None = None,
    *,
    kill_after: float | None = None,
    **options: Any,
) -> Ending:
    """Run dbt-segconn once in a process of its own. Kill it after `kill_after` seconds if it still runs."""
    with tempfile.NamedTemporaryFile("r", errors="replace") as printed:
        ours, theirs = CONTEXT.Pipe(duplex=False)
        process = start(_live, theirs, project, environment, fate, options, printed.name)
        theirs.close()
        if kill_after is not None and not ours.poll(kill_after):
            process.kill()
        try:
            ending = ours.recv() if ours.poll(PATIENCE_SECONDS) else Ending(killed=False, error="it hangs")
        except EOFError:
            ending = Ending(killed=True)
        process.join(10)
        ending = replace(ending, printed=printed.read())
        if ending.killed:
            assert process.exitcode == -signal.SIGKILL, f"it ended by itself with {process.exitcode}: {ending}"
        process.kill()
        return ending


def _live(
    pipe: Any, project: Path, environment: dict[str, str], fate: Fate | None, options: dict[str, Any], printed: str
) -> None:
    output = os.open(printed, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable(file=2)
    faulthandler.dump_traceback_later(STACKS_SECONDS, file=2)
    os.environ.update(environment)
    stop = threading.Event()
    try:
        impatient(small_batches=SMALL_BATCHES in environment)
        _install(fate, project, stop)
        pipe.send(run_here(project, stop, **options))
    except BaseException:  # noqa: BLE001  the test shows it
        pipe.send(Ending(killed=False, error=traceback.format_exc()))


def run_here(project: Path, stop: threading.Event | None = None, **options: Any) -> Ending:
    """Run dbt-segconn once in this process, which has dbt's templates compiled already."""
    import dbt_segconn
    from dbt_segconn.errors import SegconnError

    with _noting_bugs() as bugs:
        try:
            result = dbt_segconn.run(
                project_dir=project, profiles_dir=project, all=True, threads=1, stop=stop, **options
            )
        except SegconnError as error:
            return Ending(killed=False, error=f"SegconnError: {error}")
    ends = tuple(one.status if one.message is None else f"{one.status}: {one.message}" for one in result.results)
    return Ending(killed=False, success=result.success, ends=ends, bugs=tuple(bugs))


@contextmanager
def _noting_bugs() -> Iterator[list[str]]:
    """Keep the tracebacks of what fails a sync without being an error of ours; its message has no more than a line."""
    from dbt_segconn.engine import steps
    from dbt_segconn.errors import SegconnError, message_of

    bugs: list[str] = []

    def noting(error: Exception) -> str:
        if not isinstance(error, SegconnError):
            bugs.append("".join(traceback.format_exception(error)))
        return message_of(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "message_of", noting)
        yield bugs


def impatient(*, small_batches: bool) -> None:
    """Wait hardly for others, in this process from now on; where asked for, send and read two calls at once."""
    from dbt_segconn.delivery import batches, connection, sender, tracking_api
    from dbt_segconn.engine import ranges
    from dbt_segconn.warehouse import session

    session.CONFLICT_SECONDS = 0.01
    tracking_api.BACKOFF_SECONDS = 0.001
    connection.TIMEOUT = (1.0, 0.2)
    connection.DEADLINE_SECONDS, connection.BODY_SECONDS, connection.TICK_SECONDS = 0.4, 0.1, 0.05
    if small_batches:
        batches.CHUNK = sender.CHUNK = 1
        batches.BATCH_CALLS, batches.BATCH_BYTES = 2, 45_000
        ranges.FIRST_PAGE, ranges.PAGE_BYTES, ranges.READ_AHEAD = 2, 45_000, 2
        ranges.WRITTEN_PAGE_BYTES, ranges.GROUP_CALLS, ranges.GROUP_BYTES = 45_000, 2, 10_000


def _install(fate: Fate | None, project: Path, stop: threading.Event) -> None:
    if fate is None:
        return
    if fate.what == "disk":
        largest = max((path.stat().st_size for path in project.glob("*.duckdb*")), default=0)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + fate.step,) * 2)
        return
    from dbt.adapters.sql.connections import SQLConnectionManager

    from dbt_segconn.delivery.tracking_api import TrackingApiClient

    steps = _Steps(fate, stop)
    SQLConnectionManager.add_query = steps.around(SQLConnectionManager.add_query, may_fail=True)
    TrackingApiClient.post = steps.around(TrackingApiClient.post, may_fail=False)


class _Steps:
    def __init__(self, fate: Fate, stop: threading.Event) -> None:
        self._fate = fate
        self._stop = stop
        self._count = 0
        self._guard = threading.Lock()

    def around(self, function: Any, *, may_fail: bool) -> Any:
        def counted(one: Any, *arguments: Any, **named: Any) -> Any:
            with self._guard:
                is_now = self._count == self._fate.step
                self._count += 1
            if is_now and not self._fate.late:
                self._befall(one, may_fail=may_fail)
            answer = function(one, *arguments, **named)
            if is_now and self._fate.late:
                self._befall(one, may_fail=may_fail)
            return answer

        return counted

    def _befall(self, one: Any, *, may_fail: bool) -> None:
        if self._fate.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._fate.what == "stop":
            self._stop.set()
        elif self._fate.what == "fail" and may_fail:
            from dbt_common.exceptions import DbtDatabaseError

            raise DbtDatabaseError("IO Error: could not write to file: No space left on device")
        elif self._fate.what == "break" and may_fail:
            _break_locks(one.get_thread_connection())
        elif self._fate.what == "cut" and may_fail:
            _cut(one.get_thread_connection())


def _break_locks(connection: Any) -> None:
    """Do what another process with --break-lock does, beside the connection of this one."""
    import duckdb
    import psycopg2

    broken = "delete from segconn.locks"
    try:
        if connection.type == "duckdb":
            with connection.handle.cursor()._cursor.cursor() as other:
                other.execute(broken)
        else:
            _execute_beside(connection, f"set lock_timeout = 1000; {broken}")
    except (duckdb.Error, psycopg2.Error):
        return  # no such table yet, or it is being written to


def _cut(connection: Any) -> None:
    """Let the server end a connection, and wait until it has."""
    handle = connection.handle  # opens it
    pid = connection.backend_pid if connection.type == "redshift" else handle.get_backend_pid()
    _execute_beside(connection, f"select pg_terminate_backend({pid}, 5000)")


def _execute_beside(connection: Any, statement: str) -> None:
    import psycopg2

    own = connection.credentials
    other = psycopg2.connect(host=own.host, port=own.port, user=own.user, password=own.password, dbname=own.database)
    other.autocommit = True
    try:
        other.cursor().execute(statement)
    finally:
        other.close()
