"""Mapped fields → the Spec call that Segment's destination would send, and its shape, which a warehouse fills.

https://segment.com/docs/connections/spec/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dbt_segconn.actions.fields import Action, Field, coercion, find_action
from dbt_segconn.errors import InvalidCall
from dbt_segconn.mapping import compile_mapping
from dbt_segconn.mapping.compiler import is_directive, keys_of
from dbt_segconn.mapping.javascript import PROTOTYPE
from dbt_segconn.mapping.path import column_at, relative, split_template, steps

Fields = dict[str, Any]
Call = dict[str, Any]

# The message of Segment's destination
NO_IDENTITY = "Either `Anonymous ID` or `User ID` must be defined."
# Bounds the length of a statement. Segment's limit of 10,000 properties is too high for that
_MOST_LEAVES = 1_000


def compile_action(action: str, fields: Any) -> Callable[[Any], Call]:
    """Compile an action with its fields, in Segment's mapping language, to a function payload → call.

    `action` is a name such as `identify` or `sendIdentify`. Raises ConfigurationError if no such action exists, and
    MappingError if the mapping is invalid. The function raises InvalidCall, with all `problems` in Segment's words, if
    the record does not make a valid call. It raises EvaluationError if the mapping cannot be evaluated on the record.
    """
    definition = find_action(action)
    mapped = compile_mapping(fields)
    read = _reader(definition, fields)
    build = call_builder(definition, fields)

    def to_call(payload: Any) -> Call:
        values = read(mapped(payload))
        if not values.get("user_id") and not values.get("anonymous_id"):
            raise InvalidCall([NO_IDENTITY])
        return build(values)

    return to_call


def _mapped_names(definition: Action, fields: Any) -> frozenset[str]:
    """Return the fields that a mapping can fill; a directive at its root can fill any field."""
    if is_directive(fields):
        return frozenset(field.name for field in definition.fields)
    return frozenset(fields)


def _reader(definition: Action, fields: Any) -> Callable[[Any], Fields]:
    """Compile the step from mapped values to fields. It raises InvalidCall with all problems of a record."""
    names = _mapped_names(definition, fields)
    coercions = [(field.name, coercion(field)) for field in definition.fields if field.name in names]
    required = [field.name for field in definition.fields if field.required]

    def read(mapped: Any) -> Fields:
        mapped_values = mapped if type(mapped) is dict else {}
        values: Fields = {}
        problems: list[str] = []
        for name, coerce in coercions:
            value = mapped_values.get(name)
            # Segment's destination removes null and '' among the fields before it validates them
            if value is not None and value != "":
                values[name] = coerce(value, problems)
        missing = [name for name in required if name not in values]
        if problems or missing:
            raise InvalidCall(
                [*(f"The root value is missing the required field '{name}'." for name in missing), *problems]
            )
        return values

    return read


def call_builder(definition: Action, fields: Any) -> Callable[[Fields], Call]:
    """Compile the step from fields to the call, with its keys in the order of Segment's destination."""
    keys = (*_IDS, *_OWN[definition.name], ("message_id", "messageId"))
    context_of = _context_builder(definition, fields)
    body, body_of = _BODIES[definition.name]

    def build(values: Fields) -> Call:
        call = {key: values[name] for name, key in keys if name in values}
        call["context"] = context_of(values)
        call[body] = body_of(values)
        call["type"] = definition.name
        return call

    return build


# field → key of the call
_IDS = (("user_id", "userId"), ("anonymous_id", "anonymousId"), ("timestamp", "timestamp"))
_OWN: dict[str, tuple[tuple[str, str], ...]] = {
    "identify": (),
    "track": (("event_name", "event"),),
    "group": (("group_id", "groupId"),),
    "page": (("page_name", "name"),),
    "screen": (("screen_name", "name"),),
}


def _context_builder(definition: Action, fields: Any) -> Callable[[Fields], dict[str, Any]]:
    names = _mapped_names(definition, fields)
    keys = [(one.name, one.context) for one in definition.fields if one.context and one.name in names]
    # Segment's destination writes consent between campaign and device
    keys.insert(sum(name in {"application", "campaign_parameters"} for name, _ in keys), ("consent", "consent"))

    def context_of(values: Fields) -> dict[str, Any]:
        # As in Segment's destination, each call has a consent, even if it is empty
        known = {**values, "consent": _consent(values.get("consent"))}
        context = {key: known[name] for name, key in keys if name in known}
        # A track call has no traits of its own: Segment's destination puts them into the context
        return {"traits": values.get("traits", {}), **context} if definition.name == "track" else context

    return context_of


def _consent(value: Any) -> dict[str, Any]:
    """Return `{categoryPreferences: {category: boolean}}`. As in Segment's destination, any other form becomes `{}`."""
    preferences = value.get("categoryPreferences") if isinstance(value, dict) else None
    if not isinstance(preferences, (dict, list)):
        return {}
    # Segment's destination checks the values only, so that a list of booleans passes too
    choices = preferences.values() if isinstance(preferences, dict) else preferences
    return value if all(isinstance(choice, bool) for choice in choices) else {}


