"""The plan of a resend: how many records would be sent again, and what the next run would send and cost in all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from dbt_segconn.engine.opening import Options
from dbt_segconn.errors import ConfigurationError, SyncError, WarehouseError, counted
from dbt_segconn.inspection.estimate import Forecast, forecast_of
from dbt_segconn.inspection.outlook import OpenedProject, opened_read_only
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import find_mapping
from dbt_segconn.state.diff import ResendChoice
from dbt_segconn.state.locks import Locks
from dbt_segconn.state.resend import Resend
from dbt_segconn.state.tables import PLANNED, RESET, HistoryRow

# Unknown records that an error names. The reason for each takes up to two queries
SHOWN_UNKNOWN = 20


@dataclass(frozen=True, slots=True)
class ResendPlan:
    """What a resend would do. `records` and `unknown` count the chosen records that Segment has and has not received.

    Only `records` are sent again. `forecast` is that of the next run of the mapping, with these records.
    """

    mapping: str
    records: int
    unknown: int
    forecast: Forecast

    @property
    def refusals(self) -> tuple[str, ...]:
        """The reasons for which guards or the budget would block the next run."""
        return (*self.forecast.mappings[0].objections, *self.forecast.over_budget)


def plan_resend(options: Options, name: str, choice: ResendChoice) -> ResendPlan:
    """Count the chosen records of a mapping and estimate its next run. Writes nothing.

    Raises ConfigurationError if a record id is not known, or if the mapping has nothing to send again; SyncError if an
    interrupted sync must be delivered first.
    """
    with _opened(options, name, choice) as (look, mapping, resend):
        if choice.record_ids:
            _check_known(look, mapping, resend.unknown(choice.record_ids))
        # before the records are counted: its errors name columns of the model only, none of the state tables
        chosen = 0 if choice.record_ids else _count_chosen(mapping, resend, choice)
        records = resend.count()
        # an unknown id that the user gave is an error; a query may find unknown ids, which are left out
        unknown = 0 if choice.record_ids else chosen - records
        if not records:
            raise ConfigurationError(f"{mapping.name}: no record that Segment has received is chosen. {_hint(choice)}")
        return ResendPlan(mapping.name, records, unknown, forecast_of(look))


def mark_resend(options: Options, name: str, choice: ResendChoice, records: int) -> None:
    """Mark the chosen records, so that the next sync sends them again.

    Raises SyncError if their number differs from the `records` of the plan: the model or the state has changed.
    """
    with (
        _opened(options, name, choice) as (look, mapping, resend),
        Locks().hold(look.state, mapping.id, mapping.name) as lock,
    ):
        look.state.prepare()
        last = _last_row(look, mapping)  # again: a sync may have ended before the lock was taken
        now = resend.count()
        if now != records:
            raise SyncError(f"{mapping.name}: {now:,} records are chosen now, not {records:,}. Nothing was marked")
        text = f"{counted(records, 'record')} marked, to be sent again by the next run"
        # with a run id of its own: no run has marked the records
        resend.mark(last.as_resend(look.state.now(), str(uuid.uuid4()), text), lock)


@contextmanager
def _opened(options: Options, name: str, choice: ResendChoice) -> Iterator[tuple[OpenedProject, Mapping, Resend]]:
    with opened_read_only(replace(options, mappings=(name,)), also_disabled=False, resent=choice) as look:
        mapping = find_mapping(name, look.project.mappings)
        if not look.choice.chosen:
            raise ConfigurationError(f"{mapping.name} is not synced: {look.choice.skipped[0].reason}.")
        if not {"added", "updated"} & {*mapping.meta.sync_mode}:
            raise ConfigurationError(f"{mapping.name} sends deleted records only, which cannot be sent again.")
        if choice.sync_id and not look.state.session.exists(look.state.deliveries):
            raise ConfigurationError(
                "--sync reads the delivery log, which does not exist. Set `deliveries: {keep: 90 days}` under `state` "
                "in segconn.yml: it lists the records of later syncs. Choose records with --record or --where."
            )
        _last_row(look, mapping)  # raises an error before anything is counted
        yield look, mapping, Resend(look.state, look.tables(mapping), look.diff(mapping))


def _last_row(look: OpenedProject, mapping: Mapping) -> HistoryRow:
    last = look.state.last_sync(mapping.id) if look.state.exists() else None
    if last is None or last.status == RESET or not look.tables(mapping).present().records:
        raise ConfigurationError(f"{mapping.name} has sent nothing yet: the next run sends every record.")
    # its outbox is older than the marks, and settling it would remove those of its records
    if last.finished_at is None and last.status == PLANNED:
        raise SyncError(
            f"{mapping.name} has a plan that waits for `run --apply`. Apply it, or let "
            "`dbt-segconn run` drop it and send the changes as they are then; then resend"
        )
    if last.finished_at is None:
        raise SyncError(
            f"{mapping.name} has an unfinished sync (status {last.status}), which may still send records. "
            "`dbt-segconn run` finishes it; then resend"
        )
    return last


def _count_chosen(mapping: Mapping, resend: Resend, choice: ResendChoice) -> int:
    try:
        return resend.count_chosen()
    except WarehouseError as error:
        if not choice.where:
            raise
        raise ConfigurationError(f"{mapping.name}: --where cannot be evaluated: {error}") from None


def _check_known(look: OpenedProject, mapping: Mapping, unknown: list[str]) -> None:
    """Raise ConfigurationError with each record that Segment has not received, and the reason."""
    if unknown:
        shown = [f"{mapping.name}: record {one!r}: {_reason(look, mapping, one)}." for one in unknown[:SHOWN_UNKNOWN]]
        more = [f"and {len(unknown) - SHOWN_UNKNOWN:,} others."] if len(unknown) > SHOWN_UNKNOWN else []
        raise ConfigurationError([*shown, *more])


def _reason(look: OpenedProject, mapping: Mapping, record_id: str) -> str:
    tables, source = look.tables(mapping), look.sources[mapping.id]
    if tables.find(mapping, source, record_id):
        return "not delivered yet: the next run sends it, or `dbt-segconn retry` if it was discarded"
    if tables.find(mapping, source, record_id, also_silent=True):
        return "held back, because no consent column has a value"
    return (
        "neither the records that Segment has received nor the rows with an identifier of their own in the model "
        "include it; `dbt-segconn status --discards` lists identifiers of several rows"
    )


def _hint(choice: ResendChoice) -> str:
    if choice.sync_id:
        return "`dbt-segconn status --history` lists the syncs of each mapping. Deleted records are not sent again."
    return "Records that are new, held back or discarded were not received: `run` or `retry` sends them."
