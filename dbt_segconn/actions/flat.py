"""A shortcut for what most mappings are: ids and traits or properties, each a column.

Such a mapping is written out as one Python function: of a payload here, of rows in `rows.py`. Columns, keys
and constants are no part of its source: they take the place of its constants once it is compiled. It answers
for plain records, and leaves every other one (a column that is not there, an object, an id that is no text)
to the general way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from dbt_segconn.actions.fields import Action
from dbt_segconn.mapping.javascript import PROTOTYPE

Call = dict[str, Any]

# Fields that a plain record fills with text, and the key of the call that each becomes
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
    """A mapping of ids and traits or properties that are columns or constants, and of nothing else.

    `texts` are the fields that a plain record fills with text, `members` the traits or properties.
    """

    call_type: str
    texts: dict[str, Any]
    members: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        """The columns that it reads."""
        return list(dict.fromkeys(filter(None, map(column_of, [*self.texts.values(), *self.members.values()]))))


def find_flat(action: Action, fields: Any) -> Flat | None:
    """Return what a mapping consists of, if it is flat."""
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
# What a call of each type carries besides its ids, and which text it has for itself
_BODIES = {"identify": "traits", "track": "properties", "group": "traits"}
_OWN = {"identify": (), "track": ("event_name",), "group": ("group_id",)}


def column_of(value: Any) -> str | None:
    """Name the column of a path such as `$.properties.email`, of which nothing else is a part."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    path = value.get("@path")
    column = path[len(_PREFIX) :] if isinstance(path, str) and path.startswith(_PREFIX) else ""
    return column if column.replace("_", "a").isalnum() and column != "length" else None


def _is_plain(key: Any, value: Any) -> bool:
    plain = type(value) in _SCALARS or column_of(value) is not None
    return key != PROTOTYPE and not str(key).startswith("@") and plain


class Writer:
    """Writes the source of a function that makes the calls of a flat mapping.

    The source holds placeholders; the compiled code gets the users' own keys, constants and columns.
    """

    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        self._values: dict[Any, Any] = {}

    def constant(self, value: Any) -> str:
        """Return the source of a constant."""
        placeholder = f"placeholder {len(self._values)}"
        self._values[placeholder] = value
        return repr(placeholder)

    def statements(self, variable: Callable[[str], str]) -> list[str]:
        """Return what sets the texts; `variable` holds a column."""
        flat = self._flat
        sets = [f"{name} = {self._expression(value, variable)}" for name, value in flat.texts.items()]
        return sets + [f"if type({name}) is int: {name} = str({name})" for name in flat.texts if name != "timestamp"]

    @property
    def unfit(self) -> str:
        """The condition under which the record is left to the general way."""
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

    def compile(self, lines: Iterable[str], name: str, namespace: dict[str, Any]) -> Any:
        """Compile the source of one function of this name."""
        code = compile("\n".join(lines), f"<flat {self._flat.call_type} mapping>", "exec")
        exec(code, namespace)  # noqa: S102  nothing of the user's is in it
        function = namespace[name]
        function.__code__ = function.__code__.replace(co_consts=_filled(function.__code__.co_consts, self._values))
        return function


def compile_flat(flat: Flat, general: Callable[[Any], Call]) -> Callable[[Any], Call]:
    """Compile a flat mapping to a function payload → call.

    `general` is the same mapping compiled the general way, to which records that are not plain are left.
    """
    writer, columns = Writer(flat), flat.columns

    def variable(column: str) -> str:
        return f"column_{columns.index(column)}"

    lines = [
        "def to_call(payload, read=read, general=general, hash=hash):",
        "  try:",
        "    values = read(payload['properties'])",
        "    hash(values)",  # fails on objects, arrays and MISSING, and on nothing else
        "  except (KeyError, TypeError):",
        "    return general(payload)",
        f"  {', '.join(map(variable, columns))}, = values",
        *(f"  {statement}" for statement in writer.statements(variable)),
        f"  if {writer.unfit}:",
        "    return general(payload)",
        f"  return {writer.call(variable)}",
    ]
    compiled: Callable[[Any], Call] = writer.compile(lines, "to_call", {"read": _reader(columns), "general": general})
    return compiled


def _reader(columns: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Read columns of a record; a KeyError or TypeError where one is not there."""
    if len(columns) == 1:
        return lambda record: (record[columns[0]],)
    return itemgetter(*columns)


def _filled(constants: tuple[Any, ...], values: dict[Any, Any]) -> tuple[Any, ...]:
    """Put the values where their placeholders stand, in the tuples of keys, too."""
    return tuple(
        _filled(one, values) if isinstance(one, tuple) else values.get(one, one) if isinstance(one, str) else one
        for one in constants
    )
