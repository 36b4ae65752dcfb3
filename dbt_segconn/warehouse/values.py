"""Which JSON value a column becomes: one rule for each kind of data type.

The warehouse does the work where it can: `sql/values.sql` holds an expression for each kind below, and `dialects/`
those of single warehouses. What is left for Python is in `CONVERTERS`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson

from dbt_segconn.warehouse.dialect import Dialect, known_dialect

# Tried in order against the lower-case data type; the last one takes every other type as text.
_VALUE_TYPES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (value_type, re.compile(pattern))
    for value_type, pattern in (
        ("json", r".*\[\d*\]$|struct|map\b|map\(|row\(|json|array|object|variant|super$|union|record|hstore"),
        ("timestamptz", r"timestamp.*with (local )?time zone|timestamptz|timestamp_l?tz|datetimeoffset"),
        ("timestamp", r"timestamp|datetime"),
        ("date", r"date$"),
        ("boolean", r"bool"),
        ("whole", r"(decimal|numeric|number|bignumeric)\(\d+(, ?0)?\)$"),
        ("decimal", r"(decimal|numeric|number|bignumeric)\(\d{1,2}, ?\d{1,2}\)$|money$"),
        ("number", r"decimal|numeric|number|bignumeric|bigdecimal"),
        (
            "integer",
            r"u?(tiny|small|medium|big|huge)?int(eger)?\d*(\(\d+\))?$|byteint$|long$|short$|(small|big)?serial$",
        ),
        ("single", r"real$|float4$"),
        ("float", r"float|double"),
        ("interval", r"interval"),
        ("binary", r"blob|bytea|binary|varbinary|varbyte|bytes"),
        ("text", r""),
    )
)

# Kinds that are numbers in the warehouse
NUMBERS = frozenset({"integer", "whole", "decimal", "number", "float", "single"})

# What a checksum has before the text of a value: its JSON type. All other kinds are text
_TAGS = {**dict.fromkeys(NUMBERS, "d"), "boolean": "b", "json": "j"}

# Kinds that can hold what JSON cannot, such as NaN and the infinite: it is sent as null
LOSSY_TYPES = frozenset(
    {"decimal", "number", "exact", "single", "float", "date", "timestamp", "timestamptz", "interval"}
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a model as a sync reads it: `key` is its name in the event that a mapping sees.

    `kind` is the kind of JSON value that it becomes, `zone` the time zone of its timestamps, if they have
    none of their own.
    """

    key: str
    name: str
    data_type: str
    alias: str
    value_type: str
    zone: str = "UTC"

    @property
    def tag(self) -> str:
        """The JSON type of the column's values, as checksums name it: d (number), b, j (objects, arrays), t (text)."""
        return _TAGS.get(self.value_type, "t")

    @property
    def basis(self) -> str:
        """What a checkpoint in this column is a point of; under another basis it means nothing."""
        return f"{self.name} ({self.value_type}, {self.zone})"


def value_type_of(data_type: str, adapter_type: str, *, exact_decimals: bool = False) -> str:
    """Return the kind of JSON value that a data type of a warehouse becomes.

    With `exact_decimals`, numbers with decimals are text of all their digits, the kind `exact`.
    """
    name = data_type.lower().strip()
    dialect = known_dialect(adapter_type) or Dialect()
    value_type = dialect.value_types.get(name) or next(
        value_type for value_type, pattern in _VALUE_TYPES if pattern.match(name)
    )
    return "exact" if exact_decimals and value_type in {"decimal", "number"} else value_type


# Kinds whose order is the order of time, and those whose order is that of numbers
TIMES = frozenset({"date", "timestamp", "timestamptz"})
WHOLE_NUMBERS = frozenset({"integer", "whole"})


def misfit(value_type: str, lag: int | timedelta) -> str | None:
    """Say why a column of this kind cannot be a checkpoint with this lag, or None where it can."""
    if value_type not in TIMES | WHOLE_NUMBERS:
        return "only timestamps, dates and integers tell which rows are new"
    if not lag or isinstance(lag, timedelta) == (value_type in TIMES):
        return None
    return "its lag must be a time such as `1 hour`" if value_type in TIMES else "its lag must be a whole number"


def unordered(value_type: str) -> str | None:
    """Return why a column of this kind cannot order records, or None where it can."""
    return "only timestamps, dates, numbers and texts have an order" if value_type in {"json", "binary"} else None


# orjson makes floats of integers this long, and of no shorter ones
_LONG_INTEGER = re.compile(r"\d{19}")


def _parsed(value: Any) -> Any:
    """Read JSON with integers of any size; NaN and the infinite, which some warehouses write, are null."""
    if not isinstance(value, (str, bytes)):
        return value  # some drivers parse JSON by themselves
    text = value if isinstance(value, str) else value.decode()
    try:
        if not _LONG_INTEGER.search(text):
            return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except ValueError:
        return text


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, Decimal) else value


def _decimal(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _number(value: Any) -> Any:
    """Keep integers exact in a type that holds both integers and fractions."""
    if not isinstance(value, Decimal):
        return value
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else _finite(str(value))


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "json": _parsed,
    "whole": _whole,
    "decimal": _decimal,
    "number": _number,
}
