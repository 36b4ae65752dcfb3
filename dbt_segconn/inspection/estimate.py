"""What a run would send, now or after a resend is marked, and its cost: calls, users, bytes, time, money."""

from __future__ import annotations

import math
import uuid
from collections import Counter, abc
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from dbt_segconn.delivery.batches import ENVELOPE_BYTES, Batcher
from dbt_segconn.engine.guards import month_of
from dbt_segconn.engine.opening import Options
from dbt_segconn.errors import ConfigurationError, SyncError, WarehouseError, counted
from dbt_segconn.inspection.preview import OpenedProject, opened_read_only, outlook
from dbt_segconn.limits import BATCH_BYTES, BATCH_CALLS
from dbt_segconn.project.identifiers import SEGMENT_ID, id_column
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import find_mapping
from dbt_segconn.project.settings import BudgetSettings, Price, PricingSettings
from dbt_segconn.state.diff import ChangedColumns, Diff, ResendChoice
from dbt_segconn.state.locks import Locks
from dbt_segconn.state.outbox import Resend
from dbt_segconn.state.tables import PLANNED, RESET, HistoryRow

# Maximum calls of a mapping that are built and measured, spread evenly over its changes
SAMPLE = 1000
# Reasons for discards in the sample, the most frequent first
SHOWN_REASONS = 5
# Unknown records that an error names. The reason for each takes up to two queries
SHOWN_UNKNOWN = 20


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the calls, measured on a sample.

    `measured`: the number of sampled calls that would be sent. `discarded`: the number of the other sampled calls.
    `reasons`: reason for a discard → number of sampled calls. `bytes` (without compression) and `requests` are of all
    calls; they are extrapolated if the sample does not contain all of them.
    """

    measured: int = 0
    discarded: int = 0
    reasons: abc.Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Users:
    """The number of users that calls name, and how many of them are new: no record that was sent before names them.

    Counts distinct user ids, and distinct anonymous ids of calls without a user id. Segment counts its monthly tracked
    users (MTUs) in this way.
    """

    named: int
    new: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one mapping would send: calls by change type, and counts of records as a sync would count them.

    `users`: None if a user or anonymous id is not a plain column. `seconds`: the time at the rate limit of the
    destination, None without a limit. `unfinished`: calls that an interrupted sync has not delivered. A run delivers
    them first; `calls` counts them again if their records still differ. `changed`: the changed columns of updated
    records, None without `changed_columns`. `objections`: messages of guards. `notes`: why some changes are not sent.
    """

    mapping: str
    action: str
    destination: str
    calls: abc.Mapping[str, int]
    unidentified: int
    left_out: int
    held_back: int
    users: Users | None
    size: Size
    seconds: float | None
    unfinished: int
    changed: ChangedColumns | None
    objections: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        """The number of calls of all change types."""
        return sum(self.calls.values())


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one part of the pricing: `money` in `currency` for calls or users (`what`).

    `units` are added to the `before` units of this month; `beyond` of them exceed the included amount.
    """

    what: str
    units: int
    before: int
    beyond: int
    money: float
    currency: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """The estimates of all mappings. `calls_this_month`: calls of this month in the history.

    `users` counts a user of several mappings once; None if those of a mapping with calls are unknown. `seconds` is the
    time at the rate limits, None without a limit.
    """

    mappings: tuple[Estimate, ...]
    users: Users | None
    seconds: float | None
    calls_this_month: int
    over_budget: tuple[str, ...]
    costs: tuple[Cost, ...]

    @property
    def calls(self) -> int:
        """The number of calls of all mappings."""
        return sum(one.total for one in self.mappings)

    @property
    def bytes(self) -> int:
        """The size of the calls of all mappings."""
        return sum(one.size.bytes for one in self.mappings)

    @property
    def requests(self) -> int:
        """The number of requests of all mappings."""
        return sum(one.size.requests for one in self.mappings)


@dataclass(frozen=True, slots=True)
class _UserColumns:
    """The id columns of a mapping in its diff, the user id before the anonymous id.

    `is_known`: the mapping has a table of records, so some of its users may not be new.
    """

    diff: Diff
    users: Sequence[str]
    change_types: Sequence[str]
    is_known: bool


def estimate(options: Options) -> Forecast:
    """Estimate what a run of the enabled mappings would send. Raises ConfigurationError as `run` does."""
    with opened_read_only(options, also_disabled=False) as look:
        return forecast_of(look)


def forecast_of(look: OpenedProject) -> Forecast:
    """Estimate what a run would send of the chosen mappings."""
    mappings = look.choice.chosen
    user_columns = {mapping.id: columns for mapping in mappings if (columns := _user_columns(look, mapping))}
    estimates = tuple(_estimate(look, mapping, user_columns) for mapping in mappings)
    is_sending = {mapping.id for mapping, one in zip(mappings, estimates, strict=True) if one.total}
    sending = [columns for mapping_id, columns in user_columns.items() if mapping_id in is_sending]
    are_known = all(one.users for one in estimates)
    # not the sum of the mappings' users: several mappings may name one user
    users = _users(look, sending, user_columns.values()) if are_known else None
    before = look.state.spent(month_of(_now())) if look.state.exists() else 0
    calls = sum(one.total for one in estimates)
    settings = look.project.settings
    return Forecast(
        estimates,
        users,
        _total_seconds(estimates),
        before,
        tuple(_over(settings.budget, calls, before)),
        tuple(_costs(settings.pricing, calls, before, users)),
    )


def _estimate(look: OpenedProject, mapping: Mapping, user_columns: abc.Mapping[str, _UserColumns]) -> Estimate:
    found = outlook(look, mapping)
    total = sum(found.calls.values())
    rate = look.project.settings.destinations[mapping.destination].events_per_second
    columns = user_columns.get(mapping.id)
    users: Users | None = Users(0, 0)
    if total:
        users = _users(look, [columns], user_columns.values()) if columns else None
    return Estimate(
        mapping=mapping.name,
        action=mapping.meta.action,
        destination=mapping.destination,
        calls=found.calls,
        unidentified=found.unidentified,
        left_out=found.left_out,
        held_back=found.held_back,
        users=users,
        size=_size(look, mapping, total),
        seconds=None if math.isinf(rate) else total / rate,
        unfinished=found.unfinished,
        changed=found.changed,
        objections=found.block_reasons,
        notes=tuple(found.notes()),
    )


def _size(look: OpenedProject, mapping: Mapping, calls: int) -> Size:
    """Build a sample of calls in the same way as a run, and measure their batches."""
    every = math.ceil(calls / SAMPLE)  # spread over all: the first 1,000 may be alike, such as the oldest
    rows = look.tables(mapping).sample(mapping, look.sources[mapping.id], every, SAMPLE) if calls else []
    discarded: list[str] = []

    def discard(_number: int, reason: str) -> None:
        discarded.append(reason)

    make_calls = look.call_maker(mapping)
    result = make_calls.checked(make_calls.many(rows, discard), discard)
    batcher = Batcher(discard)
    filled = batcher.add(result.numbers, result.calls)
    batches = [*filled, *batcher.flush()]
    measured = sum(map(len, batches))
    reasons = dict(Counter(discarded).most_common(SHOWN_REASONS))
    if not measured:
        return Size(0, len(discarded), reasons)
    mean = sum(batch.size - ENVELOPE_BYTES for batch in batches) / measured
    # the same percentage of all calls will be discarded
    expected = calls * measured / (measured + len(discarded))
    # a batch is full by its calls or by its bytes
    requests = math.ceil(expected / min(BATCH_CALLS, (BATCH_BYTES - ENVELOPE_BYTES) / mean))
    # a comma separates two calls, so the last call of a batch needs one byte less
    return Size(measured, len(discarded), reasons, round(expected * mean) + requests * (ENVELOPE_BYTES - 1), requests)


def _user_columns(look: OpenedProject, mapping: Mapping) -> _UserColumns | None:
    """Return the id columns of a mapping; None if an id is not a plain column."""
    # templates and directives are evaluated in Python: the warehouse cannot count their values
    names = [id_column(mapping.fields[key]) for key in ("user_id", "anonymous_id") if key in mapping.fields]
    source, tables = look.sources[mapping.id], look.tables(mapping)
    aliases = {SEGMENT_ID: "record_id", **{column.key: column.alias for column in source.columns}}
    if len(source.identifier) == 1 and source.identifier[0].value_type in {"text", "integer"}:
        # the columns of a deleted record are null
        aliases[source.identifier[0].key] = "record_id"
    users = [aliases[name] for name in names if name in aliases]
    if not users or len(users) < len(names):
        return None
    return _UserColumns(look.diff(mapping), users, mapping.meta.sync_mode, tables.present().records)


def _users(look: OpenedProject, sending: Sequence[_UserColumns], known: Collection[_UserColumns]) -> Users:
    """Count the users that calls name, and how many of them no record of any mapping names that was sent before."""
    if not sending:
        return Users(0, 0)
    rows = look.state.session.rows("segconn_count_users", naming=sending, known=[one for one in known if one.is_known])
    return Users(int(rows[0][0]), int(rows[0][1]))


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)  # times in the history are UTC without a zone


def _total_seconds(estimates: Iterable[Estimate]) -> float | None:
    """Return the longest time of all destinations: a run delivers to them in parallel.

    Mappings of one destination share its rate limit, so their times are added.
    """
    seconds: dict[str, float] = {}
    for one in estimates:
        if one.seconds is not None:
            seconds[one.destination] = seconds.get(one.destination, 0) + one.seconds
    return max(seconds.values(), default=None)


def _over(budget: BudgetSettings, calls: int, before: int) -> Iterable[str]:
    # a sync takes all its calls from the budget at once, so a run blocks those that no longer fit, not all
    run, month = budget.max_calls_per_run, budget.max_calls_per_month
    if run is not None and calls > run:
        yield f"{calls:,} calls are more than budget.max_calls_per_run {run:,}: a run would block some mappings"
    if month is not None and calls + before > month:
        yield (
            f"{calls:,} calls after {before:,} this month are more than budget.max_calls_per_month {month:,}: a run "
            "would block some mappings"
        )


def _costs(pricing: PricingSettings | None, calls: int, before: int, users: Users | None) -> Iterable[Cost]:
    if pricing and pricing.mtus and users:  # 0 users before: the history counts calls only
        yield _cost("MTUs", pricing.mtus, users.new, 0, pricing.currency)
    if pricing and pricing.api_calls:
        yield _cost("API calls", pricing.api_calls, calls, before, pricing.currency)


def _cost(what: str, price: Price, units: int, before: int, currency: str) -> Cost:
    """Return the cost of the units that exceed the included amount. Earlier units of this month are not counted."""
    beyond = price.beyond(units, before)
    return Cost(what, units, before, beyond, price.of(beyond), currency)


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
