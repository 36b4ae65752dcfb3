"""The command `resend`: send records again on purpose."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.estimate import show_forecast
from dbt_segconn.commands.main import FAILED, command
from dbt_segconn.commands.options import as_options, complete_mapping, project_options
from dbt_segconn.commands.run import run_to_exit
from dbt_segconn.commands.terminal.output import confirm, say
from dbt_segconn.errors import counted

if TYPE_CHECKING:
    from dbt_segconn.inspection.estimate import ResendPlan
    from dbt_segconn.state.diff import ResendChoice


@command(group="State")
@project_options
@click.argument("mapping", shell_complete=complete_mapping)
@click.option("--record", multiple=True, metavar="ID", help="Records with this identifier.")
@click.option("--sync", metavar="ID", help="Records whose calls this sync delivered. Needs the delivery log.")
@click.option("--where", metavar="SQL", help="Records whose rows in the model meet this condition.")
@click.option("--now", is_flag=True, help="Sync the mapping now, not in the next run.")
@click.option("--allow-guarded", is_flag=True, help="Continue even if a guard or the budget would block the sync.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def resend(
    *,
    mapping: str,
    record: tuple[str, ...],
    sync: str | None,
    where: str | None,
    now: bool,
    allow_guarded: bool,
    yes: bool,
    **params: Any,
) -> None:
    """Send chosen records of MAPPING (model.mapping) again. Segment must have received them before.

    Counts them and estimates the next run of the mapping, asks, then marks the records. The next run finds them as
    updated, and sends their current values under new messageIds, together with all other changes. Marks stay until a
    sync has delivered the records. Nothing is marked if a guard or the budget would block that run.

    \b
    Examples:
      dbt-segconn resend customers.identify_customers --record c-1042 --record c-1043
      dbt-segconn resend identify_customers --where "plan = 'pro'" --now
      dbt-segconn resend identify_customers --sync 3f0c… --yes
    """
    from dbt_segconn.inspection.estimate import mark_resend, plan_resend
    from dbt_segconn.state.diff import ResendChoice

    if sum(map(bool, (record, sync, where))) != 1:
        raise click.UsageError("Choose records with one of --record, --sync and --where.")
    options, choice = as_options(**params), ResendChoice(record, sync, where)
    # the warehouse is closed while the question waits: a DuckDB file that is open here is locked for dbt
    plan = plan_resend(options, mapping, choice)
    _show(plan, choice)
    # marks would stay, and a guard would block each run until someone allows it
    if plan.refusals and not allow_guarded:
        say("Nothing was marked: a guard or the budget would block the sync. --allow-guarded continues.", err=True)
        sys.exit(FAILED)
    question = "Send now?" if now else "Mark these records, so that the next run sends them again?"
    if not yes and not confirm(question, "Nothing was marked."):
        say("Nothing was changed.")
        return
    mark_resend(options, mapping, choice, plan.records)
    allowed = (plan.mapping,) if allow_guarded else ()
    if now:
        # `all`: dbt need not have refreshed the model since the last run
        run_to_exit(**params, all=True, mappings=(plan.mapping,), allow_guarded=allowed)
    also = f" Run it with --allow-guarded {plan.mapping}." if plan.refusals else ""
    say(f"Marked {counted(plan.records, 'record')}, to be sent again by the next `dbt-segconn run`.{also}")


def _show(plan: ResendPlan, choice: ResendChoice) -> None:
    say(f"{counted(plan.records, 'record')} of {plan.mapping} to send again. The next run of the mapping would send:")
    show_forecast(plan.forecast)
    if plan.unknown:
        reason = "deleted since" if choice.sync_id else "not received by Segment yet"
        say(f"Left out: {counted(plan.unknown, 'chosen record')}, {reason}.")
