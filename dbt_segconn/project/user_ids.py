"""Checks of user and group ids: constants, and columns that deleted records lack."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbt_segconn.mapping import columns_used
from dbt_segconn.mapping.constants import is_constant
from dbt_segconn.project.findings import CONSTANT_ID, NO_ID_WHEN_DELETED, Fault

# Segment's name for a record's identifier; deleted records keep it
SEGMENT_ID = "__segment_id"
IDS = ("user_id", "anonymous_id", "group_id")
_WORD = re.compile(r"[A-Za-z_]\w*")


def constant_ids(fields: Mapping[str, Any], columns: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each id that is the same for all records. `columns` are used for suggestions."""
    for name in IDS:
        value = fields.get(name)
        if value is None or value == "" or not is_constant(value):
            continue
        what = (
            f"must be a column, not the constant {value!r}"
            if isinstance(value, (str, int, float))
            else "must use a column"
        )
        entity = "group" if name == "group_id" else "user"
        reason = f"{what}: Segment would merge all records into one {entity}, which cannot be undone"
        fix = "If you mean a constant, write `constant_ids: allowed` beside `fields`."
        fix = f"{_suggested_column(name, value, columns)} {fix}"
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
        names = [name for name in wanted if fields.get(name) and not (name == "event_name" and _is_text(fields[name]))]
        if names and all(_is_lost_when_deleted(fields[name], kept) for name in names):
            reason = "deleted records have no value for it, and the sync mode includes `deleted`"
            yield Fault(NO_ID_WHEN_DELETED, ("fields", names[0]), reason, fix)


def _is_lost_when_deleted(value: Any, kept: Iterable[str]) -> bool:
    """Return whether a value is empty with the `kept` columns only. A template needs all its columns."""
    columns = columns_used(value)
    if not columns:
        return False
    folded = {column.casefold() for column in kept}
    are_kept = [column.casefold() in folded for column in columns]
    return not (all(are_kept) if _is_text(value) else any(are_kept))


def _is_text(value: Any) -> bool:
    return isinstance(value, dict) and not {"@template", "@liquid"}.isdisjoint(value)
