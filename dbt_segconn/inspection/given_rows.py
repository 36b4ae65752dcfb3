"""Given rows of a unit test → changes as a sync reads them from the outbox, without a warehouse.

Values are converted to the form that the warehouse writes (manual, Values): a test then makes the same call as a run.
"""

from __future__ import annotations

import math
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import KnownColumns
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Column, value_type_of

GivenRow = abc.Mapping[str, Any]


def find_given_columns(
    mapping: Mapping, rows: Sequence[GivenRow], known: KnownColumns, adapter_type: str
) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """Return the columns that a sync would read, and the columns of the identifier.

    Without a known data type, the value type of a column is guessed from its given values. Raises ConfigurationError
    for a given column that the model does not have.
    """
    given = dict.fromkeys(name for row in rows for name in row)
    # warehouses fold the case of names in different ways, so names are compared without case
    listed = {*map(str.casefold, known.types), *map(str.casefold, (*mapping.named, *mapping.identifier))}
    for name in given:
        if name.casefold() not in listed and (known.complete or mapping.columns is not None):
            near = near_name(name, [*known.types, *mapping.named])
            raise ConfigurationError(f"the column {name!r} is neither mapped nor a known column of the model.{near}")
    named = {name.casefold() for name in mapping.named}
    # a mapping without a list of columns, such as one with $*, reads all columns of the model
    others = {} if mapping.columns is not None else {**dict.fromkeys(known.types), **given}
    rest = {name.casefold(): name for name in others if name.casefold() not in named}

    def column(key: str) -> Column:
        data_type = next((known.types[name] for name in known.types if name.casefold() == key.casefold()), None)
        is_exact = mapping.meta.decimals == "text"
        value_type = value_type_of(data_type, adapter_type, exact_decimals=is_exact) if data_type else ""
        values = (_value_in(row, key) for row in rows)
        return Column(key, key, data_type or "", "", value_type or _guessed(values), mapping.timezone)

    return tuple(map(column, sorted((*mapping.named, *rest.values())))), tuple(map(column, mapping.identifier))


def _guessed(values: Iterable[Any]) -> str:
    types = {type(one) for one in values} - {type(None)}  # a null has no type of its own
    if types & {dict, list}:
        return "json"
    named = {bool: "boolean", int: "integer", float: "float"}
    return named.get(types.pop(), "text") if len(types) == 1 else "float" if types == {int, float} else "text"


def changes_of(
    rows: Sequence[GivenRow], change_type: str, columns: Sequence[Column], identifier: Sequence[Column]
) -> Iterator[Row]:
    """Yield the change of each row: change number, change type, record id, then the values of `columns`.

    Raises ConfigurationError for a value that its column cannot hold.
    """
    ids = [_record_id(row, identifier, at) for at, row in enumerate(rows)]
    for at, (row, record_id) in enumerate(zip(rows, ids, strict=True)):
        if record_id is None:
            yield (at + 1, "null_identifier", None, *(None for _ in columns))
        elif ids.count(record_id) > 1:
            yield (at + 1, "duplicate_identifier", record_id, *(None for _ in columns))
        else:
            is_deleted = change_type == "deleted"  # all values are null; CallMaker restores the identifier
            values = [None if is_deleted else _value(row, column, at) for column in columns]
            yield (at + 1, change_type, record_id, *values)


def _record_id(row: GivenRow, identifier: Sequence[Column], at: int) -> str | None:
    """Return the identifier as `segconn_record_id` writes it; None if a column of it is null."""
    values = [_value(row, column, at) for column in identifier]
    if None in values:
        return None
    # a '|' separates the columns, so it is escaped inside of them
    texts = [_text(value, "") for value in values]
    if len(texts) == 1:
        return texts[0]
    return "|".join(text.replace("\\", "\\\\").replace("|", "\\|") for text in texts)


def _value_in(row: GivenRow, key: str) -> Any:
    """Return the value of a column: by its exact name, else by its name in another case."""
    return row[key] if key in row else next((row[one] for one in row if one.casefold() == key.casefold()), None)


def _value(row: GivenRow, column: Column, at: int) -> Any:
    value = _value_in(row, column.key)
    try:
        read: Callable[[Any, str], Any] = _READERS.get(column.value_type, _text)
        return None if value is None else read(value, column.zone)
    except (ValueError, TypeError, OverflowError):
        raise ConfigurationError(
            f"given.rows.{at}.{column.key}: {value!r} is not a value of the type {column.data_type}"
        ) from None


def _text(value: Any, _: str) -> str:
    if isinstance(value, (dict, list)):
        raise TypeError  # JSON in a column of another type
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(value: Any, _: str) -> int:
    # bool is a subclass of int in Python: true would become 1
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _fraction(value: Any, _: str) -> float | None:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    return number if math.isfinite(number) else None  # JSON has no NaN: a sync sends null


def _number(value: Any, zone: str) -> int | float | None:
    number = _fraction(value, zone)  # a decimal may be whole, and then its JSON has no fraction
    return number if number is None or not number.is_integer() else int(number)


def _boolean(value: Any, _: str) -> bool:
    if str(value).lower() not in {"true", "false"}:
        raise ValueError
    return str(value).lower() == "true"


def _date(value: Any, _: str) -> str:
    return datetime.fromisoformat(value).date().isoformat()


def _time(value: Any, zone: str) -> str:
    """Return the ISO-8601 text in UTC that `segconn_timestamp` writes."""
    moment = datetime.fromisoformat(value.replace("Z", "+00:00"))  # Python 3.10 cannot parse a Z
    moment = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
    digits = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec=digits) + "Z"


_READERS: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("integer", "whole"), _whole),
    **dict.fromkeys(("decimal", "float", "single"), _fraction),
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _time,
    "timestamptz": lambda value, _: _time(value, "UTC"),
    "json": lambda value, _: value,
}