def _identify_traits(values: Fields) -> dict[str, Any]:
    traits: dict[str, Any] = values.get("traits", {})
    return {**traits, "address": values["address"]} if "address" in values else traits


def _page_properties(values: Fields) -> dict[str, Any]:
    page: Mapping[str, Any] = values.get("page", {})
    properties = {key: values[name] for name, key in _PAGE_NAMES if name in values}
    properties.update({key: page[key] for key in _PAGE_KEYS if key in page})
    return {**properties, **values.get("properties", {})}  # as in Segment's destination, mapped properties win


_PAGE_NAMES = (("page_name", "name"), ("page_category", "category"))
_PAGE_KEYS = ("path", "referrer", "search", "title", "url")


def _screen_properties(values: Fields) -> dict[str, Any]:
    name = {"name": values["screen_name"]} if "screen_name" in values else {}
    return {**name, **values.get("properties", {})}


# action → key of its traits or properties, and the function that builds them
_BODIES: dict[str, tuple[str, Callable[[Fields], dict[str, Any]]]] = {
    "identify": ("traits", _identify_traits),
    "track": ("properties", lambda values: values.get("properties", {})),
    "group": ("traits", lambda values: values.get("traits", {})),
    "page": ("properties", _page_properties),
    "screen": ("properties", _screen_properties),
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value of the record: the column of `pieces`, or a template of texts and columns in turn.

    Forms: `json`, the column's own value; `text`, the column as a text; `template`, in which null is an empty text;
    `consent`, whether the column gives consent. `drops`: with which values the key is left out of the call.
    """

    pieces: tuple[str, ...]
    form: Literal["json", "text", "template", "consent"]
    drops: Literal["never", "null", "empty"] = "never"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the leaf reads."""
        return self.pieces[1::2]


@dataclass(frozen=True, slots=True)
class Shape:
    """A call with leaves. A record makes a call only if, in each group of `required`, one leaf is not empty.

    A warehouse fills the leaves by SQL, in less than half of Python's CPU time. `timestamp` is the column of the call's
    timestamp, if it has one.
    """

    call: dict[str, Any]
    required: tuple[tuple[Leaf, ...], ...]
    timestamp: str | None


class _UnsupportedError(Exception):
    """The mapping has no shape, or one that only Python fills."""


def find_shape(
    action: str, fields: Any, *, consent: Iterable[tuple[str, str]], columns: Sequence[str], keep_null: bool
) -> Shape | None:
    """Return the shape of a mapping, without its messageId; None if only `compile_action` makes its calls.

    `compile_action` defines what a call is: a shape must give equal calls. A mapping for which that is not certain has
    no shape. `consent` are categories with their columns; `columns` are those of the record. Unless `keep_null` is set,
    null columns are left out.

    >>> email = {"@path": "$.properties.email"}
    >>> fields = {"user_id": {"@path": "$.properties.id"}, "traits": {"email": email, "plan": "pro"}}
    >>> shape = find_shape("identify", fields, consent=(), columns=["id", "email"], keep_null=False)
    >>> shape.call["traits"]
    {'email': Leaf(pieces=('', 'email', ''), form='json', drops='null'), 'plan': 'pro'}
    >>> shape.required
    ((Leaf(pieces=('', 'id', ''), form='text', drops='empty'),),)
    >>> liquid = {"user_id": {"@liquid": "{{properties.id}}"}}
    >>> find_shape("identify", liquid, consent=(), columns=["id"], keep_null=False)
    """
    try:
        reader = _Reader(tuple(columns), dict(consent), "never" if keep_null else "null")
        return reader.shape(find_action(action), fields)
    except (_UnsupportedError, RecursionError):
        return None


@dataclass(slots=True)
class _Reader:
    columns: tuple[str, ...]
    consent: Mapping[str, str]
    drops: Literal["never", "null"]
    leaves: int = 0

    def shape(self, action: Action, fields: Any) -> Shape:
        known = {field.name: field for field in action.fields}
        # delivery reads the change number of a written call from the end of its messageId
        if not _is_object(fields) or "message_id" in fields or not fields.keys() <= known.keys():
            raise _UnsupportedError
        values = {name: self._field(known[name], value) for name, value in fields.items()}
        values = {name: value for name, value in values.items() if value is not None}
        names = [("user_id", "anonymous_id"), *((field.name,) for field in action.fields if field.required)]
        required = tuple(_required([values.get(name) for name in one]) for one in names)
        for name, value in values.items():
            if (value,) in required:  # without a value, the record makes no call
                values[name] = replace(value, drops="never")  # so every call has the key
        call = self._call(action, values)
        timestamp = values.get("timestamp")
        # only the type of a column proves that all its values are ISO-8601, without which Segment drops a call
        if isinstance(timestamp, str) or (isinstance(timestamp, Leaf) and timestamp.form != "text"):
            raise _UnsupportedError
        return Shape(call, tuple(filter(None, required)), timestamp.columns[0] if timestamp else None)

    def _call(self, action: Action, values: dict[str, Any]) -> dict[str, Any]:
        """Build the call as for a record: the builders only move values."""
        given = values.get("consent")
        if given is not None:  # the builder checks that the choices are booleans, which leaves are not
            values = {**values, "consent": {"categoryPreferences": dict.fromkeys(self.consent, True)}}
        call = call_builder(action, values)(values)
        if given is not None:
            call["context"]["consent"] = given
        if action.name in {"page", "screen"} and len(call["properties"]) < _members(action.name, values):
            raise _UnsupportedError  # two values for one key: which one is sent depends on the record
        return call

    def _field(self, field: Field, value: Any) -> Any:
        """Return the value of a field; None if the call has none."""
        if value is None or value == "":
            return None
        if field.name == "consent":
            return self._consent(value)
        if field.type != "object":
            return self._scalar(field, value, "empty")
        if not field.properties:
            return self._object(value) if _is_object(value) else self._record(value)
        known = {one.name: one for one in field.properties}
        if not _is_object(value) or not value.keys() <= known.keys():
            raise _UnsupportedError
        # an empty text stays in these objects
        members = {name: self._scalar(known[name], one, "null") for name, one in value.items() if one is not None}
        return {name: one for name, one in members.items() if one is not None}

    def _scalar(self, field: Field, value: Any, drops: Literal["null", "empty"]) -> Any:
        """Return a constant, or a leaf of a text."""
        if not isinstance(value, (dict, list)):
            if value == "" and field.type != "string":
                return None
            problems: list[str] = []
            constant = coercion(field)(value, problems)
            if problems:
                raise _UnsupportedError
            return self._constant(constant)
        leaf = self._leaf(value)
        if field.type != "string":
            raise _UnsupportedError
        if isinstance(leaf, str):
            return None if leaf == "" and drops == "empty" else leaf
        return Leaf(leaf.pieces, "text" if leaf.form == "json" else leaf.form, drops)

    def _consent(self, value: Any) -> dict[str, Any] | None:
        if keys_of(value) != ("context", "consent"):
            raise _UnsupportedError
        choices = {category: Leaf(("", name, ""), "consent") for category, name in self.consent.items()}
        return {"categoryPreferences": choices} if choices else None

    def _record(self, value: Any) -> dict[str, Any]:
        """Return all columns, if the value is the whole record."""
        if keys_of(value) != ("properties",) or PROTOTYPE in self.columns:
            raise _UnsupportedError
        return {name: self._column(name) for name in self.columns}

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [_sent(self._value(one)) for one in value]
        if not isinstance(value, dict):
            return self._constant(value)
        return self._object(value) if _is_object(value) else self._leaf(value)

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        return {key: self._value(one) for key, one in value.items()}

    def _leaf(self, value: Any) -> Leaf | str:
        """Return the leaf of @path or @template. A template without columns is a text."""
        name, argument = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else ("", None)
        if not isinstance(argument, str):
            raise _UnsupportedError
        if name == "@path":
            return self._column(column_at(steps(relative(argument))))
        pieces = split_template(argument) if name == "@template" else None
        if pieces is None or "\0" in argument:  # PostgreSQL has no text with this character
            raise _UnsupportedError
        if len(pieces) == 1:
            return str(self._constant(argument))
        pieces[1::2] = [self._column(column_at(steps(path))).pieces[1] for path in pieces[1::2]]
        return Leaf(tuple(map(str, map(self._constant, pieces))), "template")

    def _column(self, name: str | None) -> Leaf:
        self.leaves += 1
        if name is None or name not in self.columns or self.leaves > _MOST_LEAVES:
            raise _UnsupportedError
        return Leaf(("", name, ""), "json", self.drops)

    def _constant(self, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise _UnsupportedError  # JSON has no such number
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:  # a lone surrogate: Python discards the record, with the reason
                raise _UnsupportedError from None
        return value


def _is_object(value: Any) -> bool:
    """Return whether a value is an object without directives."""
    return (
        isinstance(value, dict)
        and not any(key.startswith(("@", "__segment", "_metadata")) for key in value)
        and (PROTOTYPE not in value)
    )


def _sent(value: Any) -> Any:
    """Return an item of an array: null where an object would have no such key."""
    return Leaf(value.pieces, value.form) if isinstance(value, Leaf) else value


def _required(values: Sequence[Any]) -> tuple[Leaf, ...]:
    """Return the leaves of which one is needed; none if a constant is among the values."""
    if not any(value is not None for value in values):
        raise _UnsupportedError
    leaves = tuple(value for value in values if isinstance(value, Leaf))
    return leaves if len(leaves) == sum(value is not None for value in values) else ()


def _members(action: str, values: Mapping[str, Any]) -> int:
    """Count the properties of a page or screen call, those of equal names twice."""
    own = ("screen_name",) if action == "screen" else ("page_name", "page_category")
    page = values.get("page", {}) if action == "page" else {}
    return len(page) + len(values.get("properties", {})) + sum(name in values for name in own)
