"""Prefect: a task that syncs, with a table of its counts as an artifact.

    from prefect import flow
    from prefect_dbt import PrefectDbtRunner
    from dbt_segconn.integrations.prefect import segconn_sync

    @flow
    def nightly():
        PrefectDbtRunner().invoke(["build"])
        segconn_sync(project_dir=Path("shop"), select=["tag:crm"])

The task accepts the options of `dbt_segconn.run`, and those of every task by `segconn_sync.with_options(retries=2)`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, cast

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger
from typing_extensions import ParamSpec

import dbt_segconn
from dbt_segconn.engine.gate import RunResult
from dbt_segconn.errors import SegconnError
from dbt_segconn.integrations.logs import LogListener, failures, summary

Options = ParamSpec("Options")
ARTIFACT = "segconn-syncs"
SHOWN = ("added", "updated", "deleted", "confirmed", "discarded")


def _as_task(run: Callable[Options, RunResult]) -> Callable[Options, dict[str, Any]]:
    """Return a function with the same options that returns plain values, for Prefect to keep."""

    # Prefect reads the parameters of a task from its signature
    @functools.wraps(run)
    def segconn_sync(*args: Options.args, **options: Options.kwargs) -> dict[str, Any]:
        """Deliver what dbt has refreshed. Raise SegconnError if a sync failed: a retry delivers what is left."""
        # Here and not earlier: the logger exists only inside a run of Prefect
        options.setdefault("listener", LogListener(cast("logging.Logger", get_run_logger())))
        result = run(*args, **options)
        # Before the error, so that a failed task shows its counts, too
        create_table_artifact(key=ARTIFACT, table=_table(summary(result)), description="Syncs to Segment")
        if not result.success:
            raise SegconnError(failures(result))
        return summary(result)

    return segconn_sync


def _table(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each mapping."""
    return [
        {
            "mapping": one["mapping"],
            "destination": one["destination"],
            "status": one["status"],
            **{name: one["counts"][name] for name in SHOWN},
            "message": one["message"] or "",
        }
        for one in result["syncs"]
    ]


segconn_sync = task(_as_task(dbt_segconn.run), name="segconn_sync", task_run_name="segconn")
