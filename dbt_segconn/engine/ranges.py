"""A range of change numbers: delivered by itself, in this process or by a worker."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol
from zlib import crc32

from dbt_segconn.delivery import Delivery, Progress
from dbt_segconn.engine.calls import CallMaker, Made, subject_of
from dbt_segconn.process_tuning import Spent
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Column

# Changes read from the outbox at once, and values and bytes: enough for the warehouse, few enough for memory. The first
# page is small: the width of the rows is unknown until then
PAGE = 30_000
PAGE_VALUES = 300_000
PAGE_BYTES = 2_000_000
FIRST_PAGE, GROWTH = 50, 4
SMALLEST_PAGE = 1_000
SAMPLED_ROWS = 50
# Changes handed to the delivery at once; the watermark may be saved between two chunks
CHUNK = 2_500


@dataclass(frozen=True, slots=True)
class Range:
    """The changes above `after` up to `upto`, with what a worker needs to know about their sync.

    It holds no secret: a worker reads segconn.yml itself. `fingerprint` is equal if its write key is the same. `among`
    counts the workers that share the rate of the destination. `token` is of the lock. `keeps_identifiers`: there are
    deleted records, and the mapping still has their identifier. If calls are ordered, the same changes are given to
    `parts` workers, and each makes the calls of its own users: those of `part`.
    """

    run_id: str
    mapping_id: str
    sync_id: str
    started_at: datetime
    definition: str
    fingerprint: str
    change_types: tuple[str, ...]
    columns: tuple[Column, ...]
    token: str
    after: int
    upto: int
    among: int = 1
    part: int = 0
    parts: int = 1
    keeps_identifiers: bool = False


@dataclass(frozen=True, slots=True)
class RangeResult:
    """How far a worker came with a range. `failure` is what ended it early."""

    progress: Progress
    failure: str | None = None
    canceled: bool = False
    notes: tuple[str, ...] = ()
    spent: abc.Mapping[str, Spent] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the whole range is delivered."""
        return not self.failure and not self.canceled


class Workers(Protocol):
    """Processes that deliver ranges. A range of a worker that died must be submitted again.

    `may_repeat`: a range may be delivered twice without notice, under the same messageIds.
    """

    may_repeat: bool

    @property
    def count(self) -> int:
        """The number of workers."""

    def submit(self, changes: Range) -> Future[RangeResult]:
        """Submit a range."""

    def is_lost(self, error: BaseException) -> bool:
        """Check whether the exception of a range means that its worker has died."""

    def are_gone(self) -> str | None:
        """Return the reason if no worker will ever answer."""

    def stop(self) -> None:
        """Stop all workers after the calls in flight."""


def calls_of(changes: Range, mapping: Mapping, write_key: str) -> CallMaker:
    """Return what makes the calls of a changes."""
    return CallMaker(
        mapping,
        changes.columns,
        write_key=write_key,
        sync_id=changes.sync_id,
        started_at=changes.started_at,
        keeps_identifiers=changes.keeps_identifiers,
    )


def _own(changes: Range, made: Made) -> Made:
    """Keep the calls of the users of this part. Python's `hash` would differ between processes."""
    if changes.parts == 1:
        return made
    own = [
        at
        for at, call in enumerate(made.calls)
        if crc32(subject_of(call).encode(errors="surrogatepass")) % changes.parts == changes.part
    ]
    return replace(made, numbers=[made.numbers[at] for at in own], calls=[made.calls[at] for at in own])


def send(
    changes: Range,
    calls: CallMaker,
    tables: MappingTables,
    lock: Lock,
    delivery: Delivery,
    report: Callable[[], None] = lambda: None,
) -> None:
    """Make the calls of a range and hand them to a delivery. Call `report` after each chunk.

    Raise LockedError if the lock was lost.
    """
    most = max(SMALLEST_PAGE, min(PAGE, PAGE_VALUES // max(1, len(changes.columns))))
    low, size = changes.after, min(FIRST_PAGE, most)
    while low < changes.upto:  # each page is freed before the next one is read
        upto = min(low + size, changes.upto)
        width = _send_page(replace(changes, after=low, upto=upto), calls, tables, lock, delivery, report)
        low, size = upto, max(1, min(most, GROWTH * size, int(PAGE_BYTES / width) if width else most))


def _send_page(
    changes: Range,
    calls: CallMaker,
    tables: MappingTables,
    lock: Lock,
    delivery: Delivery,
    report: Callable[[], None],
) -> float:
    """Send one page. Return the average size of its rows in bytes."""
    measure = delivery.timings.measure

    def discard(number: int, reason: str) -> None:
        if number % changes.parts == changes.part:  # every part meets a change without a call: one of them counts it
            delivery.discard(number, reason)

    with measure("fetch"):
        page = tables.read(
            changes.columns, changes.change_types, changes.after, changes.upto, with_record=calls.reads_record
        )
    lock.confirm()  # after the read: another process may have staged an outbox of the same name
    for at in range(0, len(page), CHUNK):
        with measure("map"):
            made = _own(changes, calls.many(page[at : at + CHUNK], discard))
        delivery.send(made.numbers, made.calls, are_checked=made.are_checked)
        report()
    return _width(page)


def _width(page: Sequence[Row]) -> float:
    """Return the average length of the texts in a row; 0 for an empty page."""
    rows = page[:: max(1, len(page) // SAMPLED_ROWS)]
    length = sum(len(value) for row in rows for value in row if isinstance(value, (str, bytes, memoryview)))
    return length / len(rows) if rows else 0.0
