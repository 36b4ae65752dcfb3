"""Reports of a run: lines like those of dbt, JSON, target/segconn/run_results.json, plan files for `run --apply`."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from dbt_segconn.delivery.batches import discard_reason
from dbt_segconn.engine.delivering import unsent
from dbt_segconn.engine.gate import Choice, RunResult, Skip, SyncResult
from dbt_segconn.engine.guards import month_of
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.ranges import calls_of
from dbt_segconn.engine.sync import Sync
from dbt_segconn.errors import ConfigurationError, RecordError, SegconnError, counted
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import PricingSettings
from dbt_segconn.state.tables import COUNTS, HistoryRow
from dbt_segconn.version import __version__

# Incremented if a field of the artifact is removed or changes its meaning. New fields may be added at any time
ARTIFACT_VERSION = 1
ARTIFACT = Path("segconn") / "run_results.json"
# Characters of a line up to its result in brackets, as in dbt
WIDTH = 80

ARTIFACT_FIELDS = {
    "metadata.schema_version": "Version of this format. New fields may appear; others keep their meaning in a version.",
    "metadata.dbt_segconn_version": "Version of dbt-segconn.",
    "metadata.run_id": "Id of the run.",
    "metadata.generated_at": "Start of the run.",
    "elapsed_seconds": "Duration of the run.",
    "success": "Whether every sync delivered every record, and dbt's failures skipped no mapping.",
    "results[].name": "Mapping, as model.mapping.",
    "results[].model": "Unique id of the dbt model.",
    "results[].destination": "Destination of segconn.yml.",
    "results[].action": "identify, track, group, page or screen.",
    "results[].mapping_id": "Id of the mapping in the state tables.",
    "results[].status": "success, partial, failed, blocked, canceled, planned or skipped.",
    "results[].message": "Reason of a status other than success.",
    "results[].is_failure": "Skipped mappings only: whether a failure of dbt, or --fail-fast, is the reason.",
    "results[].seconds": "Duration of the sync.",
    "results[].sync_id": "Id of the sync in the history; null before its first history row.",
    "results[].counts.confirmed_by_this_run": "Calls that Segment accepted in this run.",
    "results[].counts.resumed_by_this_run": "Calls among them that an earlier run had left.",
    "results[].resumed_sync": "Earlier sync that this run finished first: sync_id, status and counts; else null.",
    "results[].violations": "Violations of the tracking plan by calls of this run: rule, field, kind (a keyword of "
    "JSON Schema, or unplanned), count, and sample: the messageId of the first call, unless the mapping "
    "sets it.",
    "results[].timing": "Wall clock and CPU seconds of each step: seconds, cpu_seconds.",
}
"""Path → meaning, for the manual. `results[].counts` also has each count of the history."""


# Status → the beginning of the sync's line, and the word under which the last line counts the sync
_WORDS = {
    "success": ("OK synced", "OK"),
    "partial": ("PARTIAL synced", "PARTIAL"),
    "failed": ("ERROR syncing", "ERROR"),
    "blocked": ("BLOCKED by its guards", "ERROR"),
    "canceled": ("CANCELED", "ERROR"),
    "planned": ("OK planned", "OK"),
}
# Incremented when `--apply` can no longer read older files
PLAN_VERSION = 1
# At most this many calls of each change type are in the file
SAMPLES = 3


def results_lines(project: Project, choice: Choice) -> Iterator[str]:
    """Yield lines about dbt's results: whether they gate the run, and whether a run has used them before."""
    results = project.results
    no_gate = "models are taken as they are, and no failed dbt test holds one back"
    if results is None:
        yield f"dbt's results are not used: {no_gate}."
        return
    if results.lacks_results:
        yield f"dbt's last results are of `dbt {results.newest.command}`, which builds and tests nothing: {no_gate}."
    if choice.used:
        when = max(row.started_at for _, row in choice.used)
        used = counted(len(choice.used), "mapping")
        yield (
            f"{results.newest} was synced before, at {when:%Y-%m-%d %H:%M:%S} UTC: {used} left alone until dbt runs "
            f"again. With --all, {no_gate}."
        )


