"""How far a model has been read: which of its rows are new to the next sync, by a column that rises with changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.tables import HistoryRow
from dbt_segconn.warehouse.source import Source
from dbt_segconn.warehouse.values import WHOLE_NUMBERS, Column

# A point in the order of a checkpoint's column; times have no zone: they are in the column's own, or in UTC
Point = int | date | datetime


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that a sync reads: those whose `column` is at or past `after`, or null.

    `after` is a number, or text as SQL casts it. `with_unsettled`: also the rows of records that were refused,
    or of which nobody knows what Segment has, whatever their age.
    """

    column: Column
    after: int | str
    with_unsettled: bool = False


def known_checkpoint(mapping: Mapping, source: Source, last: HistoryRow | None) -> str | None:
    """Return up to where the last settled sync has read, or None where this one must read the whole model.

    That is so where other records, or other columns of them, are compared now: rows of any age may differ.
    """
    if source.checkpoint is None or last is None or last.checkpoint_of != source.checkpoint.basis:
        return None
    was = (last.definition, last.signature, last.identifier)
    is_same = was == (mapping.definition, source.signature, ",".join(mapping.identifier))
    is_there = last.relation == str(source.relation) or mapping.meta.guards.allow_moved
    return last.checkpoint if is_same and is_there else None


def first_to_read(column: Column, checkpoint: str, lag: int | timedelta) -> int | str | None:
    """Return the value of the column from which on rows are read; None where no such value can be told."""
    point = _point(column, checkpoint)
    try:
        if isinstance(point, int):
            return point - (lag if isinstance(lag, int) else 0)
        behind = lag if isinstance(lag, timedelta) else timedelta()
        if column.data_type.lower() == "timestamp_ns":  # its last three digits were rounded away
            behind += timedelta(microseconds=1)
        if isinstance(point, datetime):
            return (point - behind).isoformat(sep=" ", timespec="microseconds")
        return (point - timedelta(days=-(-behind // timedelta(days=1)))).isoformat() if point else None
    except OverflowError:
        return None


def reached(column: Column, newest: Any, before: str | None, now: datetime) -> str | None:
    """Return the checkpoint of a sync that finds `newest` in the rows that it reads, after one that was at `before`.

    It is never past `now`, which is UTC: a row from the future must not hide those that come before it.
    """
    points = [point for text in (newest, before) if (point := _point(column, text)) is not None]
    if not points:
        return None
    furthest = max(points)
    if isinstance(furthest, int):
        return str(furthest)
    local = _local(column, now)
    return min(furthest, local if isinstance(furthest, datetime) else local.date()).isoformat()


def _point(column: Column, value: Any) -> Point | None:
    """Read a value of the column as `segconn_newest` selects it; None for what Python has no number or date for."""
    if value is None:
        return None
    try:
        if column.value_type in WHOLE_NUMBERS:
            return int(value)
        if column.value_type == "date":
            return date.fromisoformat(str(value))
        return datetime.fromisoformat(str(value).rstrip("Z"))
    except ValueError:  # before the year 1, or after 9999
        return None


def _local(column: Column, now: datetime) -> datetime:
    """Return the time on the clock that the column's values were read from, in whole seconds."""
    if column.value_type == "timestamptz" or column.zone == "UTC":
        return now.replace(microsecond=0)
    aware = now.replace(tzinfo=timezone.utc, microsecond=0)
    try:
        return aware.astimezone(ZoneInfo(column.zone)).replace(tzinfo=None)
    except ZoneInfoNotFoundError:  # a system without time zones: no clock is further behind
        return now - timedelta(days=1)
