"""Every exception, grouped by what the user can do about it.

- `ConfigurationError`: mend the project; nothing was sent (exit code 2).
- `RecordError`: one record cannot become a call; it is discarded with its reason, the sync goes on.
- `SyncError`: this sync cannot go on; its outbox stays for the next run (exit code 1).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable

_PACKAGE = __name__.partition(".")[0]


class SegconnError(Exception):
    """Root of all errors that dbt-segconn raises on purpose."""


class ConfigurationError(SegconnError):
    """The project, its settings or its artifacts need mending before anything can be sent.

    `problems` lists all of them, each a text that says what is wrong, where, and what to do.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class MappingError(ConfigurationError):
    """A mapping breaks the rules of Segment's mapping language."""


class RecordError(SegconnError):
    """One record cannot be turned into a call; it becomes a discard, never an end of the sync."""


class EvaluationError(RecordError):
    """A mapping cannot be evaluated on this record."""


class InvalidCall(RecordError):  # noqa: N818  reads as what it is: an invalid call
    """The mapped fields do not make a valid Spec call; `problems` lists every reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("; ".join(self.problems))


class SyncError(SegconnError):
    """A sync cannot go on. What it had not delivered stays in its outbox for the next run."""


class WarehouseError(SyncError):
    """The warehouse refused a statement or cannot be reached."""


class UnopenedError(ConfigurationError, WarehouseError):
    """The warehouse cannot be opened at all: nothing was done."""


class LockedError(SyncError):
    """Another process is syncing this mapping."""


class DeliveryError(SyncError):
    """The Tracking API cannot be reached, or refused the destination as a whole."""


def message_of(error: Exception) -> str:
    """Return the message of a SegconnError; of any other error, which is a bug, its type and place but no values."""
    if isinstance(error, SegconnError):
        return str(error)
    places = [
        f"{frame.f_globals.get('__name__')}, line {line}" for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    ours = next((place for place in reversed(places) if place.startswith(f"{_PACKAGE}.")), "an unknown place")
    raised = f", raised in {places[-1]}" if places and places[-1] != ours else ""
    return f"{type(error).__name__} in {ours}{raised}. This is a bug of dbt-segconn: please report it with this line"
