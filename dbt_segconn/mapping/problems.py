"""Problems of a mapping, in Segment's words and with their paths; the checks that find them; failures on records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbt_segconn.errors import EvaluationError
from dbt_segconn.mapping.javascript import MISSING, stringify, type_of, utf16_length

if TYPE_CHECKING:
    from typing_extensions import Self

Path = tuple[str, ...]
Find = Callable[[Any, Path], "list[Problem]"]


class Problem(str):
    """A problem in Segment's words, `/path reason.`, with both as attributes."""

    __slots__ = ("path", "reason")

    path: Path
    reason: str

    def __new__(cls, path: Path, reason: str) -> Self:
        """Format the problem."""
        problem = super().__new__(cls, f"/{'/'.join(path)} {reason}.")
        problem.path = path
        problem.reason = reason
        return problem


@dataclass(frozen=True, slots=True)
class Check:
    """A check of one value. `schema` is the same check as JSON Schema, for editors."""

    find: Find
    schema: Mapping[str, Any]

    def __call__(self, value: Any, path: Path) -> list[Problem]:
        """Return every problem of the value at this path."""
        return self.find(value, path)


def failure(reason: str) -> Callable[..., Any]:
    """Return a function that fails on every record.

    Segment's code accepts some mappings that cannot be evaluated, and so must this package.
    """

    def fail(*_: Any, **__: Any) -> Any:
        raise EvaluationError(reason)

    return fail


def check_of(schema: Mapping[str, Any]) -> Callable[[Find], Check]:
    """Return a decorator: function → Check. `schema` must accept the values without problems."""
    return lambda find: Check(find, schema)


def type_name_of(value: Any) -> str:
    """Return the name of a value's type; an object with an @-key is a directive."""
    if isinstance(value, dict) and any(key.startswith("@") for key in value):
        return "directive"
    return type_of(value)


def actual_type(value: Any) -> str:
    """Return the actual type of a value for a message: `it is an object`."""
    return f"it is {with_article(type_name_of(value))}"


def with_article(type_name: str) -> str:
    """Return the name of a type with its article."""
    return f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}"


def expect(type_name: str, words: str) -> Check:
    """Return a check for one type; `words` name it in the problem."""

    def find(value: Any, path: Path) -> list[Problem]:
        if type_name_of(value) == type_name:
            return []
        return [Problem(path, f"should be {words} but {actual_type(value)}")]

    return Check(find, {"type": type_name})


is_text = expect("string", "a string")
is_boolean = expect("boolean", "a boolean")


@check_of({"type": "array"})
def is_array(value: Any, path: Path) -> list[Problem]:
    """Check for an array. A directive is reported as an object."""
    type_name = type_of(value)
    if type_name == "array":
        return []
    return [Problem(path, f"should be an array but it is {with_article(type_name)}")]


def has_length(least: int, most: int) -> Check:
    """Return a check for a text and its length in UTF-16 units."""

    @check_of({"type": "string", "minLength": least, "maxLength": most})
    def check(value: Any, path: Path) -> list[Problem]:
        if problems := is_text(value, path):
            return problems
        if utf16_length(value) < least:
            return [Problem(path, f"should be a string of length {least} or greater")]
        if utf16_length(value) > most:
            return [Problem(path, f"should be a string of length {most} or less")]
        return []

    return check


def one_of(*words: str) -> Check:
    """Return a check for one of these words, in any case."""
    # patterns of JSON Schema have no flag that ignores case
    any_case = "|".join("".join(f"[{one.upper()}{one}]" for one in word) for word in words)

    @check_of({"anyOf": [{"enum": list(words)}, {"type": "string", "pattern": f"^({any_case})$"}]})
    def check(value: Any, path: Path) -> list[Problem]:
        if problems := is_text(value, path):
            return problems
        if value.lower() in words:
            return []
        return [Problem(path, f"should be one of {', '.join(words)} but it is {stringify(value)}")]

    return check


def has_fields(required: Collection[str], checks: Mapping[str, Check], is_object: Check) -> Check:
    """Return a check for an object and its fields. If the object itself has problems, only those are returned."""
    properties = {name: one.schema for name, one in checks.items()}
    needed = [name for name in checks if name in required]

    @check_of({"allOf": [is_object.schema, {"properties": properties, "required": needed}]})
    def check(value: Any, path: Path) -> list[Problem]:
        if problems := is_object(value, path):
            return problems
        return [problem for name in checks for problem in _field(value, name, path)]

    def _field(value: Mapping[str, Any], name: str, path: Path) -> Iterable[Problem]:
        found = value.get(name, MISSING)
        if found is not MISSING:
            return checks[name](found, (*path, name))
        return [Problem(path, f"should have field {stringify(name)} but it doesn't")] if name in required else []

    return check
