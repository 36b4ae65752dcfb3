"""A share: a range of an outbox's change numbers that is delivered by itself, here or by a worker elsewhere."""

from __future__ import annotations

from collections import abc
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol
from zlib import crc32

from dbt_segconn.delivery import Delivery, Progress
from dbt_segconn.engine.calls import CallMaker, Made, subject_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.timings import Spent
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.values import Column

# Changes read from the outbox at once, and values and bytes: enough for the warehouse, few enough for memory. The first
# page is small, since nobody knows yet how wide the rows are
PAGE = 30_000
PAGE_VALUES = 300_000
PAGE_BYTES = 4_000_000
FIRST_PAGE, GROWTH = 50, 4
SMALLEST_PAGE = 1_000
SAMPLED_ROWS = 50
# What a value takes besides its text
VALUE_BYTES = 60
# Changes handed to delivery at once; between two portions the watermark may be saved
PORTION = 2_500


@dataclass(frozen=True, slots=True)
class Range:
    """The changes above `after` up to `upto`, with all that whoever delivers them must know of their sync.

    It holds no secret: a worker reads segconn.yml itself, and `fingerprint` tells whether its write key is the same.
    `among` counts the workers that share the destination's rate; `token` is the lock's. `keeps_identifiers`: there are
    deleted records, and they were known by the identifier that the mapping has now. Of `parts` shares of the same
    changes, each holds the calls of its own users, and is the one numbered `part`.
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
    """How far a worker came with a share, and what has ended it early, if anything did."""

    progress: Progress
    failure: str | None = None
    canceled: bool = False
    notes: tuple[str, ...] = ()
    spent: abc.Mapping[str, Spent] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the share is done."""
        return not self.failure and not self.canceled


class Workers(Protocol):
    """Those who deliver shares. They may die: whoever submits a share hands it in again then.

    `may_repeat`: a share may be begun anew without anybody being told.
    """

    may_repeat: bool

    @property
    def count(self) -> int:
        """How many there are."""

    def submit(self, share: Range) -> Future[RangeResult]:
        """Hand in a share."""

    def is_lost(self, error: BaseException) -> bool:
        """Say whether the error of a share means that its worker has died."""

    def are_gone(self) -> str | None:
        """Say why none of them will ever answer, where that is so."""

    def stop(self) -> None:
        """Tell all workers to finish what is in flight, and start nothing more."""


def calls_of(share: Range, mapping: Mapping, write_key: str) -> CallMaker:
    """Return what makes the calls of a share."""
    return CallMaker(
        mapping,
        share.columns,
        write_key=write_key,
        sync_id=share.sync_id,
        started_at=share.started_at,
        keeps_identifiers=share.keeps_identifiers,
    )


def _own(share: Range, made: Made) -> Made:
    """Keep the calls of the share's own users. Every process must decide alike, which `hash` would not."""
    if share.parts == 1:
        return made
    own = [
        at
        for at, call in enumerate(made.calls)
        if crc32(subject_of(call).encode(errors="surrogatepass")) % share.parts == share.part
    ]
    return replace(made, numbers=[made.numbers[at] for at in own], calls=[made.calls[at] for at in own])


def send(share: Range, calls: CallMaker, tables: MappingTables, lock: Lock, delivery: Delivery) -> Iterator[None]:
    """Hand the calls of a share to a delivery, a portion at a time, as long as the lock is ours."""
    measure = delivery.timings.measure

    def discard(number: int, reason: str) -> None:
        if number % share.parts == share.part:  # every part meets a change without a call, and one of them counts it
            delivery.discard(number, reason)

    def send_page(after: int, upto: int) -> Generator[None, None, float]:
        with measure("fetch"):
            page = tables.read(share.columns, share.change_types, after, upto, with_record=calls.reads_record)
        lock.confirm()  # after reading: another's outbox may stand under the same name
        for at in range(0, len(page), PORTION):
            with measure("map"):
                made = _own(share, calls.many(page[at : at + PORTION], discard))
            delivery.send(made.numbers, made.calls, are_checked=made.are_checked)
            yield
        return _width(page)

    most = max(SMALLEST_PAGE, min(PAGE, PAGE_VALUES // max(1, len(share.columns))))
    low, size = share.after, min(FIRST_PAGE, most)
    while low < share.upto:  # each page is freed before the next one is read
        upto = min(low + size, share.upto)
        width = yield from send_page(low, upto)
        low, size = upto, max(1, min(most, GROWTH * size, int(PAGE_BYTES / width) if width else most))


def _width(page: Sequence[Row]) -> float:
    """Return about how many bytes a row of a page takes; 0 for an empty page."""
    rows = page[:: max(1, len(page) // SAMPLED_ROWS)]
    bytes_of_texts = sum(len(value) for row in rows for value in row if isinstance(value, (str, bytes, memoryview)))
    return (bytes_of_texts / len(rows) + VALUE_BYTES * len(rows[0])) if rows else 0.0
