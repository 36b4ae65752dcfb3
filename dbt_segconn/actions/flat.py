"""Flat mappings, compiled to one Python function each: ids and traits or properties that are columns or constants.

Most mappings are flat. `find_flat` recognises one, `Writer` writes Python source for it, and `compile` and `exec` make
the function: from a payload here, from rows in `rows.py`.

>>> from dbt_segconn.actions.fields import find_action
>>> email = {"@path": "$.properties.email"}
>>> fields = {"user_id": {"@path": "$.properties.id"}, "traits": {"email": email, "plan": "pro"}}
>>> flat = find_flat(find_action("identify"), fields)
>>> print("\\n".join(_source(flat, Writer(flat))))
def to_call(payload, read=read, general=general, hash=hash):
  try:
    values = read(payload['properties'])
    hash(values)
  except (KeyError, TypeError):
    return general(payload)
  column_0, column_1, = values
  user_id = column_0
  if type(user_id) is int: user_id = str(user_id)
  if type(user_id) is not str or not user_id:
    return general(payload)
  return {'userId': user_id, 'context': {'consent': {}}, 'traits': {'placeholder 0': column_1, 'placeholder 1': \
'placeholder 2'}, 'type': 'identify'}

Names of columns, keys and constants never become source. `compile_source` replaces the placeholders in the compiled
code: here with `email`, `plan` and `pro`.

The function builds calls of plain records only. `general` is the same mapping, compiled as in `calls.py`. It handles
all other records, such as one with a missing column, an object, or an empty id.

>>> to_call = compile_flat(flat, general=lambda payload: "built by general")
>>> to_call({"properties": {"id": 7, "email": "ada@example.com"}})["traits"]
{'email': 'ada@example.com', 'plan': 'pro'}
>>> to_call({"properties": {"id": 7}})
'built by general'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from dbt_segconn.actions.fields import Action
from dbt_segconn.mapping.javascript import PROTOTYPE

Call = dict[str, Any]

# Fields that are a text in a plain record, with their keys in the call
_TEXTS = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "event_name": "event",
    "group_id": "groupId",
    "timestamp": "timestamp",
}
_SCALARS = frozenset({str, int, float, bool, type(None)})
_PREFIX = "$.properties."


@dataclass(frozen=True, slots=True)
class Flat:
    """A flat mapping. `texts` are its ids, event name and timestamp; `members` its traits or properties."""

    call_type: str
    texts: dict[str, Any]
    members: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        """The columns that the mapping reads."""
        return list(dict.fromkeys(filter(None, map(column_of, [*self.texts.values(), *self.members.values()]))))


def find_flat(action: Action, fields: Any) -> Flat | None:
    """Return the parts of a flat mapping; None for any other mapping."""
    if action.name not in _BODIES or not isinstance(fields, dict):
        return None
    body, own = _BODIES[action.name], _OWN[action.name]
    texts = {name: value for name, value in fields.items() if name in {*_IDS, *own}}
    if set(fields) - set(texts) - {body} or not {"user_id", *own} <= set(texts):
        return None
    members = fields.get(body, {})
    if not isinstance(members, dict) or not all(_is_plain(key, value) for key, value in members.items()):
        return None
    if not all(column_of(value) or (isinstance(value, str) and value) for value in texts.values()):
        return None
    flat = Flat(action.name, texts, members)
    return flat if flat.columns else None


_IDS = ("user_id", "anonymous_id", "timestamp")
# call type → the field of its members, and the texts that it requires besides user_id
_BODIES = {"identify": "traits", "track": "properties", "group": "traits"}
_OWN = {"identify": (), "track": ("event_name",), "group": ("group_id",)}


def column_of(value: Any) -> str | None:
    """Return the column of a path such as `$.properties.email`; None for any other value."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    path = value.get("@path")
    column = path[len(_PREFIX) :] if isinstance(path, str) and path.startswith(_PREFIX) else ""
    return column if column.replace("_", "a").isalnum() and column != "length" else None


def _is_plain(key: Any, value: Any) -> bool:
    plain = type(value) in _SCALARS or column_of(value) is not None
    return key != PROTOTYPE and not str(key).startswith("@") and plain


