"""Which entity a model or an id column names, by the words of its name: a user, a group, a page, or another."""

from __future__ import annotations

import re
from typing import Literal

# Words of a model's name that say nothing of its records
_LAYERS = frozenset({"stg", "int", "fct", "fact", "dim", "mart", "base", "src", "raw"})
_TAILS = frozenset(
    {"snapshot", "snap", "history", "current", "latest", "daily", "enriched", "final", "all", "scd", "v"}
)
# Words of an id column's name that say nothing of the entity
_ID_WORDS = frozenset({"id", "ids", "key", "pk", "sk", "nk", "uuid", "guid", "number", "no", "nr", "code", "hash"})
USER_IDS = ("user id", "customer id", "uid", "member id", "contact id", "person id", "owner id", "subscriber id")
GROUP_IDS = ("group id", "account id", "company id", "organization id", "team id", "workspace id")
_VALUE_TYPES = {
    "identify": "user customer contact lead member subscriber person people profile patient student visitor client",
    "group": "account company organization organisation team workspace group tenant",
    "page": "page pageview",
    "screen": "screen screenview",
}

Meaning = Literal["own", "other", "unknown"]


def words_of(name: str) -> str:
    """Split a name into words: createdAt, CREATED_AT and created-at are created at."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[\W_]+", spaced.lower())).strip()


def singular(word: str) -> str:
    """Return an English noun without its plural s."""
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def squeezed(name: str) -> str:
    """Return a name by which spellings of an id are equal: user_id, userId, users_id, USERID."""
    return "".join(map(singular, words_of(name).split()))


def nouns_of(model: str) -> list[str]:
    """Return the words of a model's name that name its records."""
    words = [singular(word) for word in words_of(model).split()]
    return [word for word in words if word not in _LAYERS | _TAILS and not re.fullmatch(r"v?\d+\w?", word)]


def action_for(model: str) -> str | None:
    """Return the action for the records of a model by the last noun of its name: customer_orders are orders."""
    head = (nouns_of(model) or [""])[-1]
    return next((action for action, kinds in _VALUE_TYPES.items() if head in kinds.split()), None)


def meaning_of(column: str, model: str, action: str) -> Meaning:
    """Return whether a model's identifier is the id of its users (identify) or groups (group).

    A bare `id` is the id of the entity that the model is named after. A column that is named after nothing known
    is unknown.
    """
    ids = USER_IDS if action == "identify" else GROUP_IDS
    words = [singular(word) for word in words_of(column).split()]
    named = [word for word in words if word not in _ID_WORDS]
    if squeezed(column) in map(squeezed, ids) or (
        named and len(named) < len(words) and named[-1] in _VALUE_TYPES[action].split()
    ):
        return "own"
    if not named:
        return "own" if action_for(model) == action else "other"
    return "other" if len(named) < len(words) else "unknown"
