"""Airflow: an operator that syncs, and a callback for Cosmos that keeps the results of each of its tasks.

    from dbt_segconn.integrations.airflow import SegconnRunOperator, keep_artifacts

    models = DbtTaskGroup(..., operator_args={"callback": keep_artifacts("/shared/segconn")})
    models >> SegconnRunOperator(
        task_id="segconn", project_dir="/srv/shop", artifacts="/shared/segconn", trigger_rule="all_done"
    )

Airflow 2.11 and 3, by the classes of apache-airflow-providers-common-compat.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator, Context

import dbt_segconn
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.integrations.logs import LogListener, failures, summary
from dbt_segconn.project.artifacts import MANIFEST_FILE
from dbt_segconn.project.run_results import RESULTS_FILE

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


class SegconnRunOperator(BaseOperator):
    """Deliver what dbt has refreshed, as `dbt-segconn run` does. A retry of the task delivers what is left.

    The task fails if a sync fails, discards records, or is held back because dbt failed; without a retry if the project
    is not valid. Its XCom `return_value` has the status and counts of each mapping. After a failure, the XCom `segconn`
    has them.

    Args:
        project_dir: Folder of dbt_project.yml.
        artifacts: Folder of `keep_artifacts`: the results of all dbt tasks of this DAG run are merged.
        target: Target of the profile. Default: the one of the last dbt invocation.
        profiles_dir: Folder of profiles.yml.
        select: Models to sync, in dbt's selection syntax.
        exclude: Models to leave out.
        mappings: Mappings to sync, as model.mapping.
        vars: Vars as in dbt's --vars.
        max_runtime: Seconds after which the run is interrupted. The next run delivers the rest.
        options: More options of `dbt_segconn.run`, by their names.

    """

    template_fields: Sequence[str] = (
        "project_dir",
        "artifacts",
        "target",
        "profiles_dir",
        "select",
        "exclude",
        "mappings",
        "vars",
        "options",
    )
    ui_color = "#d5f0e0"

    def __init__(  # noqa: PLR0913  each is an option that users template
        self,
        *,
        project_dir: str,
        artifacts: str | None = None,
        target: str | None = None,
        profiles_dir: str | None = None,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        mappings: Sequence[str] = (),
        vars: Mapping[str, Any] | None = None,  # noqa: A002  dbt's name
        max_runtime: float | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_dir = project_dir
        self.artifacts = artifacts
        self.target = target
        self.profiles_dir = profiles_dir
        self.select = select
        self.exclude = exclude
        self.mappings = mappings
        self.vars = vars
        self.max_runtime = max_runtime
        self.options = options
        # Set by on_kill, which Airflow calls in its handler of SIGTERM
        self._stop = threading.Event()

    def execute(self, context: Context) -> dict[str, Any]:
        """Sync. Raise AirflowFailException for errors in the project, and AirflowException for failed syncs."""
        if self.artifacts and "run_results" in (self.options or {}):
            raise AirflowFailException("artifacts and options['run_results'] both name dbt's results: set only one.")
        results = [str(_folder(self.artifacts, context) / "*")] if self.artifacts else []
        try:
            run = dbt_segconn.run(
                project_dir=Path(self.project_dir),
                profiles_dir=Path(self.profiles_dir) if self.profiles_dir else None,
                target=self.target,
                select=self.select,
                exclude=self.exclude,
                mappings=self.mappings,
                vars=self.vars,
                max_runtime=self.max_runtime,
                listener=LogListener(self.log),
                stop=self._stop,
                **{"run_results": results, **(self.options or {})},
            )
        # A retry cannot correct the project
        except ConfigurationError as error:
            raise AirflowFailException(str(error)) from None
        result = summary(run)
        if not run.success:
            # A task that fails returns no value
            context["ti"].xcom_push(key="segconn", value=result)
            raise AirflowException(failures(run))
        return result

    def on_kill(self) -> None:
        """End the run: calls in flight are confirmed and saved. Airflow kills the process 5 seconds later."""
        self._stop.set()


def keep_artifacts(folder: str) -> Callable[..., None]:
    """Return a callback for Cosmos' `operator_args`: it copies dbt's artifacts of each task into a shared folder.

    Cosmos runs dbt in a temporary folder and deletes it after the callback. Tasks on several machines need a folder
    that all of them see. Use `ExecutionMode.WATCHER`, or `TestBehavior.BUILD`: with other test behaviors, tests are
    tasks of their own, and each needs the callback as well.
    """

    def keep(project_dir: str, *, context: Context, **_: Any) -> None:
        target = Path(project_dir) / "target"
        # Cosmos calls this before it raises dbt's failure: an error here would hide that failure
        if not all((target / name).is_file() for name in (MANIFEST_FILE, RESULTS_FILE)):
            return  # dbt has not started
        instance = context["ti"]
        # Mapped tasks share a task id
        name = f"{instance.task_id}-{getattr(instance, 'map_index', -1)}"
        there = _folder(folder, context) / _NOT_IN_NAMES.sub("_", name)
        there.mkdir(parents=True, exist_ok=True)
        for name in (MANIFEST_FILE, RESULTS_FILE):
            shutil.copyfile(target / name, there / name)

    return keep


def _folder(artifacts: str | None, context: Context) -> Path:
    """Return the folder of a DAG run. Run ids hold colons and plus signs."""
    return Path(str(artifacts)) / _NOT_IN_NAMES.sub("_", f"{context['dag'].dag_id}-{context['run_id']}")
