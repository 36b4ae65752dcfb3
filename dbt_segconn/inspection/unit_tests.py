"""Unit tests of mappings: given rows → calls and discards, made as a run makes them, without a warehouse."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter, abc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from dbt_segconn.delivery.batches import discard_reason
from dbt_segconn.engine.calls import CallMaker
from dbt_segconn.engine.opening import Project
from dbt_segconn.errors import ConfigurationError, counted
from dbt_segconn.inspection.preview import UNIDENTIFIED
from dbt_segconn.mapping.liquid_filters import fixed_now
from dbt_segconn.project.artifacts import Catalog, KnownColumns
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import Expected, UnitTest, find_mappings
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.warehouse.session import Row
from dbt_segconn.warehouse.source import Column, value_type_of

GivenRow = abc.Mapping[str, Any]


def _find_given_columns(
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


def _changes_of(
    rows: Sequence[GivenRow], change_type: str, columns: Sequence[Column], identifier: Sequence[Column]
) -> Iterator[Row]:
    """Yield the change of each row: change number, change type, record id, then the values of `columns`.

    Raises ConfigurationError for a value that its column cannot hold.
    """
    ids = [_record_id(row, identifier, at) for at, row in enumerate(rows)]
    occurrences = Counter(ids)
    for at, (row, record_id) in enumerate(zip(rows, ids, strict=True)):
        if record_id is None:
            yield (at + 1, "null_identifier", None, *(None for _ in columns))
        elif occurrences[record_id] > 1:
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


# The texts of a value that clearly gives or withholds consent: the same as in `sql/consent.sql`
_CLEAR = frozenset({"true", "false", "t", "f", "1", "0", "1.0", "0.0"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one unit test. `failures` are lines of text; there are none if the test has passed.

    `untyped` are given columns without a known data type, whose value type was guessed from the given values.
    """

    mapping: str
    test: str
    seconds: float
    failures: tuple[str, ...]
    untyped: tuple[str, ...] = ()


def run_unit_tests(project: Project, names: Collection[str], clock: Callable[[], float]) -> Iterator[Outcome]:
    """Run the unit tests of the mappings with these names; without names, those of all mappings."""
    # the data types of columns are in a contract, in catalog.json or in the model's YAML
    catalog = Catalog(project.context.artifacts_dir, project.manifest)
    for mapping in find_mappings(project.mappings, names):
        known = catalog.columns_of(mapping.model)
        for test in mapping.meta.tests:
            started = clock()
            try:
                failures, untyped = _run(mapping, test, known, project.manifest.adapter_type)
            except ConfigurationError as error:
                failures, untyped = error.problems, ()
            yield Outcome(mapping.name, test.name, clock() - started, failures, untyped)


def _run(
    mapping: Mapping, test: UnitTest, known: KnownColumns, adapter_type: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the differences of a test, and its columns of unknown type."""
    rows = test.given.rows
    columns, identifier = _find_given_columns(mapping, rows, known, adapter_type)
    change_type = test.given.change_type or mapping.meta.sync_mode[0]
    calls: list[dict[str, Any]] = []
    discards: list[str] = []
    token = fixed_now.set(test.now)  # `now` in a @liquid template
    try:
        # no write key: messageIds are compared only if a test expects them
        make_calls = CallMaker(mapping, columns, write_key="", sync_id="test", started_at=test.now)
        for change in _changes_of(rows, change_type, columns, identifier):
            call, reason = _sent(mapping, make_calls, change, columns)
            calls += [] if call is None else [call]
            discards += [] if reason is None else [reason]
    finally:
        fixed_now.reset(token)
    given = {name.casefold() for row in rows for name in row}
    untyped = tuple(one.key for one in columns if not one.data_type and one.key.casefold() in given)
    return tuple(_differences(test.expect, calls, discards)), untyped


def _sent(
    mapping: Mapping, make_calls: CallMaker, change: Row, columns: Sequence[Column]
) -> tuple[dict[str, Any] | None, str | None]:
    """Return the call of a change, or the reason why a run sends none."""
    change_type = change[1]
    # a run decides these three in SQL, before it makes a call
    if reason := UNIDENTIFIED.get(change_type):
        return None, reason
    if change_type not in mapping.meta.sync_mode:
        return None, f"left out: sync_mode has no {change_type} records"
    # Segment has received updated and deleted records: the loss of consent is sent once
    if change_type == "added" and mapping.skips_unknown_consent and not _has_consent_value(mapping, change, columns):
        return None, "held back: no consent column has a value"
    reasons: list[str] = []

    def discard(_: int, reason: str) -> None:
        reasons.append(reason)

    made = make_calls.checked(make_calls.many([change], discard), discard)
    reason = reasons[0] if reasons else discard_reason(made.calls[0])
    return (made.calls[0], None) if reason is None else (None, reason)


def _has_consent_value(mapping: Mapping, change: Row, columns: Sequence[Column]) -> bool:
    values = dict(zip((column.key for column in columns), change[3:], strict=True))
    return any(str(values[column]).lower() in _CLEAR for column in mapping.consent.values())


def _differences(expect: Expected, calls: Sequence[dict[str, Any]], discards: Sequence[str]) -> Iterator[str]:
    if len(calls) != len(expect.calls):
        yield f"expected {counted(len(expect.calls), 'call')}, got {len(calls)}"
    for at in range(max(len(calls), len(expect.calls))):
        expected, actual = expect.calls[at : at + 1], calls[at : at + 1]
        shown = [_compared(one, expected[0], exact=expect.exact) if expected else one for one in actual]
        if not (expected and shown and _is_same(expected[0], shown[0])):
            yield f"call {at + 1} (- expected, + actual)"
            yield from _diff(expected, shown)
    # an expected discard may be a part of the reason
    missing = len(expect.discards) != len(discards)
    if missing or any(part not in reason for part, reason in zip(expect.discards, discards, strict=True)):
        yield "discards (- expected, + actual)"
        yield from (f"- {reason}" for reason in expect.discards)
        yield from (f"+ {reason}" for reason in discards)


def _compared(actual: dict[str, Any], expected: dict[str, Any], *, exact: bool) -> Any:
    """Return the part of an actual call to compare: the keys of the expected call; if `exact`, all keys.

    Even then, the messageId is compared only if it is expected: a run makes it from the sync id.
    """
    if not exact:
        return _pruned(actual, expected)
    return {key: value for key, value in actual.items() if key != "messageId" or key in expected}


def _pruned(actual: Any, expected: Any) -> Any:
    if isinstance(actual, dict) and isinstance(expected, dict):
        return {key: _pruned(actual[key], one) for key, one in expected.items() if key in actual}
    # lists of different lengths have no pairs to prune, so the difference shows both as a whole
    if isinstance(actual, list) and isinstance(expected, list) and len(actual) == len(expected):
        return [_pruned(*pair) for pair in zip(actual, expected, strict=True)]
    return actual


def _is_same(expected: Any, actual: Any) -> bool:
    """Compare JSON: 1 equals 1.0, as in JavaScript; 1 does not equal true, as it does in Python."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(_is_same(one, actual[key]) for key, one in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_is_same, expected, actual))
    return isinstance(expected, bool) == isinstance(actual, bool) and bool(expected == actual)


def _diff(expected: Sequence[abc.Mapping[str, Any]], actual: Sequence[abc.Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of both calls as indented JSON, with their differences. Keys are sorted: their order is free."""
    before, after = ([line for one in some for line in _lines(one)] for some in (expected, actual))
    for line in difflib.ndiff(before, after):
        if not line.startswith("?"):  # ndiff marks the characters that differ, which only widens the output
            yield line


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str).splitlines()
