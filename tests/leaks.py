"""What a test used that nobody should see, and whether it shows: in outputs, logs, errors, artifacts, tables.

The `shop` fixture watches every test that uses it. Keys are whatever the settings read as a secret, and what
stands in the Authorization headers that arrived; payload values are those of the rows that a test gave and of
the calls that arrived, but for identifiers, by which errors name records.
"""

from __future__ import annotations

import base64
import logging
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import open_files
import pytest
from pydantic import SecretStr

import dbt_segconn
from dbt_segconn.errors import SegconnError

# Shorter ones occur in texts by chance
CHARACTERS = 6
# The values and rows of a large model that are searched for
MANY = 500
PACKAGE = str(Path(dbt_segconn.__file__).parent)
# Commands that show calls because somebody asks for them
SHOWING_CALLS = frozenset({"preview", "send-test", "test"})
ASSERTION = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}")


@dataclass
class Watch:
    """What was used, and each text that was produced: (place, whether it may hold payload, text)."""

    keys: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    identifiers: set[str] = field(default_factory=set)
    columns: dict[str, set[str]] = field(default_factory=dict)
    identifying: set[str] = field(default_factory=lambda: {"customer_id"})
    texts: list[tuple[str, bool, str]] = field(default_factory=list)

    def saw(self, place: str, text: str, *, may_hold_payload: bool = False) -> None:
        self.texts.append((place, may_hold_payload, text))

    def use_key(self, key: str) -> None:
        """Take note of a key, a private key as PEM text, a token or the URL of a webhook."""
        with suppress(ValueError):
            key = urlsplit(key).path if key.startswith(("http://", "https://")) else key
        parts = [line for line in key.splitlines() if not line.startswith("-----")] if "-----" in key else [key]
        self.keys.update(part for part in parts if len(part) >= CHARACTERS)

    def use_row(self, columns: Iterable[str], row: Iterable[Any]) -> None:
        """Take note of a row of the model."""
        for column, value in zip(columns, row, strict=True):
            self.columns.setdefault(column, set()).add(str(value))

    def identify_by(self, columns: str | Iterable[str] | None) -> None:
        """Take note of the unique identifier, by which errors name records."""
        self.identifying.update([columns] if isinstance(columns, str) else columns or [])

    def use_call(self, call: dict[str, Any]) -> None:
        """Take note of a call that has arrived."""
        self.identifiers.update(str(call[name]) for name in ("userId", "anonymousId", "groupId") if call.get(name))
        if len(self.values) < 10 * MANY:
            self.values.update(_texts_in([call.get("traits"), call.get("properties")]))

    def use_authorization(self, header: str) -> None:
        kind, _, secret = header.partition(" ")
        self.use_key(secret)
        if kind == "Basic":
            self.use_key(base64.b64decode(secret).decode().partition(":")[0])

    def leaks(self, folder: Path) -> list[str]:
        """List what shows: in what was seen so far, in the artifacts of a project and in its warehouse."""
        identifiers = self.identifiers.union(*(self.columns.get(name, ()) for name in self.identifying))
        values = self.values.union(*self.columns.values()) - identifiers
        values = sorted(one for one in values if len(one) >= CHARACTERS)[:MANY]
        places = [*self.texts, *_artifacts(folder), *_tables(folder)]
        found = [
            f"{kind} {secret!r} in {place}"
            for place, may_hold_payload, text in places
            for kind, secrets in (("the key", sorted(self.keys)), ("the value", () if may_hold_payload else values))
            for secret in secrets
            if secret in text
        ]
        return [*found, *(f"an assertion in {place}" for place, _, text in places if ASSERTION.search(text))]


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts_in(one)


def _artifacts(folder: Path) -> Iterator[tuple[str, bool, str]]:
    for path in (folder / "target/segconn").rglob("*"):
        if path.is_file():
            yield str(path), False, path.read_text(errors="replace")


def _tables(folder: Path) -> Iterator[tuple[str, bool, str]]:
    """Read the state tables: all of the schemas that have a log. An outbox holds rows on purpose, but no keys."""
    for path in folder.glob("*.duckdb"):
        with open_files.connect(path) as connection:
            tables = connection.execute(
                "select schema_name, table_name from duckdb_tables() where not internal and schema_name in "
                "(select schema_name from duckdb_tables() where table_name = 'sync_history')"
            ).fetchall()
            reads = [
                f'(select {at}, one::varchar from "{schema}"."{table}" one limit {MANY})'
                for at, (schema, table) in enumerate(tables)
            ]
            shown: list[list[str]] = [[] for _ in tables]
            for at, row in connection.execute(" union all ".join(reads)).fetchall() if reads else ():
                shown[at].append(str(row))
            for (schema, table), rows in zip(tables, shown, strict=True):
                yield f"{schema}.{table}", table.startswith("outbox_"), "\n".join(rows)


def locals_of(error: BaseException | None) -> Iterator[str]:
    """Show the locals of this package's frames in an error's traceback and in those of its whole chain."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        step = one.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename.startswith(PACKAGE):
                yield _shown(step.tb_frame)
            step = step.tb_next


def _shown(frame: FrameType) -> str:
    return f"{frame.f_code.co_name}: {frame.f_locals!r}"


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Record every secret that is read, and every error, log record and process of the package."""
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: watch.saw(f"the log of {record.name}", record.getMessage())
    root = logging.getLogger()
    level = root.level
    with pytest.MonkeyPatch.context() as patch:
        _tap(patch, SecretStr, "__init__", lambda _, text: watch.use_key(text))
        _tap(patch, SegconnError, "__init__", lambda _, *texts: watch.saw("an error", " ".join(map(str, texts))))
        _tap_processes(patch, watch)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


def _tap(patch: pytest.MonkeyPatch, owner: type, name: str, tell: Any) -> None:
    real = getattr(owner, name)

    def tapped(self: Any, *arguments: Any) -> None:
        tell(self, *arguments)
        real(self, *arguments)

    patch.setattr(owner, name, tapped, raising=False)


def _tap_processes(patch: pytest.MonkeyPatch, watch: Watch) -> None:
    real = subprocess.Popen.communicate

    def communicate(process: Any, *arguments: Any, **named: Any) -> Any:
        outputs = real(process, *arguments, **named)
        if "dbt_segconn" in " ".join(map(str, process.args)):
            for text in filter(None, outputs):
                watch.saw("the output of a process", text if isinstance(text, str) else text.decode(errors="replace"))
        return outputs

    patch.setattr(subprocess.Popen, "communicate", communicate)
