"""Value types: how a column of each data type becomes JSON.

The warehouse converts most values: `sql/values.sql` has an expression for each value type, and `dialects/` has those of
single warehouses. Python converts the rest with `CONVERTERS`.
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

# The first pattern that matches the lower-case data type applies; the last one matches all.
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

# Value types that are numbers in the warehouse
NUMBERS = frozenset({"integer", "whole", "decimal", "number", "float", "single"})

# The tag before a value's text in a checksum: its JSON type. All other value types are text
_TAGS = {**dict.fromkeys(NUMBERS, "d"), "boolean": "b", "json": "j"}

# Value types with values that JSON cannot represent, such as NaN and infinity: these are sent as null
LOSSY_TYPES = frozenset(
    {"decimal", "number", "exact", "single", "float", "date", "timestamp", "timestamptz", "interval"}
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a model as a sync reads it. `key` is its name in mappings, `alias` its name in the outbox.

    `zone` is the time zone of its timestamps, if their data type has none.
    """

    key: str
    name: str
    data_type: str
    alias: str
    value_type: str
    zone: str = "UTC"

    @property
    def tag(self) -> str:
        """The JSON type of the column in checksums: d (number), b (boolean), j (object, array), t (text)."""
        return _TAGS.get(self.value_type, "t")

    @property
    def basis(self) -> str:
        """What a checkpoint value refers to: column, value type and time zone. It is invalid for another basis."""
        return f"{self.name} ({self.value_type}, {self.zone})"


def value_type_of(data_type: str, adapter_type: str, *, exact_decimals: bool = False) -> str:
    """Return the value type of a warehouse's data type.

    With `exact_decimals`, decimals have the value type `exact`: text with all digits.
    """
    name = data_type.lower().strip()
    dialect = known_dialect(adapter_type) or Dialect()
    value_type = dialect.value_types.get(name) or next(
        value_type for value_type, pattern in _VALUE_TYPES if pattern.match(name)
    )
    return "exact" if exact_decimals and value_type in {"decimal", "number"} else value_type


# Value types that are ordered by time, and those that are whole numbers
TIMES = frozenset({"date", "timestamp", "timestamptz"})
WHOLE_NUMBERS = frozenset({"integer", "whole"})


def misfit(value_type: str, lag: int | timedelta) -> str | None:
    """Return why a column of this value type cannot be a checkpoint with this lag; None if it can."""
    if value_type not in TIMES | WHOLE_NUMBERS:
        return "a checkpoint must be a timestamp, a date or an integer"
    if not lag or isinstance(lag, timedelta) == (value_type in TIMES):
        return None
    return "its lag must be a time such as `1 hour`" if value_type in TIMES else "its lag must be a whole number"


def unordered(value_type: str) -> str | None:
    """Return why a column of this value type cannot order records; None if it can."""
    return "only timestamps, dates, numbers and texts have an order" if value_type in {"json", "binary"} else None


# orjson may parse integers of 19 or more digits as floats
_LONG_INTEGER = re.compile(r"\d{19}")


def _parsed(value: Any) -> Any:
    """Parse JSON with integers of any size. NaN and infinity, which some warehouses write, become null."""
    if not isinstance(value, (str, bytes)):
        return value  # some drivers parse JSON
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
    """Return integers exactly, and fractions as floats."""
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
