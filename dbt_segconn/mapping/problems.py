"""What is wrong with a mapping: Segment's wording, and its path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbt_segconn.mapping.javascript import MISSING, stringify, type_of, utf16_length

if TYPE_CHECKING:
    from typing_extensions import Self

Path = tuple[str, ...]
Find = Callable[[Any, Path], "list[Problem]"]


class Problem(str):
    """A problem in Segment's words, `/path what.`; `path` and `reason` are its parts."""

    __slots__ = ("path", "reason")

    path: Path
    reason: str

    def __new__(cls, path: Path, reason: str) -> Self:
        """Word the problem."""
        problem = super().__new__(cls, f"/{'/'.join(path)} {reason}.")
        problem.path = path
        problem.reason = reason
        return problem


@dataclass(frozen=True, slots=True)
class Check:
    """Finds what is wrong with a value; `schema` says the same to editors, as JSON Schema."""

    find: Find
    schema: Mapping[str, Any]

    def __call__(self, value: Any, path: Path) -> list[Problem]:
        """Return every problem of the value, which stands at this path."""
        return self.find(value, path)


def check_of(schema: Mapping[str, Any]) -> Callable[[Find], Check]:
    """Make a check of a function: `schema` accepts what it has no problem with."""
    return lambda find: Check(find, schema)


def kind_of(value: Any) -> str:
    """Name a value's type; an object with an @-key is a directive."""
    if isinstance(value, dict) and any(key.startswith("@") for key in value):
        return "directive"
    return type_of(value)


def is_a(value: Any) -> str:
    """Say what a value is instead, with its article."""
    kind = kind_of(value)
    return f"it is {'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def expect(kind: str, words: str) -> Check:
    """Check for one type."""

    def find(value: Any, path: Path) -> list[Problem]:
        return [] if kind_of(value) == kind else [Problem(path, f"should be {words} but {is_a(value)}")]

    return Check(find, {"type": kind})


is_text = expect("string", "a string")
is_boolean = expect("boolean", "a boolean")


@check_of({"type": "array"})
def is_array(value: Any, path: Path) -> list[Problem]:
    """Check for an array; a directive counts as the object that it is."""
    kind = type_of(value)
    article = "an" if kind[0] in "aeiou" else "a"
    return [] if kind == "array" else [Problem(path, f"should be an array but it is {article} {kind}")]


def has_length(least: int, most: int) -> Check:
    """Check a text and its length in UTF-16 units."""

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
    """Check for one of a few words, in upper or lower case."""
    anyhow = "|".join("".join(f"[{one.upper()}{one}]" for one in word) for word in words)

    @check_of({"anyOf": [{"enum": list(words)}, {"type": "string", "pattern": f"^({anyhow})$"}]})
    def check(value: Any, path: Path) -> list[Problem]:
        if problems := is_text(value, path):
            return problems
        if value.lower() in words:
            return []
        return [Problem(path, f"should be one of {', '.join(words)} but it is {stringify(value)}")]

    return check


def has_fields(required: Mapping[str, bool], checks: Mapping[str, Check], is_object: Check) -> Check:
    """Check an object and its fields; the object's own problems, if it has any, are all that is told."""
    properties = {name: one.schema for name, one in checks.items()}
    needed = [name for name in checks if required.get(name)]

    @check_of({"allOf": [is_object.schema, {"properties": properties, "required": needed}]})
    def check(value: Any, path: Path) -> list[Problem]:
        if problems := is_object(value, path):
            return problems
        return [problem for name in checks for problem in _field(value, name, path)]

    def _field(value: Mapping[str, Any], name: str, path: Path) -> Iterable[Problem]:
        given = value.get(name, MISSING)
        if given is not MISSING:
            return checks[name](given, (*path, name))
        return [Problem(path, f"should have field {stringify(name)} but it doesn't")] if required.get(name) else []

    return check