def versions_line(project: Project) -> str | None:
    """Return a line with the versions of models that are not synced; None if all are synced."""
    synced = {mapping.model.unique_id for mapping in project.mappings}
    mapped = (one for one in project.manifest.models if isinstance(one.meta, dict) and one.meta.get("mappings"))
    names = ", ".join(one.name for one in mapped if one.version and one.unique_id not in synced)
    return f"Not synced, by `versions` of their mappings (latest by default): {names}." if names else None


def untouched_line(project: Project, choice: Choice) -> str:
    """Return a line with the number of mappings whose models dbt has not refreshed."""
    is_of_dbt2 = project.results and project.results.newest.is_of_dbt2
    retry = " Was it `dbt retry`? dbt 2 does not record that." if is_of_dbt2 else ""
    return (
        f"{counted(len(choice.untouched), 'mapping')} left alone: the last dbt invocation did not refresh the model."
        f"{retry} (--all takes models as they are, and then no failed dbt test holds one back)"
    )


def start_line(number: int, total: int, name: str, destination: str) -> str:
    """Return the line of a sync that starts."""
    return _dotted(f"{number} of {total} START sync {name} to {destination}", "RUN")


def end_line(number: int, total: int, result: SyncResult) -> str:
    """Return the line of a sync that has ended, with the counts of its changes."""
    word, _ = _WORDS[result.status]
    if result.status == "success" and result.row and _is_remembered(result.row):
        word = "OK remembered"
    counts = _counts(result.row, result.resumed) if result.row else ""
    return _dotted(f"{number} of {total} {word} {result.mapping.name}", f"{counts}in {result.seconds:.2f}s")


def timing_lines(result: SyncResult) -> Iterator[str]:
    """Yield the seconds of each step of a sync, and its CPU seconds per million calls."""
    for step, spent in result.spent.items():
        each = spent.cpu_seconds / result.confirmed * 1e6 if result.confirmed else 0.0
        per_million = f", {each:.2f} s per million calls" if each else ""
        yield f"  {step:<9} {spent.seconds:8.2f} s, of CPU {spent.cpu_seconds:.2f} s{per_million}"


def skip_line(skip: Skip) -> str:
    """Return the line of a mapping that is skipped, with the reason."""
    return _dotted(f"SKIP {skip.mapping.name}", skip.reason)


def _dotted(text: str, ending: str) -> str:
    return f"{text} {'.' * max(3, WIDTH - len(text) - 1)} [{ending}]"


def _is_remembered(row: HistoryRow) -> bool:
    """Check whether records were found but none is sent: a baseline, or a mapping that sends only deleted records."""
    return bool(row.added + row.updated) and not row.to_send


def _counts(row: HistoryRow, resumed: int) -> str:
    found = {"ADDED": row.added, "UPDATED": row.updated, "DELETED": row.deleted}
    numbers = {
        **({"RECORDS": row.added + row.updated} if _is_remembered(row) else found),
        "LEFT OUT": row.left_out,
        "HELD BACK": row.held_back,
        "DISCARDED": row.discarded,
        "RESUMED": resumed,
    }
    text = "".join(f"{name} {count} " for name, count in numbers.items() if count or name in found)
    text += "SENT 0 " if _is_remembered(row) else ""
    # the calls that are not confirmed stay in the outbox
    unsettled = row.to_send and row.status in {"failed", "canceled"}
    return f"{text}CONFIRMED {row.confirmed} of {row.to_send} " if unsettled else text


