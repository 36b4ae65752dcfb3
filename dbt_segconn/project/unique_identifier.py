"""The default of `unique_identifier`, from constraints and tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dbt_segconn.project.artifacts import PLAIN_NAME, Manifest, Model
from dbt_segconn.project.findings import NO_IDENTIFIER, Fault

_QUOTED = re.compile(r'"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]')
# Values of error_if with which one failing row fails the test
_ANY_FAILURE = frozenset({"!=0", ">0", ">=1"})
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
        return Identity((), "several primary keys are declared", _joined(keys))
    tests = list(manifest.tests_on(model.unique_id))
    unique, not_null = (tuple(_tested_columns(name, tests)) for name in ("unique", "not_null"))
    both = _distinct(name for name in unique if any(_is_same(name, other) for other in not_null))
    if len(both) == 1:
        return Identity((unquoted(both[0]),))
    if both:
        names = tuple(map(unquoted, both))
        return Identity((), f"several columns are tested both unique and not_null: {', '.join(names)}", names)
    return Identity((), "no column is tested both unique and not_null", _tested_unique(tests))


def unquoted(name: str) -> str:
    """Return a column's name without the quotes that dbt adds for `quote: true`."""
    return name[1:-1].replace('""', '"') if _QUOTED.fullmatch(name) else name


def _primary_keys(model: Model) -> Iterator[tuple[str, ...]]:
    yield from dict.fromkeys(columns for kind, columns in model.constraints if kind == "primary_key" and columns)
    yield from ((column.name,) for column in model.columns if "primary_key" in column.constraints)


def _joined(keys: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for key in keys for name in key))


def _tested_columns(test: str, tests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the columns that a test of this name checks, quoted as in dbt's SQL."""
    for node in tests:
        name, arguments = _name_and_arguments(node)
        column = column_of_test(node)
        if name == test and column and set(arguments) <= _OWN_ARGUMENTS and _fails_on_any_row(node.get("config") or {}):
            yield column


def _name_and_arguments(node: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return a test's name and arguments. The name is empty for a test of a package."""
    meta = node.get("test_metadata") or {}
    name = meta.get("name", "") if meta.get("namespace") in {None, "dbt"} else ""
    return name, meta.get("kwargs") or {}


def column_of_test(node: Mapping[str, Any]) -> str | None:
    """Return the column of a test, quoted as in dbt's SQL; None for an expression or a test of the model."""
    kwargs = (node.get("test_metadata") or {}).get("kwargs") or {}
    name = kwargs.get("column_name") or node.get("column_name")
    is_column = isinstance(name, str) and (PLAIN_NAME.fullmatch(name) or _QUOTED.fullmatch(name))
    return name if is_column else None


def _fails_on_any_row(config: Mapping[str, Any]) -> bool:
    """Return whether any single failing row fails the test."""
    return (
        config.get("enabled") is not False
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


def _tested_unique(tests: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    named = (column_of_test(node) for node in tests if _name_and_arguments(node)[0] == "unique")
    return tuple(map(unquoted, _distinct(filter(None, named))))
