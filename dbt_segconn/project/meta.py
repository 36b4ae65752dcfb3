"""The keys under `config.meta.segconn` of a model, seed or snapshot, and the names of mappings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar
from zoneinfo import available_timezones

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

from dbt_segconn.actions import ACTIONS
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.spec_integrations import Integrations
from dbt_segconn.project.strict_model import DURATION_SCHEMA, Strict, duration_in, near_name

CHANGE_TYPES = ("added", "updated", "deleted")
# https://segment.com/docs/connections/reverse-etl/
SYNC_MODES: dict[str, tuple[str, ...]] = {
    "added": ("added",),
    "updated": ("updated",),
    "added_or_updated": ("added", "updated"),
    "deleted": ("deleted",),
}
NOT_NEEDED: Final = "not_needed"


def _as_change_types(mode: Any) -> tuple[str, ...]:
    if isinstance(mode, str) and mode in SYNC_MODES:
        return SYNC_MODES[mode]
    if isinstance(mode, (list, tuple)) and mode and set(map(str, mode)) <= set(CHANGE_TYPES):
        # In a fixed order: `[deleted, added]` and `[added, deleted]` are the same definition
        return tuple(one for one in CHANGE_TYPES if one in mode)
    raise ValueError(f"must be one of {', '.join(SYNC_MODES)}, or a list of {', '.join(CHANGE_TYPES)}")


def _as_names(names: Any) -> Any:
    return (names,) if isinstance(names, str) else names


def _as_consent(value: Any) -> Any:
    if not value or not (value == NOT_NEEDED or isinstance(value, dict)):
        raise ValueError(f"must map consent categories to columns, such as {{Ads: ads_ok}}, or be {NOT_NEEDED}")
    return value


def _as_versions(value: Any) -> Any:
    if value in ("latest", "all"):
        return value
    # YAML reads `[1, 2]` as numbers; the manifest's versions are compared as texts
    is_list = isinstance(value, (list, tuple)) and value
    if not is_list or any(isinstance(one, bool) or not isinstance(one, (str, int, float)) for one in value):
        raise ValueError("must be latest, all, or a list of versions, such as [1, 2]")
    return tuple(map(str, value))


def _or_list(of: dict[str, Any], one: dict[str, Any]) -> WithJsonSchema:
    """Return the JSON Schema of one value or a list of values."""
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": of, "minItems": 1}]})


ChangeTypes = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_change_types),
    _or_list({"enum": list(CHANGE_TYPES)}, {"enum": list(SYNC_MODES)}),
]
Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_names),
    Field(min_length=1),
    _or_list({"type": "string"}, {"type": "string"}),
]
# For editors only: drafts.py checks the name, with suggestions
Action = Annotated[str, WithJsonSchema({"enum": [*ACTIONS, *(f"send{name.capitalize()}" for name in ACTIONS)]})]
Percent = Annotated[float, Field(ge=0, le=100)]
Versions = Annotated[
    Literal["latest", "all"] | tuple[str, ...],
    BeforeValidator(_as_versions),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["latest", "all"]},
                {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1},
            ]
        }
    ),
]
Consent = Annotated[
    dict[str, str] | Literal["not_needed"],
    BeforeValidator(_as_consent),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
                {"const": NOT_NEEDED},
            ]
        }
    ),
]


def _check_printable(name: str) -> str:
    # Terminals and CI services obey control characters and lines such as ::add-mask::
    if not name.isprintable() or not name.strip():
        raise ValueError(f"must have printable characters only, not {name!a}")
    return name


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_check_printable)]


def _known_zone(name: str) -> str:
    known = available_timezones()
    if known and name not in known:  # some systems have no time zones; the warehouse checks them
        near = near_name(name, sorted(known))
        raise ValueError(f"must be a time zone of the IANA database, such as Europe/Berlin, not {name!r}.{near}")
    return name


Zone = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+/-]+$"), AfterValidator(_known_zone)]


def _as_lag(lag: Any) -> Any:
    if (duration := duration_in(lag)) is not None:
        return duration
    if isinstance(lag, str) and lag.strip().isdecimal():  # dbt's Jinja renders numbers to text
        return int(lag)
    is_number = isinstance(lag, int) and not isinstance(lag, bool) and lag >= 0
    if not is_number and not isinstance(lag, timedelta):
        raise ValueError(
            "must be a duration such as `1 hour`, `30 minutes` or `2 days`; for a column of integers, a number"
        )
    return lag


Lag = Annotated[
    int | timedelta,
    BeforeValidator(_as_lag),
    WithJsonSchema({"anyOf": [DURATION_SCHEMA, {"type": "integer", "minimum": 0}]}),
]


class Checkpoint(Strict):
    """Makes a sync read only rows that may have changed since the last sync."""

    column: str
    """Column of the model that increases with each change of a row, such as `updated_at`: a timestamp, a date or an
    integer."""
    lag: Lag
    """Maximum delay of a row: `30 minutes`, `1 hour`, `2 days`. For a column of integers, a number."""


class Guards(Strict):
    """Limits that block a sync before anything is sent."""

    max_records: Annotated[int, Field(ge=0)] | None = None
    """Maximum records that one sync may send. Default: no limit."""
    max_updated_percent: Percent | None = None
    """Maximum percentage of known records that one sync may find updated. Default: no limit. Without a
    limit, a sync is blocked if over 90% and more than 100 records are updated while a column has one value in all
    rows. Only times and texts such as `batch_id` are checked."""
    max_deleted_percent: Percent | None = None
    """Maximum percentage of known records that one sync may find deleted. Default: a sync is blocked if the model is
    empty, or if over half and more than 100 records are missing."""
    allow_moved: bool = False
    """Whether the model's table may have another name or schema than at the last sync, as in blue/green deployments."""
    allow_junk_ids: bool = False
    """Whether ids of users and groups may be placeholders such as `null`, `unknown`, `0` or blanks."""
    max_records_per_id: Annotated[int, Field(ge=1)] | None = None
    """Maximum records of one sync that may share a user id (identify), or a group id and user id (group). Default: 1,
    or 1,000 with `order_by`."""


