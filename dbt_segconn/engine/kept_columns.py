"""The identifier columns of deleted records, restored from the record id."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.values import Column

# One column of a record id, with the '|' after it. segconn_record_id escapes a '|' inside a column
_PART = re.compile(r"((?:[^|\\]|\\.)*)\|", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# A change is: number, change type, record id, then the columns
_FIRST = 3


class KeptColumns:
    """The columns of a change that belong to the identifier. False if there are none."""

    def __init__(self, identifier: Sequence[str], columns: Sequence[Column]) -> None:
        self._parts = len(identifier)
        self._columns = [
            (at, part, column.value_type)
            for at, column in enumerate(columns, start=_FIRST)
            if (part := _part_of(column.name, identifier, columns)) is not None
        ]

    def __bool__(self) -> bool:
        return bool(self._columns)

    def restored(self, change: Row) -> Row:
        """Return the change of a deleted record with its identifier columns. Return any other change unchanged."""
        if change[1] != "deleted" or change[2] is None:
            return change
        parts = [change[2]] if self._parts == 1 else _parts_of(change[2])
        if len(parts) != self._parts:
            return change
        values = list(change)
        for at, part, value_type in self._columns:
            values[at] = _value(parts[part], value_type)
        return tuple(values)


def _part_of(name: str, identifier: Sequence[str], columns: Sequence[Column]) -> int | None:
    """Return the position of a column in the identifier: by its exact name, else by the only name in another case."""
    if name in identifier:
        return identifier.index(name)
    exact = {column.name for column in columns}
    alike = [at for at, one in enumerate(identifier) if one not in exact and one.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _parts_of(record_id: str) -> list[str]:
    return [_ESCAPED.sub(r"\1", part) for part in _PART.findall(f"{record_id}|")]


def _value(text: str, value_type: str) -> Any:
    """Parse the text of segconn_as_text to the value that a column of this type had."""
    with suppress(ValueError, ArithmeticError):
        return _READERS.get(value_type, str)(text)
    return text


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


_READERS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "whole": int,
    "number": Decimal,
    "decimal": _finite,
    "float": _finite,
    "single": _finite,
    "boolean": lambda text: text.lower() in {"true", "t", "1"},
}
