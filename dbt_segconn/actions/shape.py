"""The shape of a mapping's calls: a call in which leaves stand for values of the record.

A warehouse fills the leaves by SQL, in less than half of Python's CPU time. `compile_action` defines what a call is: a
shape must give equal calls. A mapping for which that is not certain has no shape.

>>> email = {"@path": "$.properties.email"}
>>> fields = {"user_id": {"@path": "$.properties.id"}, "traits": {"email": email, "plan": "pro"}}
>>> shape = find_shape("identify", fields, consent=(), columns=["id", "email"], keep_null=False)
>>> shape.call["traits"]
{'email': Leaf(pieces=('', 'email', ''), form='json', drops='null'), 'plan': 'pro'}
>>> shape.required
((Leaf(pieces=('', 'id', ''), form='text', drops='empty'),),)
>>> find_shape("identify", {"user_id": {"@liquid": "{{properties.id}}"}}, consent=(), columns=["id"], keep_null=False)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dbt_segconn.actions.calls import call_builder
from dbt_segconn.actions.coerce import coercion
from dbt_segconn.actions.fields import Action, Field, find_action
from dbt_segconn.mapping.compiler import keys_of
from dbt_segconn.mapping.javascript import PROTOTYPE
from dbt_segconn.mapping.path import column_at, relative, split_template, steps

# Bounds the length of a statement. Segment's limit of 10,000 properties is too high for that
_MOST_LEAVES = 1_000


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

    `timestamp` is the column of the call's timestamp, if it has one.
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

    `consent` are categories with their columns; `columns` are those of the record. Unless `keep_null` is set, null
    columns are left out.
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