class Writer:
    """Python source for the calls of a flat mapping, with placeholders for keys and constants.

    `variable`, a parameter of several methods, returns the variable that holds a column.
    """

    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        self._values: dict[Any, Any] = {}

    def constant(self, value: Any) -> str:
        """Return a placeholder for a constant."""
        placeholder = f"placeholder {len(self._values)}"
        self._values[placeholder] = value
        return repr(placeholder)

    def statements(self, variable: Callable[[str], str]) -> list[str]:
        """Return the statements that set the texts; an integer id becomes a text."""
        flat = self._flat
        sets = [f"{name} = {self._expression(value, variable)}" for name, value in flat.texts.items()]
        return sets + [f"if type({name}) is int: {name} = str({name})" for name in flat.texts if name != "timestamp"]

    @property
    def is_not_plain(self) -> str:
        """The condition for records that are not plain."""
        return " or ".join(f"type({name}) is not str or not {name}" for name in self._flat.texts)

    def call(self, variable: Callable[[str], str], more: str = "") -> str:
        """Return the expression of the call."""
        flat = self._flat
        ids = ", ".join(f"'{key}': {name}" for name, key in _TEXTS.items() if name in flat.texts)
        context = "'traits': {}, 'consent': {}" if flat.call_type == "track" else "'consent': {}"
        members = flat.members.items()
        pairs = ", ".join(f"{self.constant(key)}: {self._expression(value, variable)}" for key, value in members)
        body = f"'{_BODIES[flat.call_type]}': {{{pairs}}}"
        return f"{{{ids}, 'context': {{{context}}}, {body}, 'type': '{flat.call_type}'{more}}}"

    def _expression(self, value: Any, variable: Callable[[str], str]) -> str:
        column = column_of(value)
        return variable(column) if column else self.constant(value)

    def compile_source(self, lines: Iterable[str], name: str, namespace: dict[str, Any]) -> Any:
        """Compile the source of the function `name`; replace its placeholders with the values of the mapping."""
        code = compile("\n".join(lines), f"<flat {self._flat.call_type} mapping>", "exec")
        exec(code, namespace)  # noqa: S102  the source holds no text of a user
        function = namespace[name]
        function.__code__ = function.__code__.replace(co_consts=_filled(function.__code__.co_consts, self._values))
        return function


def compile_flat(flat: Flat, general: Callable[[Any], Call]) -> Callable[[Any], Call]:
    """Compile a flat mapping to a function payload → call; `general` handles records that are not plain."""
    writer = Writer(flat)
    namespace = {"read": _reader(flat.columns), "general": general}
    compiled: Callable[[Any], Call] = writer.compile_source(_source(flat, writer), "to_call", namespace)
    return compiled


def _source(flat: Flat, writer: Writer) -> Iterator[str]:
    columns = flat.columns

    def variable(column: str) -> str:
        return f"column_{columns.index(column)}"

    yield "def to_call(payload, read=read, general=general, hash=hash):"
    yield "  try:"
    yield "    values = read(payload['properties'])"
    yield "    hash(values)"  # fails on objects, arrays and MISSING only
    yield "  except (KeyError, TypeError):"
    yield "    return general(payload)"
    yield f"  {', '.join(map(variable, columns))}, = values"
    yield from (f"  {statement}" for statement in writer.statements(variable))
    yield f"  if {writer.is_not_plain}:"
    yield "    return general(payload)"
    yield f"  return {writer.call(variable)}"


def _reader(columns: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that reads the columns of a record. It raises KeyError or TypeError if one is missing."""
    if len(columns) == 1:
        return lambda record: (record[columns[0]],)
    return itemgetter(*columns)


def _filled(constants: tuple[Any, ...], values: dict[Any, Any]) -> tuple[Any, ...]:
    """Replace the placeholders with their values, also in the tuples of keys."""
    return tuple(
        _filled(one, values) if isinstance(one, tuple) else values.get(one, one) if isinstance(one, str) else one
        for one in constants
    )
