"""Mappings with nothing to send: many are compared, and written to the history, with a few statements.

With 300 of them, a further mapping takes 0.2 statements (`tests/bench/idle.py`) instead of about ten.
"""

from __future__ import annotations

import time
from collections import abc
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from dbt_segconn.engine.gate import SyncResult
from dbt_segconn.engine.steps import held_back_note, window_note
from dbt_segconn.engine.sync import RunContext, first_row
from dbt_segconn.errors import WarehouseError
from dbt_segconn.process_tuning import Spent
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.checkpoint import Window
from dbt_segconn.state.diff import Diff
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, State, open_state
from dbt_segconn.warehouse.source import Source

# At most this many mappings are locked and written together
GROUP = 100
# A mapping with more records is compared only once, by the statement that stages its outbox
COMPARED_FIRST = 20_000
# The limits of one statement: the planners of some warehouses are slow above them
DIFFS_TOGETHER, COLUMNS_TOGETHER = 20, 500


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mapping that may have nothing to send. `last` is its newest row in the history, `row` the row to write."""

    mapping: Mapping
    source: Source
    tables: MappingTables
    last: HistoryRow | None
    row: HistoryRow
    window: Window | None = None

    @property
    def is_same(self) -> bool:
        """Whether the last sync settled all changes, and read the same columns of the same relation in the same way."""
        last, row = self.last, self.row
        return (
            last is not None
            and last.status == "success"
            and (last.read_from, last.definition) == (row.read_from, row.definition)
        )


def groups_of(mappings: Sequence[Mapping], threads: int) -> Iterator[Sequence[Mapping]]:
    """Divide the mappings of a run by its threads, into groups of DIFFS_TOGETHER to GROUP."""
    size = max(DIFFS_TOGETHER, min(GROUP, -(-len(mappings) // threads)))
    return (mappings[at : at + size] for at in range(0, len(mappings), size))


def sync_idle(mappings: Sequence[Mapping], sources: abc.Mapping[str, Source], run: RunContext) -> dict[str, SyncResult]:
    """Sync the mappings that have nothing to send. Return their results by mapping id; leave the others to `run_sync`.

    No mapping is locked while models are compared. Once its lock is held, a row is written only if the history has no
    newer row of its mapping. So its records did not change in the meantime.
    """
    # the first three have work to do even without changes; `applied` delivers an outbox
    if run.full_refresh or run.baseline or run.retry or run.applied is not None:
        return {}
    began, cpu = time.perf_counter(), time.thread_time()
    try:
        with open_state(run.warehouse, run.settings, "idle") as state:
            found = _write(state, run, list(_idle(state, run, _candidates(state, run, mappings, sources))))
    except Exception:  # noqa: BLE001  each sync meets the same error, and reports it
        return {}
    # the statements are common to all: each mapping gets an equal part of the time
    share = max(1, len(found))
    spent = Spent((time.perf_counter() - began) / share, (time.thread_time() - cpu) / share)
    return {
        one.mapping.id: SyncResult(one.mapping, "success", spent.seconds, row=one.row, spent={"stage": spent})
        for one in found
    }


def _candidates(
    state: State, run: RunContext, mappings: Iterable[Mapping], sources: abc.Mapping[str, Source]
) -> list[Candidate]:
    """Return the mappings with few records whose tables are as their last sync left them: records, and no outbox."""
    newest = {row.mapping_id: row for row in state.last_syncs()}
    found = []
    for mapping in mappings:
        source = sources[mapping.id]
        row = replace(first_row(mapping, source, run), sync_mode=",".join(mapping.meta.sync_mode))
        found.append(Candidate(mapping, source, MappingTables(state, mapping.id), newest.get(mapping.id), row))
    found = [one for one in found if one.is_same]
    present = state.present(*(table for one in found for table in (one.tables.records, one.tables.outbox)))
    settled = [
        one
        for one in found
        if one.tables.records.identifier.lower() in present and one.tables.outbox.identifier.lower() not in present
    ]
    known = state.count_few([one.tables.records for one in settled], COMPARED_FIRST + 1)
    # without records, each row of the model would be added
    return [one for one, count in zip(settled, known, strict=True) if 0 < count <= COMPARED_FIRST]


def _idle(state: State, run: RunContext, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield the mappings without changes, with the rows to write."""
    widest = max((len(one.source.columns) for one in candidates), default=1)
    size = max(1, min(DIFFS_TOGETHER, COLUMNS_TOGETHER // max(1, widest)))
    discarded = state.mappings_with_discards() if candidates else ()
    for at in range(0, len(candidates), size):
        if run.stop.is_set():
            return
        # if one model cannot be read, the general way syncs all mappings of this statement, and reports the error
        with suppress(WarehouseError):
            compared = [one for some in candidates[at : at + size] if (one := _with_diff(some, discarded))]
            work = state.count_work([diff for _, diff in compared])
            yield from (_counted(one) for (one, _), count in zip(compared, work, strict=True) if not count)


def _with_diff(one: Candidate, discarded: Collection[str]) -> tuple[Candidate, Diff] | None:
    window = one.tables.window(one.mapping, one.source)
    checkpoint = one.tables.checkpoint(one.mapping, one.source, window, one.row.started_at)
    diff = one.tables.whole_diff(one.mapping, one.source, window)
    if diff and one.mapping.id not in discarded:
        diff = replace(diff, discards=None)
    return (replace(one, row=replace(one.row, checkpoint=checkpoint), window=window), diff) if diff else None


def _counted(one: Candidate) -> Candidate:
    held_back = one.tables.count_held_back(one.mapping, one.source)
    return replace(one, row=replace(one.row, held_back=held_back))


def _write(state: State, run: RunContext, idle: Sequence[Candidate]) -> list[Candidate]:
    """Write the last rows of the mappings that no other process holds or has synced in the meantime.

    Report their notes, and return them.
    """
    written: list[Candidate] = []

    def write(free: Collection[str]) -> None:
        newest = {row.mapping_id: row for row in state.last_syncs()}
        kept = [one for one in idle if one.mapping.id in free and newest.get(one.mapping.id) == one.last]
        now = run.now()
        ended = [replace(one, row=one.row.next(now, status="success", finished_at=now)) for one in kept]
        state.append(state.history, [one.row for one in ended])
        written[:] = ended

    if idle:
        run.locks.write(state, [one.mapping.id for one in idle], write)
    for one in written:
        for text in (*window_note(one.source, one.window), *held_back_note(one.row)):
            run.listener.note(one.mapping, text)
    return written