class Given(Strict):
    """The records of a unit test."""

    change_type: Literal["added", "updated", "deleted"] | None = None
    """Change type of the records. Default: the first that the mapping sends."""
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Rows of the model: column and value. Columns that a row does not have are null."""


class Expected(Strict):
    """What the records of a unit test become, in the order of the rows."""

    calls: list[dict[str, Any]] = Field(default_factory=list)
    """Calls. Only the keys that you write are compared, at every level."""
    discards: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """For each row without a call, its reason or a part of it."""
    exact: bool = False
    """Whether whole calls are compared, except a messageId that you do not write."""


class UnitTest(Strict):
    """A unit test of a mapping: `dbt-segconn test` runs it without a warehouse."""

    name: Name
    """Name of the test, unique within its mapping."""
    description: str = ""
    """What the test proves."""
    # Fixed, so that a test gives the same calls every day
    now: AwareDatetime = datetime(2026, 1, 1, tzinfo=timezone.utc)
    """Time of the sync, with a time zone: `receivedAt`, and `now` in @liquid."""
    given: Given
    """The records."""
    expect: Expected
    """The calls and discards that a run makes of them."""


def _named_once(tests: list[UnitTest]) -> list[UnitTest]:
    if repeated := [name for name, count in Counter(one.name for one in tests).items() if count > 1]:
        raise ValueError(f"has two tests with the name {repeated[0]!r}. Rename one")
    return tests


class MappingMeta(Strict):
    """One mapping: it turns the records of the model into calls."""

    name: Name
    """Name of the mapping, unique within its model."""
    action: Action
    """Action that makes the calls: identify, track, group, page or screen. Names from Segment, such as sendIdentify,
    are accepted."""
    destination: str | None = None
    """Destination of segconn.yml. Default: the only one."""
    sync_mode: ChangeTypes = SYNC_MODES["added_or_updated"]
    """Changes to send: added, updated, added_or_updated (the default) or deleted; or a list of added, updated and
    deleted."""
    versions: Versions = "latest"
    """Versions of a versioned model to sync: latest, all, or a list such as `[1, 2]`."""
    enabled: bool = True
    """Whether the mapping is synced. A run lists a disabled mapping as skipped."""
    first_sync: Literal["send", "baseline"] = "send"
    """`baseline` stores all records of the first sync as sent, without sending them."""
    decimals: Literal["number", "text"] = "number"
    """`text` writes decimals as text with every digit. A JSON number can lose digits."""
    sync_null_values: bool = True
    """Whether null columns are sent, which overwrites values downstream. `false` leaves them out."""
    consent: Consent | None = None
    """Boolean column by consent category id, instead of the model's; or `not_needed` for calls without a consent
    object."""
    integrations: Integrations | None = None
    """Segment destinations that receive the calls: the Spec's `integrations`, such as `{All: false, Amplitude: true}`.
    With `All`, it replaces that of the destination; else it adds to it by name."""
    guards: Guards = Guards()
    """Limits that block a sync before anything is sent."""
    checkpoint: Checkpoint | None = None
    """Reads only the rows at or after the last checkpoint minus the lag. Deleted records are then not detected."""
    order_by: Columns | None = None
    """Column, or list of columns, that orders the calls about one user (of group calls: about one group). They are sent
    one request after the other. Set it if several records belong to one user: `dbt_valid_from` of a snapshot, the time
    of an event."""
    records: Literal["all", "current"] = "all"
    """`current` reads only the current rows of a snapshot. A new version is an updated record; an ended row without a
    new version is a deleted record."""
    constant_ids: Literal["refused", "allowed"] = "refused"
    """`allowed` accepts a user_id, anonymous_id or group_id that is the same for all records, such as one group for all
    users."""
    event_version: Annotated[int, Field(ge=1)] | None = None
    """Version of the event in the tracking plan, sent as `context.protocols.event_version`. Without it, Segment checks
    the oldest version."""
    changed_columns: bool = False
    """Whether to store a hash of each column as last sent. `preview`, `estimate` and the guard on updates then name the
    changed columns."""
    fields: dict[str, Any]
    """The action's fields, in Segment's mapping language or its `$` shorthand."""
    tests: Annotated[list[UnitTest], AfterValidator(_named_once)] = Field(default_factory=list)
    """Unit tests of the mapping, which `dbt-segconn test` runs."""


class ModelMeta(Strict):
    """All keys of `config.meta.segconn`."""

    unique_identifier: Columns | None = None
    """Column, or list of columns, that identifies a record. Default: the primary key constraint, else the only column
    with both tests unique and not_null."""
    timezone: Zone = "UTC"
    """Time zone of the model's timestamps without a zone, such as `Europe/Berlin`."""
    consent: Consent | None = None
    """Boolean column by consent category id. Every call of the model's mappings then carries these preferences."""
    # Any: drafts.py validates each mapping by itself, so that one with faults does not hide the others
    mappings: Annotated[list[Any], Field(min_length=1)]
    """Mappings of this model."""


