"""Identifiers of records and users: defaults from tests, and checks of snapshots and of user ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from dbt_segconn.mapping import columns_used
from dbt_segconn.mapping.compiler import column_of, is_constant
from dbt_segconn.mapping.path import column_at, split_template, steps
from dbt_segconn.project.artifacts import PLAIN_NAME, Manifest, Model, Snapshot
from dbt_segconn.project.findings import (
    CONSTANT_ID,
    NO_ID_WHEN_DELETED,
    NO_IDENTIFIER,
    NOT_A_SNAPSHOT,
    ORDER_MISSING,
    SNAPSHOT_KEY,
    Fault,
)
from dbt_segconn.project.meta import MappingMeta

# Segment's name for a record's identifier; deleted records keep it
SEGMENT_ID = "__segment_id"
IDS = ("user_id", "anonymous_id", "group_id")
_WORD = re.compile(r"[A-Za-z_]\w*")
# The quotes of most warehouses; of BigQuery, Databricks and Spark; of SQL Server
_QUOTED = re.compile(r'"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]')
# Values of dbt's error_if with which one failing row fails a test
# https://docs.getdbt.com/reference/resource-configs/severity
_ANY_FAILURE = frozenset({"!=0", ">0", ">=1"})
# dbt gives these to every generic test. Any other argument may restrict the test to a part of the rows
_OWN_ARGUMENTS = frozenset({"column_name", "model"})


@dataclass(frozen=True, slots=True)
class Identity:
    """The default identifier, or the reason why there is none.

    `candidates` are columns that constraints or tests suggest.
    """

    columns: tuple[str, ...]
    reason: str = ""
    candidates: tuple[str, ...] = ()

    def fault(self) -> Fault:
        """Return the fault of a missing identifier."""
        fix = "Set it to the column that identifies a record."
        if self.candidates:
            fix += f" Candidates: {', '.join(self.candidates)}."
        return Fault(NO_IDENTIFIER, ("unique_identifier",), f"is missing and has no default: {self.reason}", fix)


def default_identifier(model: Model, manifest: Manifest) -> Identity:
    """Return the primary key constraint, else the only column with both tests unique and not_null.

    Only tests that can fail a build count: enabled, with severity error, on all rows of a plain column. The manifest's
    `primary_key` is not used, because it combines the columns of all tests.
    """
    keys = list(_primary_keys(model))
    if len(keys) == 1:
        return Identity(keys[0])
    if keys:
        return Identity((), "several primary keys are declared", tuple(dict.fromkeys(chain.from_iterable(keys))))
    tests = manifest.tests_on(model.unique_id)
    unique, not_null = (
        [column for column, test in _columns_tested(name, tests) if _fails_on_any_row(test)]
        for name in ("unique", "not_null")
    )
    both = _distinct(name for name in unique if any(_is_same(name, other) for other in not_null))
    names = tuple(map(unquoted, both))
    if len(names) == 1:
        return Identity(names)
    # No guess: it could change with the next test in the YAML, and all records would be sent again
    if names:
        return Identity((), f"several columns are tested both unique and not_null: {', '.join(names)}", names)
    tested = _distinct(column for column, _ in _columns_tested("unique", tests))
    return Identity((), "no column is tested both unique and not_null", tuple(map(unquoted, tested)))


def unquoted(name: str) -> str:
    """Return a column's name without the quotes that dbt adds for `quote: true`."""
    return name[1:-1].replace('""', '"') if _QUOTED.fullmatch(name) else name


def _primary_keys(model: Model) -> Iterator[tuple[str, ...]]:
    yield from dict.fromkeys(columns for kind, columns in model.constraints if kind == "primary_key" and columns)
    yield from ((column.name,) for column in model.columns if "primary_key" in column.constraints)


