"""The model of a sync in the warehouse: its relation, its columns, and how each becomes JSON."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson

from dbt_segconn.errors import RecordError
from dbt_segconn.project.artifacts import Model
from dbt_segconn.project.findings import NO_ORDER, NO_TABLE, NO_VALUE, Fault, InvalidProject
from dbt_segconn.project.mappings import Mapping, find_columns
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.warehouse.dialect import Dialect, known_dialect
from dbt_segconn.warehouse.session import Session

# The first pattern that matches the lower-case data type applies; the last one matches all.
_VALUE_TYPES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (value_type, re.compile(pattern))
    for value_type, pattern in (
        ("json", r".*\[\d*\]$|struct|map\b|map\(|row\(|json|array|object|variant|super$|union|record|hstore"),
        ("timestamptz", r"timestamp.*with (local )?time zone|timestamptz|timestamp_l?tz|datetimeoffset"),
        ("timestamp", r"timestamp|datetime"),
        ("date", r"date$"),
        ("boolean", r"bool"),
        # decimals with a scale hold whole numbers or fractions; without one (`number`), each value decides
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

# Value types that are ordered by time, and those that are whole numbers
TIMES = frozenset({"date", "timestamp", "timestamptz"})
WHOLE_NUMBERS = frozenset({"integer", "whole"})

# Value types that are numbers in the warehouse
NUMBERS = frozenset({"integer", "whole", "decimal", "number", "float", "single"})

# The tag before a value's text in a checksum: its JSON type. All other value types are text
_TAGS = {**dict.fromkeys(NUMBERS, "d"), "boolean": "b", "json": "j"}

# Value types with values that JSON cannot represent, such as NaN and infinity: these are sent as null
LOSSY_TYPES = frozenset(
    {"decimal", "number", "exact", "single", "float", "date", "timestamp", "timestamptz", "interval"}
)

# Relations of the schema that an error lists, if the model's is missing
SHOWN_RELATIONS = 10


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
        """Column, value type and time zone: a stored checkpoint is valid only as long as all three are the same."""
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
# What dialects write instead of JSON that is too long: its size. No JSON begins with `!`
_TOO_LONG = re.compile(r"!(\d+)")


def _parsed(value: Any) -> Any:
    """Parse JSON with integers of any size. NaN and infinity, which some warehouses write, become null."""
    if not isinstance(value, (str, bytes)):
        return value  # the driver has parsed it, as some do
    text = value if isinstance(value, str) else value.decode()
    try:
        if not _LONG_INTEGER.search(text):
            return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    if too_long := _TOO_LONG.fullmatch(text):
        raise RecordError(f"a value has {int(too_long[1]):,} bytes of JSON, more than the warehouse returns as text")
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except ValueError:
        return text


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _whole(value: Any) -> Any:
    if not isinstance(value, Decimal):
        return value
    return int(value) if value.is_finite() else None


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


@dataclass(frozen=True, slots=True)
class Source:
    """The relation and columns that a sync reads.

    Equal signatures mean equal columns. A signature has three hashes: of names, of value types, and of the data types
    of JSON columns. Equal JSON may have different texts in different data types.

    `checkpoint` is the column of the mapping's checkpoint, if any. `order` are the columns of `order_by`. `current` are
    the columns that mark the current rows of a snapshot; `valid_to_current` is dbt's SQL for the first of them. `step`
    are the limits of --after and --before, for SQL.
    """

    relation: Any
    identifier: tuple[Column, ...]
    columns: tuple[Column, ...]
    signature: str
    checkpoint: Column | None = None
    order: tuple[Column, ...] = ()
    current: tuple[Column, ...] = ()
    valid_to_current: str | None = None
    step: tuple[int | str | None, int | str | None] | None = None

    @property
    def names(self) -> str:
        """The part of the signature that checksums cover: the hash of names."""
        return self.signature.partition("-")[0]


def find_source(mapping: Mapping, session: Session) -> Source:
    """Return the source of a mapping. Raises InvalidProject if the relation or a column is missing."""
    relation = session.relation_of(mapping.model)
    types = session.columns(relation)
    if not types:
        raise InvalidProject([mapping.positions.finding(_no_table(mapping.model, relation, session))])
    found = find_columns(mapping, types)
    named = {found[name] for name in mapping.named}
    rest = () if mapping.columns is not None else (name for name in types if name not in named)

    def column(key: str, alias: str = "") -> Column:
        name = found.get(key, key)
        value_type = value_type_of(types[name], session.adapter_type, exact_decimals=mapping.meta.decimals == "text")
        return Column(key, name, types[name], alias, value_type, mapping.timezone)

    columns = tuple(column(name, f"c{at}") for at, name in enumerate(sorted((*mapping.named, *rest)), start=1))
    checkpoint, snapshot = mapping.meta.checkpoint, mapping.current
    source = Source(
        relation,
        tuple(map(column, mapping.identifier)),
        columns,
        _signature(columns),
        column(checkpoint.column) if checkpoint else None,
        order=tuple(map(column, mapping.meta.order_by or ())),
        current=tuple(map(column, snapshot.columns if snapshot else ())),
        valid_to_current=snapshot.valid_to_current if snapshot else None,
    )
    if faults := [*_unordered(mapping, source), *_refused(source, session.dialect)]:
        name = mapping.meta.name
        place = mapping.positions.path_of(name)
        raise InvalidProject([mapping.positions.finding(fault, mapping=name, prefix=place) for fault in faults])
    return source


def _unordered(mapping: Mapping, source: Source) -> Iterator[Fault]:
    """Yield the columns of the checkpoint and of `order_by` that have no order."""
    setting, checkpoint = mapping.meta.checkpoint, source.checkpoint
    if setting and checkpoint and (reason := misfit(checkpoint.value_type, setting.lag)):
        yield Fault(NO_ORDER, ("checkpoint",), f"{setting.column} is of the type {checkpoint.data_type}: {reason}")
    for one in source.order:
        if reason := unordered(one.value_type):
            yield Fault(NO_ORDER, ("order_by",), f"{one.key} is of the type {one.data_type}: {reason}")


def _refused(source: Source, dialect: Dialect) -> Iterator[Fault]:
    """Yield the columns with a type that has no JSON value."""
    for one in source.columns:
        if instead := dialect.refused.get(one.data_type.lower()):
            yield Fault(
                NO_VALUE, ("fields",), f"{one.key} is of the type {one.data_type}, which has no JSON value", instead
            )


def _no_table(model: Model, relation: Any, session: Session) -> Fault:
    """Return the fault of a missing relation, with the target and the relations that exist there."""
    beside = sorted(session.names_beside(relation))
    more = ", …" if len(beside) > SHOWN_RELATIONS else ""
    there = f"the schema {relation.schema} has {', '.join(beside[:SHOWN_RELATIONS])}{more}"
    found = (
        (near_name(relation.identifier, beside).lstrip() or there) if beside else f"no schema {relation.schema} there"
    )
    reason = f"{relation} is not in {session.place}: {found.removesuffix('?')}"
    fix = (
        f"Build it there (dbt build --select {model.name.partition('.v')[0]}), or name the target that dbt ran on with "
        "--target."
    )
    return Fault(NO_TABLE, (), reason, fix)


def _signature(columns: tuple[Column, ...]) -> str:
    """Hash the columns' names, value types, and the data types of JSON columns: three parts, joined by hyphens."""
    names = (column.key for column in columns)
    value_types = (column.value_type for column in columns)
    nested = (f"{column.key}\x1e{_nested(column.data_type)}" for column in columns if column.value_type == "json")
    return "-".join(hashlib.sha256("\x1f".join(part).encode()).hexdigest()[:8] for part in (names, value_types, nested))


def _nested(data_type: str) -> str:
    """Return the name of a JSON data type without the fields of a struct, which change as columns do."""
    name = "json" if data_type == "jsonb" else data_type.lower()
    return re.split(r"[(<]", name)[0] if re.match(r"(struct|map|object|row|union|record)\b", name) else name
