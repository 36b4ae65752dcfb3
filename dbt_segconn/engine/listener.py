"""What a run reports while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbt_segconn.engine.gate import Choice
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.results import SyncResult
from dbt_segconn.project.mappings import Mapping


class Listener:
    """Base class for run listeners. Every method is a no-op. Syncs call it from their own threads."""

    def begin(self, project: Project, choice: Choice) -> None:
        """Receive the mappings that will be synced, before the first sync starts."""

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Receive the start of a sync: `number` of `total`."""

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Receive the result of a sync."""

    def note(self, mapping: Mapping, text: str) -> None:
        """Receive what the user should know before the sync ends."""

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Receive how many calls are confirmed, of those to send."""

    def warn(self, text: str) -> None:
        """Receive what failed beside the syncs, such as an alert that was not sent."""


class ShieldedListener(Listener):
    """Forwards to another listener. An exception of that listener becomes a warning and stops no delivery."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._warnings: dict[str, None] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings so far, each once."""
        return tuple(self._warnings)

    def begin(self, project: Project, choice: Choice) -> None:
        """Forward it."""
        self._forward(self._listener.begin, project, choice)

    def start(self, number: int, total: int, mapping: Mapping) -> None:
        """Forward it."""
        self._forward(self._listener.start, number, total, mapping)

    def end(self, number: int, total: int, result: SyncResult) -> None:
        """Forward it."""
        self._forward(self._listener.end, number, total, result)

    def note(self, mapping: Mapping, text: str) -> None:
        """Forward it."""
        self._forward(self._listener.note, mapping, text)

    def progress(self, mapping: Mapping, done: int, total: int) -> None:
        """Forward it."""
        self._forward(self._listener.progress, mapping, done, total)

    def warn(self, text: str) -> None:
        """Keep the warning and forward it."""
        self._warnings[text] = None
        self._forward(self._listener.warn, text)

    def _forward(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception as error:  # noqa: BLE001  a listener must not stop a sync
            name = getattr(method, "__name__", "of an event")
            self._warnings[f"the listener's method {name} raised {type(error).__name__}"] = None
