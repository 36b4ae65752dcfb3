"""The command `estimate`: its forecast as a table with notes, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, mapping_option, project_options, selection_options
from dbt_segconn.commands.terminal.output import say, write_json

if TYPE_CHECKING:
    from dbt_segconn.inspection.estimate import Estimate, Forecast

_CHANGE_TYPES = ("added", "updated", "deleted")


@command(group="Before a run")
@project_options
@selection_options
@mapping_option
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def estimate(*, style: str, **params: Any) -> None:
    """Count what a run would send now, and what it costs: calls, users, bytes, time, money.

    Counts the current changes in the warehouse, whether or not dbt has just refreshed the models. Reads each
    model a few times; sends and writes nothing. Measures sizes on up to 1,000 calls of each mapping. Reports
    money if segconn.yml has `pricing`.

    \b
    Examples:
      dbt-segconn estimate
      dbt-segconn estimate --select customers --format json
    """
    from dbt_segconn.commands.terminal.tables import show
    from dbt_segconn.inspection.estimate import estimate as estimate_run

    forecast = estimate_run(as_options(**params, all=True))
    if style == "json":
        write_json(_as_json(forecast))
        return
    if forecast.mappings:
        show([*map(_row, forecast.mappings), _total_row(forecast)], "table")
    for line in _lines(forecast):
        say(line)


def _as_json(forecast: Forecast) -> dict[str, Any]:
    total = {
        "calls": forecast.calls,
        "users": forecast.users,
        "bytes": sum(one.size.bytes for one in forecast.mappings),
        "requests": sum(one.size.requests for one in forecast.mappings),
        "seconds": forecast.seconds,
        "calls_this_month": forecast.calls_this_month,
    }
    return {
        "mappings": forecast.mappings,
        "total": total,
        "over_budget": forecast.over_budget,
        "costs": forecast.costs,
    }


def _row(one: Estimate) -> dict[str, str]:
    return {
        "mapping": one.mapping,
        **{change_type: f"{one.calls.get(change_type, 0):,}" for change_type in _CHANGE_TYPES},
        "calls": f"{one.total:,}",
        "users": f"{one.users.named:,}" if one.users else "?",
        "new_users": f"{one.users.new:,}" if one.users else "?",
        "size": _bytes(one.size.bytes),
        "requests": f"{one.size.requests:,}",
        "time": _time(one.seconds),
    }


def _total_row(forecast: Forecast) -> dict[str, str]:
    totals = {name: sum(one.calls.get(name, 0) for one in forecast.mappings) for name in _CHANGE_TYPES}
    return {
        "mapping": "total",
        **{change_type: f"{count:,}" for change_type, count in totals.items()},
        "calls": f"{forecast.calls:,}",
        "users": f"{forecast.users.named:,}",
        "new_users": f"{forecast.users.new:,}",
        "size": _bytes(sum(one.size.bytes for one in forecast.mappings)),
        "requests": f"{sum(one.size.requests for one in forecast.mappings):,}",
        "time": _time(forecast.seconds),
    }


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "no limit"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:,.1f} min"


def _lines(forecast: Forecast) -> Iterator[str]:
    if not forecast.mappings:
        yield "No mapping to estimate."
        return
    for one in forecast.mappings:
        yield from (f"{one.mapping}: {text}" for text in _notes(one))
    if forecast.calls:
        yield (
            "new_users: users without a record that these mappings have sent before. Segment bills a user once a "
            "month. A known user is also billed if nothing else tracks it this month."
        )
    for cost in forecast.costs:
        before = f" after {cost.before:,} this month" if cost.before else ""
        price = f"{cost.money:,.2f} {cost.currency}"
        yield f"{cost.what}: {cost.units:,}{before}, {cost.beyond:,} of them beyond the included amount: {price}"
    yield from (f"Budget: {text}." for text in forecast.over_budget)


def _notes(one: Estimate) -> Iterator[str]:
    if one.size.measured and one.size.measured + one.size.discarded < one.total:
        yield f"size and requests are extrapolated from {one.size.measured:,} calls"
    if one.size.discarded:
        sampled = one.size.measured + one.size.discarded
        yield f"{one.size.discarded:,} of {sampled:,} sampled calls would be discarded:"
        yield from (f"  {count:,}: {reason}" for reason, count in one.size.reasons.items())
    if one.users is None:
        yield "its user ids are not plain columns, so users cannot be counted, neither here nor in the total"
    yield from one.notes
