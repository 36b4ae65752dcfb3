"""A range of change numbers, and its delivery: in this process, or by a worker."""

from __future__ import annotations

from collections import abc, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol
from zlib import crc32

from dbt_segconn.delivery import Delivery, Progress, Request
from dbt_segconn.engine.calls import CallMaker, Made, subject_of
from dbt_segconn.errors import WarehouseError
from dbt_segconn.process_tuning import Spent
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.tracking_plan import ViolationCounts
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.warehouse.session import PagedQuery, Row
from dbt_segconn.warehouse.source import Column

# The limits of a page, which one query reads from the outbox: changes, values and bytes. They bound memory. The first
# page is small, because the width of the rows is not known before
PAGE = 30_000
PAGE_VALUES = 300_000
PAGE_BYTES = 2_000_000
FIRST_PAGE, GROWTH = 50, 4
SMALLEST_PAGE = 1_000
# Rows of a page whose width is measured
SAMPLED_ROWS = 50
# Changes that are passed to the delivery at once. The watermark may be saved between two chunks
CHUNK = 2_500
# For calls that the warehouse writes: changes and bytes of a page, calls of a group in the first page, and bytes of a
# group in later pages, once the size of calls is known
WRITTEN_PAGE, WRITTEN_PAGE_BYTES = 60_000, 24_000_000
GROUP_CALLS, GROUP_BYTES = 16, 40_000
# The last changes of a range, up to this number, are not read ahead: a session must be opened for each reader. A reader
# keeps one core of the warehouse busy
READ_AHEAD, READERS = 50_000, 2
# Up to this many single changes are read by a list of their numbers; more are read with their whole range
MOST_NUMBERS = 500


@dataclass(frozen=True, slots=True)
class Range:
    """The changes with numbers above `after` and up to `upto`, with what a worker needs to know about their sync.

    It holds no secret: a worker reads segconn.yml itself. If the worker's write key is that of the run, it computes the
    same `fingerprint`. `token` is that of the lock. `among` counts the workers that share the rate of the destination.
    `keeps_identifiers`: there are deleted records, and their unique identifier is still that of the mapping. If calls
    are ordered, `parts` workers get the same changes, and each makes the calls of its own users, which belong to its
    `part`. `integrations` are those of --integrations. With `observes_requests`, the result has the requests.
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
    integrations: str | None = None
    observes_requests: bool = False


@dataclass(frozen=True, slots=True)
class RangeResult:
    """The progress of a worker with a range. `failure` is the error that ended it early."""

    progress: Progress
    failure: str | None = None
    canceled: bool = False
    notes: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    spent: abc.Mapping[str, Spent] = field(default_factory=dict)
    violations: ViolationCounts = field(default_factory=ViolationCounts)

    @property
    def is_whole(self) -> bool:
        """Whether the whole range is delivered."""
        return not self.failure and not self.canceled


class Workers(Protocol):
    """Processes that deliver ranges. A range whose worker died must be submitted again.

    `may_repeat`: a range may be delivered twice without a report of it, with the same messageIds.
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


def calls_of(changes: Range, mapping: Mapping, write_key: str, violations: ViolationCounts | None = None) -> CallMaker:
    """Return the maker of the calls of a range. It counts violations of the tracking plan in `violations`."""
    return CallMaker(
        mapping,
        changes.columns,
        write_key=write_key,
        sync_id=changes.sync_id,
        started_at=changes.started_at,
        keeps_identifiers=changes.keeps_identifiers,
        violations=violations,
    )


def _own(changes: Range, made: Made) -> Made:
    """Keep the calls of the users of this part, by a checksum: Python's `hash` of a text differs between processes."""
    if changes.parts == 1:
        return made
    own = [
        at
        for at, call in enumerate(made.calls)
        if crc32(subject_of(call).encode(errors="surrogatepass")) % changes.parts == changes.part
    ]
    return made.only(own)


OpenTables = Callable[[], AbstractContextManager[MappingTables]]
"""Open the tables of a mapping in a new session, for the thread that calls it."""


