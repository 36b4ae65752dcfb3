"""What a run would send now, and its cost: calls, users, bytes, time, money. Nothing is sent or changed."""

from __future__ import annotations

import math
from collections import Counter, abc
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from dbt_segconn.delivery.batches import ENVELOPE_BYTES, Batcher
from dbt_segconn.engine.guards import month_of
from dbt_segconn.engine.opening import Options
from dbt_segconn.inspection.outlook import OpenedProject, opened_read_only, outlook
from dbt_segconn.limits import BATCH_BYTES, BATCH_CALLS
from dbt_segconn.project.identifiers import SEGMENT_ID, id_column
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import BudgetSettings, Price, PricingSettings
from dbt_segconn.state.column_hashes import ChangedColumns
from dbt_segconn.state.diff import Diff

# Maximum calls of a mapping that are built and measured, spread evenly over its changes
SAMPLE = 1000
# Reasons for discards in the sample, the most frequent first
SHOWN_REASONS = 5


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

    `users` counts a user of several mappings once. `seconds` is the time at the rate limits, None without a limit.
    """

    mappings: tuple[Estimate, ...]
    users: Users
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
    # not the sum of the mappings' users: several mappings may name one user
    users = _users(look, sending, user_columns.values())
    before = look.state.spent(month_of(_now())) if look.state.exists() else 0
    calls = sum(one.total for one in estimates)
    settings = look.project.settings
    return Forecast(
        estimates,
        users,
        _total_seconds(estimates),
        before,
        tuple(_over(settings.budget, calls, before)),
        tuple(_costs(settings.pricing, calls, before, users.new)),
    )


def _estimate(look: OpenedProject, mapping: Mapping, user_columns: abc.Mapping[str, _UserColumns]) -> Estimate:
    found = outlook(look, mapping)
    total = sum(found.calls.values())
    rate = look.project.settings.destinations[mapping.destination].events_per_second
    columns = user_columns.get(mapping.id)
    return Estimate(
        mapping=mapping.name,
        action=mapping.meta.action,
        destination=mapping.destination,
        calls=found.calls,
        unidentified=found.unidentified,
        left_out=found.left_out,
        held_back=found.held_back,
        users=(_users(look, [columns], user_columns.values()) if total else Users(0, 0)) if columns else None,
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


def _costs(pricing: PricingSettings | None, calls: int, before: int, users: int) -> Iterable[Cost]:
    if pricing and pricing.mtus:  # 0 users before: the history counts calls only
        yield _cost("MTUs", pricing.mtus, users, 0, pricing.currency)
    if pricing and pricing.api_calls:
        yield _cost("API calls", pricing.api_calls, calls, before, pricing.currency)


def _cost(what: str, price: Price, units: int, before: int, currency: str) -> Cost:
    """Return the cost of the units that exceed the included amount. Earlier units of this month are not counted."""
    beyond = price.beyond(units, before)
    return Cost(what, units, before, beyond, price.of(beyond), currency)
