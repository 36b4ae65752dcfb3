"""The entity that the name of a model or of an id column means: a user, a group, a page, or another."""

from __future__ import annotations

import re
from typing import Literal

# Words of a model's name that do not describe its records
_LAYERS = frozenset({"stg", "int", "fct", "fact", "dim", "mart", "base", "src", "raw"})
_TAILS = frozenset(
    {"snapshot", "snap", "history", "current", "latest", "daily", "enriched", "final", "all", "scd", "v"}
)
# Words of an id column's name that do not describe the entity
_ID_WORDS = frozenset({"id", "ids", "key", "pk", "sk", "nk", "uuid", "guid", "number", "no", "nr", "code", "hash"})
USER_IDS = ("user id", "customer id", "uid", "member id", "contact id", "person id", "owner id", "subscriber id")
GROUP_IDS = ("group id", "account id", "company id", "organization id", "team id", "workspace id")
# action → nouns of its entity
_NOUNS = {
    "identify": "user customer contact lead member subscriber person people profile patient student visitor client",
    "group": "account company organization organisation team workspace group tenant",
    "page": "page pageview",
    "screen": "screen screenview",
}

Meaning = Literal["own", "other", "unknown"]


def words_of(name: str) -> str:
    """Return a name as words: `created at` for createdAt, CREATED_AT and created-at."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[\W_]+", spaced.lower())).strip()


def singular(word: str) -> str:
    """Return the singular of an English noun."""
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


def meaning_of(column: str, model: str, action: str) -> Meaning:
    """Classify a model's identifier: `own` is the id of a user (identify) or a group (group).

    The meaning of a column named `id` depends on the model's name. A column with an unknown name is `unknown`.
    """
    ids = USER_IDS if action == "identify" else GROUP_IDS
    words = [singular(word) for word in words_of(column).split()]
    named = [word for word in words if word not in _ID_WORDS]
    if squeezed(column) in map(squeezed, ids) or (
        named and len(named) < len(words) and named[-1] in _NOUNS[action].split()
    ):
        return "own"
    if not named:
        return "own" if action_for(model) == action else "other"
    return "other" if len(named) < len(words) else "unknown"
