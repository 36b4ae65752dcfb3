"""dbt-segconn: reverse ETL from dbt models to Segment."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_segconn.version import __version__

__all__ = ["__version__", "run"]

if TYPE_CHECKING:
    from dbt_segconn.engine.gate import RunResult
    from dbt_segconn.engine.sync import Listener


def run(  # noqa: PLR0913  the options of the command
    *,
    project_dir: Path | None = None,
    profiles_dir: Path | None = None,
    profile: str | None = None,
    target: str | None = None,
    target_path: Path | None = None,
    vars: Mapping[str, Any] | None = None,  # noqa: A002  dbt's name
    run_results: Sequence[str] = (),
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    selector: str | None = None,
    state: Path | None = None,
    threads: int | None = None,
    fail_fast: bool = False,
    full_refresh: bool = False,
    all: bool = False,  # noqa: A002  the option of the command
    mappings: Sequence[str] = (),
    ignore_tests: bool = False,
    allow_guarded: Sequence[str] = (),
    break_lock: bool = False,
    max_runtime: float | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    baseline: bool = False,
    retry: bool = False,
    plan: Path | None = None,
    apply: Path | None = None,
    integrations: Mapping[str, Any] | None = None,
    after: str | None = None,
    before: str | None = None,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
) -> RunResult:
    """Deliver the changes of the models that dbt has just refreshed, as `dbt-segconn run` does.

    Relative folders start at the working directory, which is not changed. Runs of one process take turns, because dbt's
    adapters belong to the process.

    Args:
        project_dir: Folder of dbt_project.yml. Default: the working directory or the nearest parent with one.
        profiles_dir: Folder of profiles.yml. Default: as dbt finds it.
        profile: Profile of profiles.yml. Default: the one of the last dbt invocation.
        target: Target of the profile. Default: the one of the last dbt invocation.
        target_path: Folder of dbt's artifacts. Default: as dbt finds it.
        vars: Vars as in dbt's --vars. Default: those of the last dbt invocation.
        run_results: Files, folders or globs of run_results.json to merge.
        select: Models to sync, in dbt's selection syntax.
        exclude: Models to leave out, in dbt's selection syntax.
        selector: Selector of selectors.yml.
        state: Folder of artifacts for the `state:` method of selections.
        threads: Syncs at the same time. Default: the threads of the target.
        fail_fast: Start no further sync after one has failed.
        full_refresh: Delete the records of earlier syncs first: every record is sent again.
        all: Take models as they are. No failed dbt test holds a model back.
        mappings: Mappings to sync, as model.mapping.
        ignore_tests: Sync models although their dbt tests have failed.
        allow_guarded: Mappings that are synced although a guard objects.
        break_lock: Take over mappings that another process seems to sync.
        max_runtime: Seconds after which the run ends as if interrupted. The start of dbt does not count.
        workers: Number of processes that deliver, if the warehouse accepts several.
        scheduler: Address of a Dask scheduler that is used instead of `workers`.
        baseline: Remember every record and send none.
        retry: Sync mappings that failed, were interrupted or have discards. Given-up records are sent again.
        plan: File to write what would be sent to. Changes are staged, and none is sent.
        apply: File of an earlier `plan`: its changes are delivered, and nothing else.
        integrations: Segment destinations that receive the calls, such as {"All": False}. With "All", it replaces
            `integrations` of destination and mapping; else it adds to them by name.
        after: Read only rows whose checkpoint column has this value or a greater one.
        before: Read only rows whose checkpoint column has a smaller value.
        listener: Receives each step of the run.
        stop: Set it to end the run as Ctrl-C does: calls in flight are confirmed and saved.

    Returns:
        `success`, one `SyncResult` for each mapping in `results`, and `warnings` about failures beside the syncs,
        such as an artifact that was not written. An exception of one sync is part of its result.

    Raises:
        ConfigurationError: The run cannot start. `problems` lists all reasons.
        SegconnError: The warehouse cannot be opened, or the state tables cannot be read.
        BaseException: What a signal handler raised while syncs ran, after they have ended and the artifact is written.

    """
    # imported here: `import dbt_segconn` must not load dbt, which takes seconds
    from dbt_segconn.engine import opening
    from dbt_segconn.engine import run as engine
    from dbt_segconn.engine.sync import Listener
    from dbt_segconn.integrations import observers
    from dbt_segconn.process_tuning import collect_after_run

    # spelled out, so that a type checker sees each option of a caller
    options = opening.Options(
        project_dir=project_dir,
        profiles_dir=profiles_dir,
        profile=profile,
        target=target,
        target_path=target_path,
        vars=vars or {},
        run_results=run_results,
        select=select,
        exclude=exclude,
        selector=selector,
        state=state,
        threads=threads,
        fail_fast=fail_fast,
        full_refresh=full_refresh,
        all=all,
        mappings=mappings,
        ignore_tests=ignore_tests,
        allow_guarded=allow_guarded,
        break_lock=break_lock,
        max_runtime=max_runtime,
        workers=workers,
        scheduler=scheduler,
        baseline=baseline,
        retry=retry,
        plan=plan,
        apply=apply,
        integrations=integrations,
        after=after,
        before=before,
    )
    try:
        return engine.run(options, [listener or Listener(), *observers()], stop or threading.Event())
    finally:
        collect_after_run()  # the command's process ends instead
