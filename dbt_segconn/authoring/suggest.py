"""A first mapping for a model, from the names, types and descriptions of its columns; and a unit test for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from dbt_segconn.actions import ACTIONS, compile_action, missing_fields
from dbt_segconn.actions.fields import RESERVED, SpecType
from dbt_segconn.errors import ConfigurationError, RecordError
from dbt_segconn.mapping import columns_named
from dbt_segconn.mapping.compiler import SHORTHAND, expand

# The least score of a match, of 100. Below it, columns of another meaning match
CUTOFF = 90
# A description counts less than a name, because it has more words. It is used only if the name does not match
DESCRIPTION_WEIGHT = 0.9


@dataclass(frozen=True, slots=True)
class ColumnHint:
    """The known properties of a column. `spec_type` is None if its type is unknown."""

    name: str
    spec_type: SpecType | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """A field of the call (`traits.email`), the suggested column, and the score of the match, up to 100."""

    field: tuple[str, ...]
    column: str
    score: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A suggested mapping, in the form of its YAML.

    `left_out` are columns without a field, `missing` required fields without a column, `doubts` notes for the user.
    """

    mapping: dict[str, Any]
    matches: tuple[Match, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _CallField:
    """A field of the call: the types that it accepts, and usual column names as words."""

    field: tuple[str, ...]
    accepted: tuple[SpecType, ...]
    words: tuple[str, ...]


# Words of a model's name that do not describe its records
_LAYERS = frozenset({"stg", "int", "fct", "fact", "dim", "mart", "base", "src", "raw"})
_TAILS = frozenset(
    {"snapshot", "snap", "history", "current", "latest", "daily", "enriched", "final", "all", "scd", "v"}
)
# Words of an id column's name that do not describe the entity
_ID_WORDS = frozenset({"id", "ids", "key", "pk", "sk", "nk", "uuid", "guid", "number", "no", "nr", "code", "hash"})
# Names of columns, as words, with commas in between
_USER_IDS = "user id, customer id, uid, member id, contact id, person id, owner id, subscriber id"
_GROUP_IDS = "group id, account id, company id, organization id, team id, workspace id"
# action → nouns of its entity
_NOUNS = {
    "identify": "user customer contact lead member subscriber person people profile patient student visitor client",
    "group": "account company organization organisation team workspace group tenant",
    "page": "page pageview",
    "screen": "screen screenview",
}

_ID: tuple[SpecType, ...] = ("text", "number")
_IDS = frozenset({"user_id", "anonymous_id", "group_id"})
# Fields with several usual column names; for all others, the name of the field is used
_WORDS: dict[str, tuple[tuple[SpecType, ...], str]] = {
    "user_id": (_ID, _USER_IDS),
    "anonymous_id": (_ID, "anonymous id, visitor id, device id, cookie id"),
    "group_id": (_ID, _GROUP_IDS),
    "event_name": (("text",), "event name, event, event type"),
    "page_name": (("text",), "page name"),
    "page_category": (("text",), "page category, category"),
    "screen_name": (("text",), "screen name, screen"),
    "timestamp": (
        ("date",),
        "timestamp, occurred at, event time, event at, ordered at, viewed at, happened at, sent at, visited at",
    ),
    "ip_address": (("text",), "ip address, ip"),
    "locale": (("text",), "locale, language"),
    "user_agent": (("text",), "user agent"),
    "timezone": (("text",), "timezone, time zone"),
}
_ADDRESS = {
    "city": "city, town",
    "country": "country, country code",
    "postalCode": "postal code, zip code, zip, postcode",
    "state": "state, region, province",
    "street": "street, street address, address line",
}


def suggest(
    model: str,
    columns: Sequence[ColumnHint],
    identifier: Sequence[str],
    *,
    action: str | None = None,
    destination: str | None = None,
    order_by: str | None = None,
) -> Suggestion:
    """Suggest a mapping of a model; `destination` is None if the project has only one.

    `identifier` are the columns that identify the entity of a record: for a snapshot, its unique key.

    Raises ConfigurationError if rapidfuzz is not installed.
    """
    action = action or guess_action(model, columns, identifier)
    matches = {match.field: match for match in _assign(tuple(_call_fields(action)), columns)}
    doubts = []
    own_id = {"group": ("group_id",), "identify": ("user_id",)}.get(action)
    if own_id and len(identifier) == 1:
        meaning = meaning_of(identifier[0], model, action)
        if meaning == "own":  # the identifier is the id, even if the name of another column matches better
            score = matches[own_id].score if own_id in matches else 100.0
            matches = {field: one for field, one in matches.items() if one.column != identifier[0]}
            matches[own_id] = Match(own_id, identifier[0], score)
        elif own_id not in matches:
            doubts.append(_not_an_id(own_id[0], identifier[0], action))
    fields = _fields(action, model, matches)
    used = {match.column for match in matches.values()}
    left_out = tuple(column.name for column in columns if column.name not in used)
    keys = {"name": f"{action}_{model}", "action": action, "destination": destination, "order_by": order_by}
    mapping = {**{key: value for key, value in keys.items() if value}, "fields": fields}
    return Suggestion(mapping, tuple(matches.values()), left_out, missing_fields(action, fields), tuple(doubts))


def _not_an_id(field: str, column: str, action: str) -> str:
    entity = "a user" if action == "identify" else "a group"
    return (
        f"fields.{field}: {column} identifies a record, but its name does not show that it is the id of {entity}. It "
        "is not suggested: Segment cannot undo a wrong id."
    )


def guess_action(model: str, columns: Sequence[ColumnHint], identifier: Sequence[str] = ()) -> str:
    """Return the likely action of a model: by its identifier, its name, then its columns; else `track`."""
    for action in ("identify", "group"):
        if len(identifier) == 1 and meaning_of(identifier[0], model, action) == "own":
            return action
    by_name = action_for(model)
    is_other = len(identifier) == 1 and meaning_of(identifier[0], model, "identify") == "other"
    if by_name and not (by_name in {"identify", "group"} and is_other):
        return by_name
    names_of_columns = {words_of(column.name) for column in columns}
    if "screen name" in names_of_columns:
        return "screen"
    # at least two: one alone is common, such as the title of a product
    return "page" if len(names_of_columns & {"path", "url", "referrer", "title", "page name"}) > 1 else "track"


def _call_fields(action: str) -> Iterator[_CallField]:
    names = {field.name for field in ACTIONS[action].fields}
    for name, (accepted, words) in _WORDS.items():
        if name in names:
            yield _CallField((name,), accepted, tuple(words.split(", ")))
    for holder in ("traits", "properties"):
        for one in RESERVED.get((action, holder), ()):
            # user_id and group_id are fields of the call: https://segment.com/docs/connections/spec/
            if one.name != "id":
                yield _CallField((holder, one.name), one.accepted, (words_of(one.name), *one.aliases))
    if action in {"identify", "group"}:
        for name, words in _ADDRESS.items():
            yield _CallField(("traits", "address", name), ("text",), tuple(words.split(", ")))


def _assign(call_fields: Iterable[_CallField], columns: Iterable[ColumnHint]) -> Iterator[Match]:
    """Yield the best match of each field, highest score first; use no column twice."""
    pairs = [
        (_score(call_field, column), call_field.field, column.name) for call_field in call_fields for column in columns
    ]
    taken: set[Any] = set()
    for score, field, column in sorted(pairs, key=lambda pair: -pair[0]):
        if score >= CUTOFF and not {field, column} & taken:
            taken |= {field, column}
            yield Match(field, column, round(score, 1))


def _score(call_field: _CallField, column: ColumnHint) -> float:
    if column.spec_type is not None and column.spec_type not in call_field.accepted:
        return 0
    if call_field.field[0] in _IDS:  # a wrong id merges users, which Segment cannot undo: no similar names
        return _id_score(call_field, column)
    fuzz = _rapidfuzz().fuzz
    name = words_of(column.name)
    # an extra word changes the meaning: company name is not first name
    by_name = max(fuzz.ratio(name, word) * 0.5 + fuzz.token_sort_ratio(name, word) * 0.5 for word in call_field.words)
    if by_name >= CUTOFF or not column.description:
        return float(by_name)
    description = words_of(column.description).removesuffix(".")
    return float(max(fuzz.token_sort_ratio(description, word) for word in call_field.words) * DESCRIPTION_WEIGHT)


def _id_score(call_field: _CallField, column: ColumnHint) -> float:
    """Score ids by exact words: contract_id differs from contact_id by one letter. Earlier words score higher."""
    names = list(map(squeezed, call_field.words))
    if (name := squeezed(column.name)) in names:
        return 100 - names.index(name) / 1000
    return 100 * DESCRIPTION_WEIGHT if squeezed(column.description) in names else 0


def _rapidfuzz() -> ModuleType:
    try:
        import rapidfuzz
    except ImportError:
        raise ConfigurationError(
            "suggest requires rapidfuzz and ruamel.yaml: pip install 'dbt-segconn[suggest]'."
        ) from None
    return rapidfuzz


def _fields(action: str, model: str, matches: Mapping[tuple[str, ...], Match]) -> dict[str, Any]:
    """Return the matches as fields, in the order of the action's fields."""
    order = [field.name for field in ACTIONS[action].fields]
    fields: dict[str, Any] = {}
    if action == "track" and ("event_name",) not in matches:
        fields["event_name"] = f"{' '.join(nouns_of(model)).title()} Recorded".strip()
    for path in sorted(matches, key=lambda path: order.index(path[0])):
        here = fields
        for key in path[:-1]:
            here = here.setdefault(key, {})
        here[path[-1]] = shorthand_of(matches[path].column)
    return fields


def shorthand_of(column: str) -> Any:
    """Return a column in the `$` shorthand, or as a path if its name is not a plain word."""
    text = f"${column}"
    is_plain = re.fullmatch(SHORTHAND, text) and re.fullmatch(r"\w+", column, re.ASCII)
    return text if is_plain else {"@path": f"$.properties['{column}']"}


# --- The entity that a name means: a user, a group, a page, or another ---


def words_of(name: str) -> str:
    """Return a name as words: `created at` for createdAt, CREATED_AT and created-at."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[\W_]+", spaced.lower())).strip()


def singular(word: str) -> str:
    """Return the singular of an English noun."""
    # wrong for a word such as status, but equal on both sides of a comparison
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def squeezed(name: str) -> str:
    """Return a key that is equal for all spellings of an id: user_id, userId, users_id, USERID."""
    return "".join(map(singular, words_of(name).split()))


def nouns_of(model: str) -> list[str]:
    """Return the words of a model's name that describe its records."""
    words = [singular(word) for word in words_of(model).split()]
    return [word for word in words if word not in _LAYERS | _TAILS and not re.fullmatch(r"v?\d+\w?", word)]


def action_for(model: str) -> str | None:
    """Return the action for a model by the last noun of its name: the records of customer_orders are orders."""
    head = (nouns_of(model) or [""])[-1]
    return next((action for action, nouns in _NOUNS.items() if head in nouns.split()), None)


def meaning_of(column: str, model: str, action: str) -> Literal["own", "other", "unknown"]:
    """Classify a model's identifier: `own` is the id of a user (identify) or a group (group).

    The meaning of a column named `id` depends on the model's name. A column with an unknown name is `unknown`.
    """
    ids = (_USER_IDS if action == "identify" else _GROUP_IDS).split(", ")
    words = [singular(word) for word in words_of(column).split()]
    named = [word for word in words if word not in _ID_WORDS]
    if squeezed(column) in map(squeezed, ids) or (
        named and len(named) < len(words) and named[-1] in _NOUNS[action].split()
    ):
        return "own"
    if not named:  # `id`, `pk` and the like: the id of the model's own entity
        return "own" if action_for(model) == action else "other"
    return "other" if len(named) < len(words) else "unknown"


# Columns of the other types stay null: a date in the call depends on the column's own type and time zone
_SAMPLES: Mapping[str, Any] = {"number": 1, "boolean": True}


def with_first_test(
    mapping: Mapping[str, Any], columns: Iterable[ColumnHint], identifier: Sequence[str]
) -> dict[str, Any]:
    """Return a mapping with a test; unchanged if a required field is missing, so that it makes no call yet."""
    fields = expand(mapping["fields"])
    used = columns_named(fields) | set(identifier)
    row = {one.name: sample for one in columns if one.name in used and (sample := _sample(one)) is not None}
    try:
        call = compile_action(mapping["action"], fields)({"properties": row})
    except RecordError:
        return dict(mapping)
    expected = _without_null({key: value for key, value in call.items() if key != "context"})
    test = {"name": f"a_record_becomes_{mapping['action']}", "given": {"rows": [row]}}
    return {**mapping, "tests": [{**test, "expect": {"calls": [expected]}}]}


def _sample(column: ColumnHint) -> Any:
    return f"{column.name}-1" if column.spec_type in {"text", None} else _SAMPLES.get(column.spec_type or "")


def _without_null(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_null(one) for key, one in value.items() if one is not None and one != {}}
