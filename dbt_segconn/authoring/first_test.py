"""A first unit test for a suggested mapping: one row of sample values, and the call that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dbt_segconn.actions import compile_action
from dbt_segconn.authoring.suggest import ColumnHint
from dbt_segconn.errors import RecordError
from dbt_segconn.mapping import columns_named
from dbt_segconn.mapping.compiler import expand

# Columns of the other types stay null: a date in the call depends on the column's own type and time zone
_SAMPLES: Mapping[str, Any] = {"number": 1, "boolean": True}


def with_first_test(
    mapping: Mapping[str, Any], columns: Iterable[ColumnHint], identifier: Sequence[str]
) -> dict[str, Any]:
    """Return a mapping with a test; unchanged if a required field is missing, so that it makes no call yet."""
    fields = expand(mapping["fields"])
    used = columns_named(fields) | set(identifier)
    row = {one.name: sample for one in columns if one.name in used and (sample := _sample(one)) is not None}
    try:
        call = compile_action(mapping["action"], fields)({"properties": row})
    except RecordError:
        return dict(mapping)
    expected = _without_null({key: value for key, value in call.items() if key != "context"})
    test = {"name": f"a_record_becomes_{mapping['action']}", "given": {"rows": [row]}}
    return {**mapping, "tests": [{**test, "expect": {"calls": [expected]}}]}


def _sample(column: ColumnHint) -> Any:
    return f"{column.name}-1" if column.spec_type in {"text", None} else _SAMPLES.get(column.spec_type or "")


def _without_null(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_null(one) for key, one in value.items() if one is not None and one != {}}
