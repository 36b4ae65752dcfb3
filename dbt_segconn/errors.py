"""Every exception, grouped by how the user can fix it, and the format of counts and texts in messages.

- `ConfigurationError`: fix the project; nothing was sent (exit code 2).
- `RecordError`: one record cannot become a call. It is discarded with its reason, and the sync continues.
- `SyncError`: this sync stopped. The next run resumes its outbox (exit code 1).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable

_PACKAGE = __name__.partition(".")[0]


class SegconnError(Exception):
    """Root of all errors that dbt-segconn raises on purpose."""


class ConfigurationError(SegconnError):
    """The project, its settings or its artifacts must be fixed before anything is sent.

    `problems` lists all problems. Each text states what is wrong, where, and how to fix it.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class MappingError(ConfigurationError):
    """A mapping breaks the rules of Segment's mapping language."""


class RecordError(SegconnError):
    """One record cannot become a call. It is discarded; the sync continues."""


class EvaluationError(RecordError):
    """A mapping cannot be evaluated on this record."""


class InvalidCall(RecordError):  # noqa: N818  an invalid call, not an error in general
    """The mapped fields are not a valid Spec call; `problems` lists every reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("; ".join(self.problems))


class SyncError(SegconnError):
    """A sync stopped. Undelivered changes stay in its outbox for the next run."""


class WarehouseError(SyncError):
    """The warehouse rejected a statement or is not reachable."""


class ConflictError(WarehouseError):
    """The warehouse rolled a transaction back because of a concurrent one: it may be run again from its start."""


# Both: a run that cannot start has exit code 2, and `debug` reports a connection that failed
class UnopenedError(ConfigurationError, WarehouseError):
    """The warehouse cannot be opened; nothing was done."""


class LockedError(SyncError):
    """Another process is syncing this mapping."""


class DeliveryError(SyncError):
    """The Tracking API is not reachable, or rejected every call of the destination."""


def message_of(error: Exception) -> str:
    """Return the message of a SegconnError. For any other error, a bug, return its type and place without values."""
    if isinstance(error, SegconnError):
        return str(error)
    # The text of a foreign exception may quote a value of a row
    places = [
        f"{frame.f_globals.get('__name__')}, line {line}" for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    ours = next((place for place in reversed(places) if place.startswith(f"{_PACKAGE}.")), "an unknown place")
    raised = f", raised in {places[-1]}" if places and places[-1] != ours else ""
    return f"{type(error).__name__} in {ours}{raised}. This is a bug of dbt-segconn: please report it with this line"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 mapping`, `1,000 mappings`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str, keep: str = "") -> str:
    """Escape unprintable characters of a text from data, except those in `keep`."""
    # `ascii` writes an escape of Python, such as \x1b, between quotation marks
    return "".join(one if one.isprintable() or one in keep else ascii(one)[1:-1] for one in text)
