"""The commands that look before a run: what it costs, one call of it, whether all is there that it needs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.completion import complete_mapping
from dbt_segconn.commands.exit_codes import FAILED, OK
from dbt_segconn.commands.main import as_options, main
from dbt_segconn.commands.options import mapping_option, project_options, selection_options
from dbt_segconn.commands.output import say, styled, write, write_json

if TYPE_CHECKING:
    from dbt_segconn.inspection.estimate import Estimate, Forecast


@main.command()
@project_options
@selection_options
@mapping_option
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def estimate(*, style: str, **given: Any) -> None:
    """Count what a run would send now, and what it costs: calls, users, bytes, time, money.

    Counts the current changes in the warehouse, whether or not dbt has just refreshed the models. Reads each
    model a few times; sends and writes nothing. Measures sizes on up to 1,000 calls of each mapping. Reports
    money if segconn.yml has `pricing`.

    \b
    Examples:
      dbt-segconn estimate
      dbt-segconn estimate --select customers --format json
    """
    from dbt_segconn.commands.tables import show
    from dbt_segconn.inspection.estimate import estimate as estimate_run

    given["all"] = True
    forecast = estimate_run(as_options(**given))
    if style == "json":
        write_json(_as_json(forecast))
        return
    if forecast.mappings:
        show([*map(_row, forecast.mappings), _total(forecast)], "table")
    for line in _lines(forecast):
        say(line)


@main.command(name="send-test")
@project_options
@click.argument("mapping", shell_complete=complete_mapping)
@click.option("--record", required=True, metavar="ID", help="Identifier of the record, changed or not.")
def send_test(*, mapping: str, record: str, **given: Any) -> None:
    """Deliver the call of one record of MAPPING as a test. Change no state.

    The call has a separate messageId, so Segment does not confuse it with a call of a run. It is a real call:
    destinations behind the source receive it, and Segment bills it.

    \b
    Examples:
      dbt-segconn send-test customers.identify_customers --record c-1042

    Exit codes: 0 accepted, 1 not accepted, 2 no such mapping or record.
    """
    from dbt_segconn.commands.side_by_side import as_text
    from dbt_segconn.inspection.send_test import send_test as send

    sent = send(as_options(**given), mapping, record)
    shown, what = sent.shown, "a change that a run would send, too" if sent.is_change else "unchanged, sent as updated"
    write(as_text(shown.call))
    name = f"{shown.mapping}, record {shown.record_id} ({shown.change_type}: {what})"
    say(f"{'Sent' if sent.is_confirmed else 'Tried to send'} this call of {name}")
    say(f"to the destination {sent.destination} at {sent.endpoint}: {sent.answer}.")
    if sent.is_confirmed:
        say("Taken is not delivered: the source's debugger in Segment shows what became of it.")
    say("No state has moved: the next run sends what it would have sent anyway.")
    sys.exit(OK if sent.is_confirmed else FAILED)


_LABELS = {"ok": ("OK", "green"), "warn": ("WARN", "yellow"), "error": ("ERROR", "red"), "unknown": ("?", "cyan")}


@main.command()
@project_options
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def debug(*, style: str, **given: Any) -> None:
    """Check everything that a run needs: project, profile, warehouse, rights, write keys, region, clock.

    Sends no call. Creates a table in the warehouse and drops it, to check the rights. Asks Segment whether the
    write keys are known. A question mark means that the check is not possible from here.

    \b
    Examples:
      dbt-segconn debug
      dbt-segconn debug --target prod --format json

    Exit codes: 0 no errors, 1 errors.
    """
    from dbt_segconn.inspection.diagnosis import diagnose

    checks = []
    for check in diagnose(as_options(**given)):
        checks.append(check)
        if style == "text":
            label, color = _LABELS[check.status]
            say(f"{styled(f'{label:<5}', fg=color)}  {check.subject}: {' '.join(check.message.split())}")
            if check.fix:
                say(f"       {check.fix}")
    found = Counter(check.status for check in checks)
    if style == "json":
        write_json(checks)
    else:
        say(f"Done. OK={found['ok']} WARN={found['warn']} ERROR={found['error']} UNKNOWN={found['unknown']}")
    sys.exit(FAILED if found["error"] else OK)


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
        **{change_type: f"{one.calls.get(change_type, 0):,}" for change_type in ("added", "updated", "deleted")},
        "calls": f"{one.total:,}",
        "users": f"{one.users.named:,}" if one.users else "?",
        "new_users": f"{one.users.new:,}" if one.users else "?",
        "size": _bytes(one.size.bytes),
        "requests": f"{one.size.requests:,}",
        "time": _time(one.seconds),
    }


def _total(forecast: Forecast) -> dict[str, str]:
    change_types = ("added", "updated", "deleted")
    return {
        "mapping": "total",
        **{
            change_type: f"{sum(one.calls.get(change_type, 0) for one in forecast.mappings):,}"
            for change_type in change_types
        },
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
            "new_users: those whom no record names that these mappings have sent. Segment bills a user once a month: "
            "a known one counts, too, where nothing else tracks them this month."
        )
    for cost in forecast.costs:
        before = f" after {cost.before:,} this month" if cost.before else ""
        price = f"{cost.money:,.2f} {cost.currency}"
        yield f"{cost.what}: {cost.units:,}{before}, {cost.beyond:,} of them beyond what is included: {price}"
    yield from (f"Budget: {text}." for text in forecast.over_budget)


def _notes(one: Estimate) -> Iterator[str]:
    if one.size.measured and one.size.measured + one.size.discarded < one.total:
        yield f"size and requests are extrapolated from {one.size.measured:,} calls"
    if one.size.discarded:
        whole = one.size.measured + one.size.discarded
        yield f"{one.size.discarded:,} of {whole:,} calls that were made would be discarded:"
        yield from (f"  {count:,}: {reason}" for reason, count in one.size.reasons.items())
    if one.users is None:
        yield "its user ids are not plain columns, so users cannot be counted, neither here nor in the total"
    yield from one.notes