def closing_lines(run: RunResult) -> Iterator[str]:
    """Yield a summary of the run, as dbt does: what failed and why, then one line of counts."""
    sent = sum(result.confirmed for result in run.results)
    yield f"Finished {counted(len(run.results), 'sync')} in {run.seconds:.2f}s: {counted(sent, 'call')} confirmed."
    for result in run.results:
        if result.message:
            yield ""
            yield f"{_WORDS[result.status][1].capitalize()} in {result.mapping.name} ({result.mapping.model.file})"
            yield f"  {result.message}"
    counts = Counter(_WORDS[result.status][1] for result in run.results)
    counts["SKIP"] = len(run.skipped)
    yield ""
    words = " ".join(f"{word}={counts[word]}" for word in ("OK", "PARTIAL", "ERROR", "SKIP"))
    yield f"Done. {words} TOTAL={counts.total()}"


def as_json(run: RunResult) -> dict[str, Any]:
    """Return the artifact as JSON, with an object for each sync and each skipped mapping: see ARTIFACT_FIELDS."""
    return {
        "metadata": {
            "schema_version": ARTIFACT_VERSION,
            "dbt_segconn_version": __version__,
            "run_id": run.run_id,
            "generated_at": run.started_at.isoformat(),
        },
        "elapsed_seconds": round(run.seconds, 3),
        "success": run.success,
        "results": [_result(result) for result in run.results] + [_skipped(skip) for skip in run.skipped],
    }


def _result(result: SyncResult) -> dict[str, Any]:
    row = result.row
    return {
        **_of_sync(result.mapping),
        "status": result.status,
        "message": result.message,
        "seconds": round(result.seconds, 3),
        "sync_id": row.sync_id if row else None,
        "counts": result.counts,
        "resumed_sync": _resumed(result.resumed_row),
        "violations": result.violations.as_json(),
        "timing": {step: spent._asdict() for step, spent in result.spent.items()},
    }


def _resumed(row: HistoryRow | None) -> dict[str, Any] | None:
    """Return the earlier sync that this run delivered before the sync; None if there was none."""
    if row is None:
        return None
    counts = {name: getattr(row, name) for name in COUNTS}
    return {"sync_id": row.sync_id, "status": row.status, "counts": counts}


def _skipped(skip: Skip) -> dict[str, Any]:
    return {
        **_of_sync(skip.mapping),
        "status": "skipped",
        "message": skip.reason,
        "seconds": 0.0,
        "sync_id": None,
        "counts": skip.counts,
        "is_failure": skip.is_failure,
    }


def _of_sync(mapping: Mapping) -> dict[str, Any]:
    return {
        "name": mapping.name,
        "model": mapping.model.unique_id,
        "destination": mapping.destination,
        "action": mapping.meta.action,
        "mapping_id": mapping.id,
    }


def held_back_by(target_dir: Path) -> set[str]:
    """Return the ids of the mappings that the last run on this machine skipped because of a failure of dbt."""
    try:
        results = orjson.loads((target_dir / ARTIFACT).read_bytes())["results"]
        return {str(one["mapping_id"]) for one in results if one.get("is_failure")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # no file, or no artifact in it
        return set()


def write_artifact(run: RunResult, target_dir: Path) -> None:
    """Write target/segconn/run_results.json. Raise SegconnError if that fails."""
    path = target_dir / ARTIFACT
    with suppress(OSError):  # the file cannot be written then, which raises
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, orjson.dumps(as_json(run), option=orjson.OPT_INDENT_2))


def check_writable(path: Path) -> None:
    """Raise ConfigurationError if a file cannot be written, before a run has something to write."""
    draft = _draft_of(path)
    try:
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}.") from None


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file completely or not at all. Raise SegconnError if that fails."""
    # renamed once it is complete: a reader never sees a part of it. Two runs write two drafts
    draft = _draft_of(path)
    try:
        draft.unlink(missing_ok=True)  # left by a process with the same id, or planted: it has another owner or mode
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise SegconnError(f"{path}: cannot be written: {error.strerror}") from None


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