@dataclass(frozen=True, slots=True)
class MappingNames:
    """The names of one mapping: `mapping`, `model.mapping`, `package.model.mapping`, and the id in its table names.

    `model` is dbt's unique id, such as `model.shop.customers.v2`.
    """

    model: str
    mapping: str
    id: str

    @property
    def short(self) -> str:
        """`model.mapping`, which output shows if it is unique."""
        return f"{self.model.split('.', 2)[-1]}.{self.mapping}"

    @property
    def full(self) -> str:
        """`package.model.mapping`."""
        return f"{self.model.partition('.')[2]}.{self.mapping}"

    @property
    def all(self) -> frozenset[str]:
        """Every name that a user may write."""
        return frozenset({self.mapping, self.short, self.full, self.id})


class Named(Protocol):
    """A mapping of the project, or the state of a mapping."""

    @property
    def names(self) -> MappingNames:
        """All names of the mapping."""


T = TypeVar("T", bound=Named)


def shown_names(mappings: Iterable[MappingNames]) -> Mapping[str, str]:
    """Return the name that output shows, by id: the first unique one of short name, full name and id."""
    names = dict.fromkeys(mappings)
    # Two packages may have models of one name: `crm.customers.ident` and `shop.customers.ident`
    taken = Counter(name for one in names for name in one.all)
    return {one.id: next((name for name in (one.short, one.full) if taken[name] == 1), one.id) for one in names}


def find_mappings(mappings: Sequence[T], names: Collection[str]) -> tuple[T, ...]:
    """Return the mappings with any of these names; all mappings if there are no names.

    Raises ConfigurationError for an unknown name.
    """
    known = {name for one in mappings for name in one.names.all}
    if unknown := [name for name in names if name not in known]:
        listed = ", ".join(sorted(shown_names(one.names for one in mappings).values())) or "none"
        raise ConfigurationError(
            f"no mapping is named {name!r}.{near_name(name, known)} Mappings: {listed}." for name in unknown
        )
    return tuple(one for one in mappings if not names or not one.names.all.isdisjoint(names))


def find_mapping(name: str, mappings: Iterable[T]) -> T:
    """Return the only mapping with this name. Raises ConfigurationError if there are none or several."""
    found = find_mappings(tuple(mappings), [name])
    if len(found) > 1:
        listed = ", ".join(_full_names(one.names for one in found))
        raise ConfigurationError(f"{name!r} is the name of {len(found)} mappings: {listed}. Write one of these names.")
    return found[0]


def _full_names(mappings: Iterable[MappingNames]) -> list[str]:
    """Return full names, or ids if a removed mapping has the same full name."""
    names = tuple(mappings)
    taken = Counter(one.full for one in names)
    return sorted(one.full if taken[one.full] == 1 else one.id for one in names)


def mapping_in(name: str, model: str) -> str:
    """Return the mapping's own name from its short or full name."""
    for prefix in (model.partition(".")[2], model.split(".", 2)[-1]):
        if name.startswith(f"{prefix}."):
            return name[len(prefix) + 1 :]
    return name
