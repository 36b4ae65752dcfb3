"""Plan files: a run stages its changes and writes them for review. `run --apply` delivers exactly these changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from dbt_segconn.delivery.batches import discard_reason
from dbt_segconn.engine.delivering import unsent
from dbt_segconn.engine.gate import RunResult
from dbt_segconn.engine.guards import month_of
from dbt_segconn.engine.ranges import calls_of
from dbt_segconn.engine.report import as_json, check_writable, write_whole
from dbt_segconn.engine.sync import Sync
from dbt_segconn.errors import ConfigurationError, RecordError
from dbt_segconn.project.settings import PricingSettings
from dbt_segconn.state.tables import HistoryRow

# Incremented when `--apply` can no longer read older files
PLAN_VERSION = 1
# At most this many calls of each change type are in the file
SAMPLES = 3


class PlanFile:
    """Collects what the syncs of a run have staged, and writes it to a file. Syncs call `add` from several threads.

    Raises ConfigurationError if the file cannot be written.
    """

    def __init__(self, path: Path, pricing: PricingSettings | None) -> None:
        check_writable(path)
        self._path = path
        self._pricing = pricing
        self._samples: dict[str, list[dict[str, Any]]] = {}
        self._target: str | None = None
        self._calls_this_month = 0
        self._guard = threading.Lock()

    def add(self, sync: Sync, row: HistoryRow) -> None:
        """Keep a sample of the staged calls of a sync. `row` is its newest row."""
        samples = list(_samples(sync, row))
        with self._guard:
            # target and month are the same for all syncs: the first one reads them in its session
            if self._target is None:
                self._target = sync.state.session.place
                self._calls_this_month = sync.state.spent(month_of(row.started_at))
            self._samples[sync.mapping.id] = samples

    def write(self, result: RunResult) -> None:
        """Write the file. Only its owner can read it: it has values of rows. Raise SegconnError if that fails."""
        content = orjson.dumps(self._as_json(result), option=orjson.OPT_INDENT_2, default=str)
        write_whole(self._path, content, mode=0o600)

    def _as_json(self, result: RunResult) -> dict[str, Any]:
        artifact = as_json(result)
        syncs = [{**one, "samples": self._samples.get(one["mapping_id"], [])} for one in artifact["results"]]
        calls = sum(one["counts"]["to_send"] for one in syncs if one["status"] == "planned")
        return {
            "metadata": {**artifact["metadata"], "plan_version": PLAN_VERSION, "target": self._target},
            "calls": calls,
            "calls_this_month": self._calls_this_month,
            "cost": self._cost(calls),
            "syncs": syncs,
        }

    def _cost(self, calls: int) -> dict[str, Any] | None:
        """Return the cost of the calls, if segconn.yml has a price. Users are counted only by `estimate`."""
        price = self._pricing.api_calls if self._pricing else None
        if self._pricing is None or price is None:
            return None
        beyond = price.beyond(calls, self._calls_this_month)
        return {
            "api_calls": calls,
            "beyond_included": beyond,
            "price": price.of(beyond),
            "currency": self._pricing.currency,
        }


def _samples(sync: Sync, row: HistoryRow) -> Iterator[dict[str, Any]]:
    # with the sync id of the plan: `--apply` sends these calls with the same messageIds
    changes = unsent(sync, row)
    make_call = calls_of(changes, sync.mapping, sync.destination.config.write_key)
    for change_type, some in sync.tables.count().items():
        if change_type in changes.change_types:
            upto = min(some.last, some.first + SAMPLES)
            for change in sync.tables.read(changes.columns, [change_type], some.first - 1, upto)[:SAMPLES]:
                shown = {"change_type": change_type, "record_id": change[2]}
                try:
                    call = make_call(change)
                    reason = discard_reason(call)
                except RecordError as error:
                    call, reason = {}, str(error)
                yield {**shown, "discard": reason} if reason else {**shown, "call": call}


def read_plan(path: Path) -> dict[str, str]:
    """Return the planned syncs of a file: name of the mapping → id of the sync. Raise ConfigurationError."""
    try:
        content = orjson.loads(path.read_bytes())
        version = content["metadata"]["plan_version"]
        syncs = {str(one["name"]): str(one["sync_id"]) for one in content["syncs"] if one["status"] == "planned"}
    except OSError as error:
        raise ConfigurationError(f"--apply {path}: cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise ConfigurationError(
            f"--apply {path}: is not a plan. Write one with `dbt-segconn run --plan {path}`."
        ) from None
    if version != PLAN_VERSION:
        raise ConfigurationError(f"--apply {path}: is a plan of another version of dbt-segconn. Write a new one.")
    if not syncs:
        raise ConfigurationError(f"--apply {path}: the plan has no sync to deliver. Its messages say why.")
    return syncs
