"""What a run would send now and what that costs: calls, users, bytes, time, money. Sends and changes nothing."""

from __future__ import annotations

import math
from collections import Counter, abc
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from dbt_segconn.actions.flat import column_of
from dbt_segconn.delivery.batches import ENVELOPE_BYTES, Batcher
from dbt_segconn.engine.budget import month_of
from dbt_segconn.engine.opening import Options
from dbt_segconn.inspection.outlook import outlook
from dbt_segconn.inspection.read_only_session import OpenedProject, opened_read_only
from dbt_segconn.limits import BATCH_BYTES, BATCH_CALLS
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import BudgetSettings, Price, PricingSettings
from dbt_segconn.project.user_ids import SEGMENT_ID
from dbt_segconn.state.column_hashes import ChangedColumns
from dbt_segconn.state.diff import Diff

# So many calls of a mapping are made to be measured, spread over all that it would send
SAMPLE = 1000
SHOWN_REASONS = 5


@dataclass(frozen=True, slots=True)
class Size:
    """How large the calls are: measured on `measured` calls; `discarded` more would not be sent, by their `reasons`.

    `bytes` and `requests` are those of all calls, extrapolated where not all of them were measured.
    """

    measured: int = 0
    discarded: int = 0
    reasons: abc.Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Users:
    """Whom the calls are about, and those of them whom no record names that was sent before.

    Counts distinct user ids, and anonymous ids of calls that have none, as Segment does for MTUs.
    """

    named: int
    new: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one mapping would send: calls by kind; counts of records as a sync has them.

    `users` is None where a user or anonymous id is no plain column. `seconds` is the time at the destination's
    rate limit, None where it has none. `unfinished` are calls that a sync which was cut short has left: a run
    delivers these first, and they are among `calls`, too, as far as they still hold. `changed` are the columns of
    updated records; None without `changed_columns`. `objections` are what guards would say. `notes` explain which
    changes make no call.
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
        """How many calls these are."""
        return sum(self.calls.values())


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of the plan costs: `beyond` what is included, of `units` that come to `before` this month."""

    what: str
    units: int
    before: int
    beyond: int
    money: float
    currency: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """The estimates of all mappings together. `calls_this_month` are those that the history knows."""

    mappings: tuple[Estimate, ...]
    users: Users
    seconds: float | None
    calls_this_month: int
    over_budget: tuple[str, ...]
    costs: tuple[Cost, ...]

    @property
    def calls(self) -> int:
        """How many calls all mappings would send."""
        return sum(one.total for one in self.mappings)


@dataclass(frozen=True, slots=True)
class _Naming:
    """A mapping whose ids are plain columns: `users` are these in its diff, user id first, `kinds` what it sends."""

    diff: Diff
    users: Sequence[str]
    change_types: Sequence[str]
    is_known: bool


def estimate(options: Options) -> Forecast:
    """Estimate what a run would send of the mappings that are enabled. Raises ConfigurationError as `run` does."""
    with opened_read_only(options, also_disabled=False) as look:
        mappings = look.choice.chosen
        namings = {mapping.id: naming for mapping in mappings if (naming := _naming(look, mapping))}
        estimates = tuple(_estimate(look, mapping, namings) for mapping in mappings)
        is_sending = {mapping.id for mapping, one in zip(mappings, estimates, strict=True) if one.total}
        sending = [naming for sync_id, naming in namings.items() if sync_id in is_sending]
        users = _users(look, sending, namings.values())
        before = look.state.spent(month_of(_now())) if look.state.exists() else 0
        calls = sum(one.total for one in estimates)
        settings = look.project.settings
        return Forecast(
            estimates,
            users,
            _together(estimates),
            before,
            tuple(_over(settings.budget, calls, before)),
            tuple(_costs(settings.pricing, calls, before, users.new)),
        )


def _estimate(look: OpenedProject, mapping: Mapping, namings: abc.Mapping[str, _Naming]) -> Estimate:
    found = outlook(look, mapping)
    total = sum(found.calls.values())
    rate = look.project.settings.destinations[mapping.destination].events_per_second
    naming = namings.get(mapping.id)
    return Estimate(
        mapping=mapping.name,
        action=mapping.meta.action,
        destination=mapping.destination,
        calls=found.calls,
        unidentified=found.unidentified,
        left_out=found.left_out,
        held_back=found.held_back,
        users=(_users(look, [naming], namings.values()) if total else Users(0, 0)) if naming else None,
        size=_size(look, mapping, total),
        seconds=None if math.isinf(rate) else total / rate,
        unfinished=found.unfinished,
        changed=found.changed,
        objections=found.objections,
        notes=tuple(found.notes()),
    )


def _size(look: OpenedProject, mapping: Mapping, calls: int) -> Size:
    """Make calls as a run would, and measure their batches."""
    every = math.ceil(calls / SAMPLE)
    rows = look.tables(mapping).sample(mapping, look.sources[mapping.id], every, SAMPLE) if calls else []
    discarded: list[str] = []
    made = look.call_maker(mapping).many(rows, lambda _number, reason: discarded.append(reason))
    batcher = Batcher(lambda _number, reason: discarded.append(reason))
    filled = batcher.add(made.numbers, made.calls, are_checked=made.are_checked)
    batches = [*filled, *batcher.flush()]
    measured = sum(map(len, batches))
    reasons = dict(Counter(discarded).most_common(SHOWN_REASONS))
    if not measured:
        return Size(0, len(discarded), reasons)
    mean = sum(batch.size - ENVELOPE_BYTES for batch in batches) / measured
    expected = calls * measured / (measured + len(discarded))
    requests = math.ceil(expected / min(BATCH_CALLS, (BATCH_BYTES - ENVELOPE_BYTES) / mean))
    return Size(measured, len(discarded), reasons, round(expected * mean) + requests * (ENVELOPE_BYTES - 1), requests)


def _naming(look: OpenedProject, mapping: Mapping) -> _Naming | None:
    """Find the columns that name the user of each call, where they are columns and nothing else."""
    names = [column_of(mapping.fields[key]) for key in ("user_id", "anonymous_id") if key in mapping.fields]
    source, tables = look.sources[mapping.id], look.tables(mapping)
    aliases = {SEGMENT_ID: "record_id", **{column.key: column.alias for column in source.columns}}
    users = [aliases[name] for name in names if name in aliases]
    if not users or len(users) < len(names):
        return None
    return _Naming(tables.diff(mapping, source), users, mapping.meta.sync_mode, tables.present()[0])


def _users(look: OpenedProject, sending: Sequence[_Naming], known: Collection[_Naming]) -> Users:
    """Count the users that calls name, and those whom no record names that any of the mappings has sent."""
    if not sending:
        return Users(0, 0)
    rows = look.state.session.rows("segconn_count_users", naming=sending, known=[one for one in known if one.is_known])
    return Users(int(rows[0][0]), int(rows[0][1]))


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)  # as the history has its times


def _together(estimates: Iterable[Estimate]) -> float | None:
    """Add up the time of each destination: they are sent to side by side."""
    seconds: dict[str, float] = {}
    for one in estimates:
        if one.seconds is not None:
            seconds[one.destination] = seconds.get(one.destination, 0) + one.seconds
    return max(seconds.values(), default=None)


def _over(budget: BudgetSettings, calls: int, before: int) -> Iterable[str]:
    run, month = budget.max_calls_per_run, budget.max_calls_per_month
    if run is not None and calls > run:
        yield f"{calls:,} calls are more than budget.max_calls_per_run {run:,}: a run would block some mappings"
    if month is not None and calls + before > month:
        yield (
            f"{calls:,} calls after {before:,} this month are more than budget.max_calls_per_month {month:,}: a run "
            "would block some mappings"
        )


def _costs(pricing: PricingSettings | None, calls: int, before: int, users: int) -> Iterable[Cost]:
    if pricing and pricing.mtus:
        yield _cost("MTUs", pricing.mtus, users, 0, pricing.currency)
    if pricing and pricing.api_calls:
        yield _cost("API calls", pricing.api_calls, calls, before, pricing.currency)


def _cost(what: str, price: Price, units: int, before: int, currency: str) -> Cost:
    """Price what is beyond the included amount and was not so before."""
    beyond = max(0, before + units - price.included) - max(0, before - price.included)
    return Cost(what, units, before, beyond, beyond / price.per * price.price, currency)
