"""dbt-segconn: reverse ETL from dbt models to Segment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dbt_segconn.version import __version__

__all__ = ["__version__", "run"]

if TYPE_CHECKING:
    from dbt_segconn.engine.listener import Listener
    from dbt_segconn.engine.results import RunResult


def run(*, listener: Listener | None = None, stop: threading.Event | None = None, **options: Any) -> RunResult:
    """Deliver what has changed in the models that dbt has just refreshed: `dbt-segconn run` from Python.

    `options` are those of the command under their names with underscores, as in `runs.opening.Options`:
    `run(project_dir=Path("shop"), select=["customers"], full_refresh=True)`. `listener` hears of every
    step; setting `stop` ends the run as Ctrl-C ends the command. One run at a time: dbt's adapters belong to
    the process. The working directory stays what it is, and relative folders start there.

    Returns a result with `success`, one `SyncResult` a mapping in `results`, and `warnings`: what went wrong
    beside the syncs, such as target/segconn/run_results.json that could not be written. Raises
    ConfigurationError, with all `problems`, where nothing could be started; what happens to a single sync, a bug
    as well, stands in its result.
    """
    from dbt_segconn.engine import opening
    from dbt_segconn.engine import run as engine
    from dbt_segconn.engine.listener import Listener  # dbt takes seconds to import
    from dbt_segconn.process_tuning import collect_after_run

    try:
        return engine.run(opening.Options(**options), listener or Listener(), stop or threading.Event())
    finally:
        collect_after_run()
