"""Checkpoints: how far a model has been read, by a column that increases with each change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.state.tables import HistoryRow
from dbt_segconn.warehouse.source import WHOLE_NUMBERS, Column, Source

# A value of a checkpoint column. Times have no zone here: UTC for a column with a time zone, else its `zone`
Point = int | date | datetime


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that a sync reads: `column` is null, or at least `after` and, with `before`, below that.

    Both are numbers, or texts that SQL casts to the column's type. `with_unsettled` adds the rows of discarded records
    and of records with an unknown state at Segment, whatever their age.
    """

    column: Column
    after: int | str | None
    with_unsettled: bool = False
    before: int | str | None = None


def known_checkpoint(mapping: Mapping, source: Source, last: HistoryRow | None) -> str | None:
    """Return the checkpoint of the last settled sync, or None if the whole model must be read.

    The whole model is read if the mapping, its columns, its identifier or its relation changed: old rows may differ.
    """
    if source.checkpoint is None or last is None or last.checkpoint_of != source.checkpoint.basis:
        return None
    previous = (last.definition, last.signature, last.identifier)
    is_same = previous == (mapping.definition, source.signature, ",".join(mapping.identifier))
    # blue/green deployments swap two relations with the same rows
    is_same_relation = last.relation == str(source.relation) or mapping.meta.guards.allow_moved
    return last.checkpoint if is_same and is_same_relation else None


def lower_bound(column: Column, checkpoint: str, lag: int | timedelta) -> int | str | None:
    """Return the lowest value of the column to read: the checkpoint minus the lag. None if it cannot be computed."""
    point = _point(column, checkpoint)
    try:
        if isinstance(point, int):
            # `misfit` allows a lag of the other type only if it is 0
            return point - (lag if isinstance(lag, int) else 0)
        behind = lag if isinstance(lag, timedelta) else timedelta()
        if column.data_type.lower() == "timestamp_ns":  # Python times have microseconds, not nanoseconds
            behind += timedelta(microseconds=1)
        if isinstance(point, datetime):
            return _as_sql(point - behind)
        # a date has no hours: the lag is rounded up to whole days
        return (point - timedelta(days=-(-behind // timedelta(days=1)))).isoformat() if point else None
    except OverflowError:
        return None


def with_step(mapping: Mapping, source: Source, after: str | None, before: str | None) -> Source:
    """Return the source with the limits of --after and --before.

    Raise ConfigurationError if the mapping has no checkpoint, or if a limit is no value of its column.
    """
    if after is None and before is None:
        return source
    column = source.checkpoint
    if column is None:
        raise ConfigurationError(
            f"{mapping.name}: --after and --before need a column that orders the rows, and the mapping has no "
            "`checkpoint`. Add one, or choose other mappings with --mapping."
        )
    low, high = (None if text is None else _limit(mapping, column, text) for text in (after, before))
    if low is not None and high is not None and not low < high:  # type: ignore[operator]  # both have one type
        raise ConfigurationError(f"{mapping.name}: --after {after!r} must be below --before {before!r}.")
    return replace(source, step=(_as_sql(low), _as_sql(high)))


def _limit(mapping: Mapping, column: Column, text: str) -> Point:
    """Parse a limit. A time with an offset is converted to the zone of the column."""
    try:
        if column.value_type not in {"timestamp", "timestamptz"}:
            return int(text) if column.value_type in WHOLE_NUMBERS else date.fromisoformat(text)
        point = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 cannot parse a Z
        zone = "UTC" if column.value_type == "timestamptz" else column.zone
        return point.astimezone(ZoneInfo(zone)).replace(tzinfo=None) if point.tzinfo else point
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        example = {"date": "2026-01-31", "integer": "1000", "whole": "1000"}.get(column.value_type)
        raise ConfigurationError(
            f"{mapping.name}: --after and --before must be values of {column.name} ({column.data_type}), such as "
            f"{example or '2026-01-31 or 2026-01-31T12:00:00'}, not {text!r}."
        ) from None


def _as_sql(point: Point | None) -> int | str | None:
    if isinstance(point, datetime):
        return point.isoformat(sep=" ", timespec="microseconds")
    return point.isoformat() if isinstance(point, date) else point


def new_checkpoint(column: Column, newest: Any, before: str | None, now: datetime) -> str | None:
    """Return the new checkpoint: the greater of `newest`, read from the model, and `before`, the last checkpoint.

    It is at most `now` (UTC). Otherwise, after one row with a time in the future, no earlier row would be read.
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
    """Parse a value of the column as `segconn_newest` selects it; None if Python cannot represent it."""
    if value is None:
        return None
    try:
        if column.value_type in WHOLE_NUMBERS:
            return int(value)
        if column.value_type == "date":
            return date.fromisoformat(str(value))
        return datetime.fromisoformat(str(value).rstrip("Z"))
    except ValueError:  # Python has no times before the year 1 or after 9999
        return None


def _local(column: Column, now: datetime) -> datetime:
    """Convert `now` from UTC to the time zone of the column, in whole seconds."""
    if column.value_type == "timestamptz" or column.zone == "UTC":
        return now.replace(microsecond=0)
    aware = now.replace(tzinfo=timezone.utc, microsecond=0)
    try:
        return aware.astimezone(ZoneInfo(column.zone)).replace(tzinfo=None)
    except ZoneInfoNotFoundError:  # without a database of time zones, take the earliest: no zone is a day behind UTC
        return now - timedelta(days=1)
