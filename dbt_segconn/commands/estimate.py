"""The command `estimate`: its forecast as a table with notes, or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dbt_segconn.commands.main import command
from dbt_segconn.commands.options import as_options, format_option, outlook_options
from dbt_segconn.commands.terminal.output import say, write_json

if TYPE_CHECKING:
    from dbt_segconn.inspection.estimate import Estimate, Forecast, Users


@command(group="Before a run")
@outlook_options
@format_option("text", "json")
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
    from dbt_segconn.inspection.estimate import estimate as estimate_run

    # `all`: an estimate does not need dbt's results
    forecast = estimate_run(as_options(**params, all=True))
    if style == "json":
        write_json(_as_json(forecast))
        return
    show_forecast(forecast)


def show_forecast(forecast: Forecast) -> None:
    """Print a forecast as a table with notes."""
    from dbt_segconn.commands.terminal.tables import show

    if forecast.mappings:
        show(list(_rows(forecast)), "table")
    for line in _lines(forecast):
        say(line)


def _as_json(forecast: Forecast) -> dict[str, Any]:
    return {
        "mappings": forecast.mappings,  # orjson writes their dataclasses: field names are keys of the JSON
        "total": {
            "calls": forecast.calls,
            "users": forecast.users,
            "bytes": forecast.bytes,
            "requests": forecast.requests,
            "seconds": forecast.seconds,
            "calls_this_month": forecast.calls_this_month,
        },
        "over_budget": forecast.over_budget,
        "costs": forecast.costs,
    }


def _rows(forecast: Forecast) -> Iterator[dict[str, str]]:
    """Yield a row for each mapping, then one for all of them."""
    calls = Counter[str]()
    for one in forecast.mappings:
        calls.update(one.calls)
        yield _row(one.mapping, one.calls, one.users, one.size.bytes, one.size.requests, one.seconds)
    # users and seconds are no sums: mappings share users, and destinations are delivered to in parallel
    yield _row("total", calls, forecast.users, forecast.bytes, forecast.requests, forecast.seconds)


def _row(
    name: str, calls: Mapping[str, int], users: Users | None, size: int, requests: int, seconds: float | None
) -> dict[str, str]:
    from dbt_segconn.project.meta import CHANGE_TYPES

    # unknown users are a question mark: a zero would read as a free sync
    return {
        "mapping": name,
        **{change_type: f"{calls.get(change_type, 0):,}" for change_type in CHANGE_TYPES},
        "calls": f"{sum(calls.values()):,}",
        "users": f"{users.named:,}" if users else "?",
        "new_users": f"{users.new:,}" if users else "?",
        "size": _bytes(size),
        "requests": f"{requests:,}",
        "time": _time(seconds),
    }


def _bytes(count: int) -> str:
    size, unit = float(count), "B"  # decimal units, as in Segment's limits
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
        yield "its user ids are not plain columns, so its users, the users in total and a cost of MTUs are unknown"
    yield from one.notes
