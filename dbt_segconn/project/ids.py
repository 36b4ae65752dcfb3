"""Who a call is about: ids that would make one user or group of many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbt_segconn.mapping.constants import is_constant
from dbt_segconn.project.findings import CONSTANT_ID, Fault

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
