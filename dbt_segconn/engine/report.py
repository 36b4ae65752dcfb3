"""From results to lines like those of dbt, to JSON, and to the artifact target/segconn/run_results.json."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from dbt_segconn.engine.gate import Choice, RunResult, Skip, SyncResult
from dbt_segconn.engine.opening import Project
from dbt_segconn.errors import ConfigurationError, SegconnError, counted
from dbt_segconn.project.mappings import Mapping
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