class Readers:
    """Threads that read pages, each in a session of its own. Close them: that closes the sessions."""

    def __init__(self, open_tables: OpenTables) -> None:
        self._open_tables = open_tables
        self._jobs: SimpleQueue[tuple[Callable[[MappingTables], list[Row]], Future[list[Row]]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name="segconn-reader", daemon=True) for _ in range(READERS)]
        for thread in self._threads:
            thread.start()

    def submit(self, read: Callable[[MappingTables], list[Row]]) -> Future[list[Row]]:
        """Let the next free thread read a page."""
        page: Future[list[Row]] = Future()
        self._jobs.put((read, page))
        return page

    def close(self) -> None:
        """Read no further page, and wait for those that are being read."""
        with suppress(Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        # what fails when the session is closed has no reader any more
        with suppress(WarehouseError), ExitStack() as session:
            tables: MappingTables | None = None
            while job := self._jobs.get():
                read, page = job
                try:
                    tables = tables or session.enter_context(self._open_tables())
                    page.set_result(read(tables))
                except BaseException as error:  # noqa: BLE001  the run's thread raises it
                    page.set_exception(error)


def send(
    changes: Range,
    calls: CallMaker,
    tables: MappingTables,
    lock: Lock,
    delivery: Delivery,
    report: Callable[[], None] = lambda: None,
    open_tables: OpenTables | None = None,
) -> None:
    """Make the calls of a range and pass them to a delivery. Call `report` after each chunk.

    With `open_tables`, the pages of a large range are read ahead. Raise LockedError if the lock was lost.
    """
    with delivery.timings.measure("map"):
        call = calls.written(tables.written_types())
        query = tables.query_calls(call, changes.change_types) if call and changes.after < changes.upto else None
    _RangeSender(
        changes,
        calls,
        tables,
        lock,
        delivery,
        report,
        open_tables,
        query,
        after=changes.after,
        size=FIRST_PAGE,
        group=GROUP_CALLS,
    ).send_all()


@dataclass(frozen=True, slots=True)
class _Page:
    """Changes above the number `after` and up to `upto`. `is_written`: the warehouse writes their calls.

    `ahead` has the rows if readers read it.
    """

    after: int
    upto: int
    read: Callable[[MappingTables], list[Row]]
    is_written: bool
    ahead: Future[list[Row]] | None


@dataclass(slots=True)
class _RangeSender:
    """Sends the pages of a range, in order. With a `query`, the warehouse writes the calls.

    `after` and `size` are those of the next page. The warehouse joins `group` calls. `width` is the average size of a
    row or call in bytes, 0 at first.
    """

    changes: Range
    calls: CallMaker
    tables: MappingTables
    lock: Lock
    delivery: Delivery
    report: Callable[[], None]
    open_tables: OpenTables | None
    query: PagedQuery | None
    after: int
    size: int
    group: int
    width: float = 0.0
    readers: Readers | None = None

    def send_all(self) -> None:
        """Send all pages."""
        pages: deque[_Page] = deque()
        try:
            while pages or self.after < self.changes.upto:
                page = pages.popleft() if pages else self._next_page()
                try:
                    rows = page.ahead.result() if page.ahead else page.read(self.tables)
                except WarehouseError:
                    if not page.ahead and page.upto - page.after <= FIRST_PAGE:
                        raise
                    # the warehouse may have too little memory for such rows, or allow fewer connections
                    self._read_less(page.after)
                    pages.clear()
                    continue
                self.lock.confirm()  # after the read: another process may have staged an outbox of the same name
                while self.readers and len(pages) < READERS and self.after < self.changes.upto:
                    pages.append(self._next_page())
                self.width = self._send_written(rows) if page.is_written else self._send_rows(rows)
                del rows  # before the next page is read
                if self.open_tables and not self.readers and self.changes.upto - self.after > READ_AHEAD:
                    self.readers = Readers(self.open_tables)
        finally:
            self._close_readers()

    def _next_page(self) -> _Page:
        if self.query:
            most, most_bytes = WRITTEN_PAGE, WRITTEN_PAGE_BYTES
        else:
            most = max(SMALLEST_PAGE, min(PAGE, PAGE_VALUES // max(1, len(self.changes.columns))))
            most_bytes = PAGE_BYTES
        size = max(1, min(most, self.size, int(most_bytes / self.width) if self.width else most))
        low, upto = self.after, min(self.after + size, self.changes.upto)
        self.after, self.size = upto, GROWTH * size
        read = (
            partial(self._read_calls, self.query, self.group, low, upto)
            if self.query
            else partial(self._read, low, upto)
        )
        ahead = self.readers.submit(read) if self.readers else None
        return _Page(low, upto, read, self.query is not None, ahead)

    def _read_less(self, after: int) -> None:
        """Read small pages from this number on, and none ahead."""
        self._close_readers()
        self.open_tables = None
        self.after, self.size = after, FIRST_PAGE

    def _close_readers(self) -> None:
        if self.readers:
            self.readers.close()
        self.readers = None

    def _read_calls(self, query: PagedQuery, group: int, low: int, upto: int, tables: MappingTables) -> list[Row]:
        with self.delivery.timings.measure("fetch"):
            return tables.read_calls(query, low, upto, group)

    def _read(self, low: int, upto: int, tables: MappingTables, numbers: Sequence[int] = ()) -> list[Row]:
        changes = self.changes
        with self.delivery.timings.measure("fetch"):
            return tables.read(changes.columns, changes.change_types, low, upto, numbers)

    def _send_rows(self, rows: list[Row]) -> float:
        """Make the calls of changes and send them. Return the average size of the rows in bytes."""
        self._make(rows)
        return _width(rows)

    def _send_written(self, groups: list[Row]) -> float:
        """Send calls that the warehouse has written, and make the others of their page in Python.

        Return the average size of the written calls in bytes.
        """
        counted = size = 0
        others: list[int] = []
        for last, changes, calls, text, numbers in groups:
            written = text if isinstance(text, bytes) else (text or "").encode()
            self.delivery.send_written(last, changes, calls, written)
            others += map(int, (numbers or "").split(",")) if calls < changes else ()
            counted, size = counted + calls, size + len(written)
            self.report()
        if others:
            self._make(self._read_numbers(sorted(others)))
        if len(others) > counted:
            self.query = None  # most changes are read twice, which costs more than it saves
        if counted:
            self.group = max(1, min(CHUNK, int(GROUP_BYTES * counted / size)))
        return size / counted if counted else 0.0

    def _read_numbers(self, numbers: Sequence[int]) -> list[Row]:
        low, upto = numbers[0] - 1, numbers[-1]
        if len(numbers) <= MOST_NUMBERS:
            rows = self._read(low, upto, self.tables, numbers)
        else:
            wanted = frozenset(numbers)
            rows = [change for change in self._read(low, upto, self.tables) if change[0] in wanted]
        self.lock.confirm()
        return rows

    def _make(self, page: Sequence[Row]) -> None:
        """Make the calls of changes and send them."""
        for at in range(0, len(page), CHUNK):
            with self.delivery.timings.measure("map"):
                made = _own(self.changes, self.calls.many(page[at : at + CHUNK], self._discard))
                # after `_own`: otherwise each part would count the same violations
                made = self.calls.checked(made, self.delivery.discard)
            self.delivery.send(made.numbers, made.calls)
            self.report()

    def _discard(self, number: int, reason: str) -> None:
        changes = self.changes
        # a change without a call has no user, so each part finds it: one of them counts it
        if number % changes.parts == changes.part:
            self.delivery.discard(number, reason)


def _width(page: Sequence[Row]) -> float:
    """Return the average length of the texts in a row; 0 for an empty page."""
    rows = page[:: max(1, len(page) // SAMPLED_ROWS)]
    length = sum(len(value) for row in rows for value in row if isinstance(value, (str, bytes, memoryview)))
    return length / len(rows) if rows else 0.0