def _columns_tested(test: str, tests: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield column and node of dbt's tests of this name, the column quoted as in dbt's SQL. Skip expressions."""
    for node in tests:
        meta = node.get("test_metadata") or {}
        column = (meta.get("kwargs") or {}).get("column_name") or node.get("column_name")
        # The namespace of a package's test is the package
        is_named = meta.get("name") == test and meta.get("namespace") in {None, "dbt"}
        if is_named and isinstance(column, str) and (PLAIN_NAME.fullmatch(column) or _QUOTED.fullmatch(column)):
            yield column, node


def _fails_on_any_row(test: Mapping[str, Any]) -> bool:
    """Return whether any single failing row fails the test."""
    config = test.get("config") or {}
    return (
        set((test.get("test_metadata") or {}).get("kwargs") or ()) <= _OWN_ARGUMENTS
        and config.get("enabled") is not False
        and str(config.get("severity") or "error").casefold() == "error"
        and not config.get("where")
        and str(config.get("error_if") or "!= 0").replace(" ", "") in _ANY_FAILURE
        and (config.get("fail_calc") or "count(*)").replace(" ", "").casefold() == "count(*)"
    )


def _is_same(one: str, other: str) -> bool:
    """Compare names as warehouses do: case-sensitive only if both are quoted."""
    if _QUOTED.fullmatch(one) and _QUOTED.fullmatch(other):
        return one == other
    return unquoted(one).casefold() == unquoted(other).casefold()


def _distinct(names: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for name in names:
        if not any(_is_same(name, other) for other in kept):
            kept.append(name)
    return kept


def snapshot_faults(model: Model, identifier: tuple[str, ...], meta: MappingMeta) -> Iterator[Fault]:
    """Check `records` and `order_by` of a mapping against its model."""
    if model.snapshot and meta.records == "current":
        yield from _faults_of_current(model.snapshot, identifier)
    elif model.snapshot:
        yield from _faults_of_versions(model.snapshot, identifier, meta)
    elif meta.records == "current":
        reason = f"must be all, not current: {model.resource_type} {model.name} is not a snapshot"
        yield Fault(NOT_A_SNAPSHOT, ("records",), reason, "Remove `records`, or map a snapshot.")


def _faults_of_current(snapshot: Snapshot, identifier: tuple[str, ...]) -> Iterator[Fault]:
    key = ", ".join(snapshot.unique_key)
    if not identifier:
        # An expression names no column of the snapshot that could identify the records
        fix = "Set unique_identifier to the column with the key of the entity."
        yield Fault(SNAPSHOT_KEY, ("records",), "the snapshot's unique_key must be columns, not an expression", fix)
    elif _folded(identifier) == {snapshot.scd_id.casefold()}:
        reason = (
            f"{snapshot.scd_id} identifies versions. With records: current, a changed row would be a deleted record"
        )
        fix = f"Remove unique_identifier, which defaults to the snapshot's key ({key})." if key else ""
        yield Fault(SNAPSHOT_KEY, ("records",), reason, fix or "Set unique_identifier to the key of the entity.")


def _faults_of_versions(snapshot: Snapshot, identifier: tuple[str, ...], meta: MappingMeta) -> Iterator[Fault]:
    current = "`records: current` to send only the current rows"
    if identifier and _folded(identifier) <= _folded(snapshot.unique_key):
        reason = f"{' and '.join(identifier)} is the snapshot's unique_key, so a changed record has several rows"
        fix = f"Write {current}, or remove unique_identifier. Its default is {snapshot.scd_id}, one record per version."
        yield Fault(SNAPSHOT_KEY, ("records",), reason, fix)
    # Several requests are in flight at once: the newest version could arrive before an older one
    elif not meta.order_by:
        reason = "is missing: a snapshot has several versions of a row, and the newest must be sent last"
        fix = f"Write `order_by: {snapshot.valid_from}`, or {current}."
        yield Fault(ORDER_MISSING, ("order_by",), reason, fix)


def _folded(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}


def id_column(value: Any) -> str | None:
    """Return the column of an id that is one column, `$id` or `${id}`; None for any other value."""
    template = value.get("@template") if isinstance(value, dict) and len(value) == 1 else None
    match split_template(template) if isinstance(template, str) else None:
        case ["", path, ""]:
            return column_at(steps(path))
    return column_of(value)


def constant_ids(fields: Mapping[str, Any], columns: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each id that is the same for all records. `columns` are used for suggestions."""
    for name in IDS:
        value = fields.get(name)
        # Segment's destination removes null and empty ids, so they merge no records
        if value is None or value == "" or not is_constant(value):
            continue
        what = f"be a column, not the constant {value!r}" if isinstance(value, (str, int, float)) else "use a column"
        entity = "group" if name == "group_id" else "user"
        reason = f"must {what}: Segment would merge all records into one {entity}, which cannot be undone"
        allow = "If you mean a constant, write `constant_ids: allowed` beside `fields`."
        fix = f"{_suggested_column(name, value, columns)} {allow}"
        yield Fault(CONSTANT_ID, ("fields", name), reason, fix)


def _suggested_column(name: str, value: Any, columns: Iterable[str]) -> str:
    """Suggest the column of a constant such as customer_id, {customer_id} or $.properties.customer_id."""
    text = value if isinstance(value, str) else ""
    words = _WORD.findall(text)
    for one in columns:
        if one.casefold() in {text.strip().casefold(), *(word.casefold() for word in words[-1:])}:
            return f"Did you mean {_reference(one)}?"
    if words == [text]:
        return f"If {text} is a column, write {_reference(text)}."
    return f"Map a column: {name}: $column."


def _reference(column: str) -> str:
    return f"${column}" if _WORD.fullmatch(column) else f"${{{column}}}"


def ids_of_deleted(action: str, fields: Mapping[str, Any], identifier: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each required field that has no value in deleted records.

    An event name with other text is accepted: `Left ${plan}` is never empty.
    """
    kept = (*identifier, SEGMENT_ID)
    own = {"track": ("event_name",), "group": ("group_id",)}.get(action, ())
    fix = f"Map it from {', '.join(map(_reference, kept))}, or move `deleted` to a separate mapping."
    for wanted in (("user_id", "anonymous_id"), own):
        names = [
            name for name in wanted if fields.get(name) and not (name == "event_name" and _is_template(fields[name]))
        ]
        if names and all(_is_lost_when_deleted(fields[name], kept) for name in names):
            reason = "deleted records have no value for it, and the sync mode includes `deleted`"
            yield Fault(NO_ID_WHEN_DELETED, ("fields", names[0]), reason, fix)


def _is_lost_when_deleted(value: Any, kept: Iterable[str]) -> bool:
    """Return whether a value is empty with the `kept` columns only. A template needs all its columns."""
    columns = columns_used(value)
    if not columns:
        return False
    lost = [column.casefold() not in _folded(kept) for column in columns]
    return any(lost) if _is_template(value) else all(lost)


def _is_template(value: Any) -> bool:
    return isinstance(value, dict) and not {"@template", "@liquid"}.isdisjoint(value)
