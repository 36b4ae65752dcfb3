"""Which JSON value a column becomes: one rule for each kind of data type.

The warehouse does the work where it can: `sql/values.sql` holds an expression for each kind below,
in each dialect. What is left for Python is in `CONVERTERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

# Tried in order against the lower-case data type; the last one takes every other type as text.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("json", r".*\[\d*\]$|struct|map\b|map\(|row\(|json|array|object|variant|super|union|record|super$"),
        ("timestamptz", r"timestamp.*with (local )?time zone|timestamptz|timestamp_l?tz|datetimeoffset"),
        ("timestamp", r"timestamp|datetime"),
        ("date", r"date$"),
        ("boolean", r"bool"),
        ("whole", r"(decimal|numeric|number|bignumeric)\(\d+(, ?0)?\)$"),
        ("decimal", r"decimal|numeric|number|bignumeric"),
        (
            "integer",
            r"u?(tiny|small|medium|big|huge)?int(eger)?\d*(\(\d+\))?$|byteint$|long$|short$|(small|big)?serial$",
        ),
        ("float", r"float|double|real$"),
        ("binary", r"blob|bytea|binary|varbinary|bytes"),
        ("text", r""),
    )
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a model as a sync reads it: `key` is its name in the event that a mapping sees."""

    key: str
    name: str
    data_type: str
    alias: str

    @property
    def kind(self) -> str:
        """The kind of JSON value that the column's data type becomes."""
        data_type = self.data_type.lower().strip()
        return next(kind for kind, pattern in _KINDS if pattern.match(data_type))


def _parsed(value: Any) -> Any:
    if not isinstance(value, (str, bytes)):
        return value  # some drivers parse JSON by themselves
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, Decimal) else value


def _decimal(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


CONVERTERS: dict[str, Callable[[Any], Any]] = {"json": _parsed, "whole": _whole, "decimal": _decimal}
