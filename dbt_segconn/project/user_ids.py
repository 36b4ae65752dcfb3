"""Ids that would make one user or group of many, or that deleted records do not have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbt_segconn.mapping import columns_used
from dbt_segconn.mapping.constants import is_constant
from dbt_segconn.project.findings import CONSTANT_ID, NO_ID_WHEN_DELETED, Fault

# Segment's name for the identifier of a record, which a deleted record still has
SEGMENT_ID = "__segment_id"
IDS = ("user_id", "anonymous_id", "group_id")
_WORD = re.compile(r"[A-Za-z_]\w*")


def constant_ids(fields: Mapping[str, Any], columns: Iterable[str]) -> Iterator[Fault]:
    """Object to ids that are the same for all records; `columns` are the known ones, for one of them may be meant."""
    for name in IDS:
        value = fields.get(name)
        if value is None or value == "" or not is_constant(value):
            continue
        what = f"is the constant {value!r}" if isinstance(value, (str, int, float)) else "holds no column"
        one = "group" if name == "group_id" else "user"
        reason = f"{what}: Segment would take all records for one {one}, which cannot be undone"
        fix = f"{_meant(name, value, columns)} If a constant is meant, write `constant_ids: allowed` beside `fields`."
        yield Fault(CONSTANT_ID, ("fields", name), reason, fix)


def _meant(name: str, value: Any, columns: Iterable[str]) -> str:
    """Name the column that a constant looks like: customer_id, {customer_id}, $.properties.customer_id."""
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
    """Object to required fields that are made of columns which a deleted record no longer has.

    An event's name may keep its text: `Left ${plan}` is still a name.
    """
    kept = (*identifier, SEGMENT_ID)
    own = {"track": ("event_name",), "group": ("group_id",)}.get(action, ())
    fix = f"Deleted records keep {', '.join(map(_reference, kept))}: map it from these, or leave `deleted` to a mapping"
    for wanted in (("user_id", "anonymous_id"), own):
        names = [name for name in wanted if fields.get(name) and not (name == "event_name" and _is_text(fields[name]))]
        if names and all(_is_lost(fields[name], kept) for name in names):
            reason = "deleted records, which the sync mode sends, have no value for it"
            yield Fault(NO_ID_WHEN_DELETED, ("fields", names[0]), reason, f"{fix} of its own.")


def _is_lost(value: Any, kept: Iterable[str]) -> bool:
    """Whether no column of a value is kept; a text needs all of its columns."""
    columns = columns_used(value)
    if not columns:
        return False
    folded = {column.casefold() for column in kept}
    are_kept = [column.casefold() in folded for column in columns]
    return not (all(are_kept) if _is_text(value) else any(are_kept))


def _is_text(value: Any) -> bool:
    return isinstance(value, dict) and not {"@template", "@liquid"}.isdisjoint(value)
