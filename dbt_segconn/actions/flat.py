"""A shortcut for what most mappings are: ids and traits or properties, each a column.

Such a mapping is written out as one Python function. Columns, keys and constants are no part of its
source: they take the place of its constants once it is compiled. It answers for plain records, and leaves
every other one (a column that is not there, an object, an id that is no text) to the general way.
"""

from __future__ import annotations

from collections.abc import Callable
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


def compile_flat(action: Action, fields: Any, general: Callable[[Any], Call]) -> Callable[[Any], Call] | None:
    """Compile a flat mapping to a function payload → call; returns None for any other mapping.

    `general` is the same mapping compiled the general way, to which records that are not plain are left.
    """
    if action.name not in _BODIES or not isinstance(fields, dict):
        return None
    body, own = _BODIES[action.name], _OWN[action.name]
    texts = {name: value for name, value in fields.items() if name in {*_IDS, *own}}
    if set(fields) - set(texts) - {body} or not {"user_id", *own} <= set(texts):
        return None
    members = fields.get(body, {})
    if not isinstance(members, dict) or not all(_is_plain(key, value) for key, value in members.items()):
        return None
    if not all(_column(value) or (isinstance(value, str) and value) for value in texts.values()):
        return None
    if not any(map(_column, [*texts.values(), *members.values()])):
        return None
    return _write(action.name, texts, members, general)


_IDS = ("user_id", "anonymous_id", "timestamp")
# What a call of each type carries besides its ids, and which text it has for itself
_BODIES = {"identify": "traits", "track": "properties", "group": "traits"}
_OWN = {"identify": (), "track": ("event_name",), "group": ("group_id",)}


def _column(value: Any) -> str | None:
    """Name the column of a path such as `$.properties.email`, of which nothing else is a part."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    path = value.get("@path")
    column = path[len(_PREFIX) :] if isinstance(path, str) and path.startswith(_PREFIX) else ""
    return column if column.replace("_", "a").isalnum() and column != "length" else None


def _is_plain(key: Any, value: Any) -> bool:
    return key != PROTOTYPE and not str(key).startswith("@") and (type(value) in _SCALARS or _column(value) is not None)


def _write(
    kind: str, texts: dict[str, Any], members: dict[str, Any], general: Callable[[Any], Call]
) -> Callable[[Any], Call]:
    """Write the function out. Its source holds placeholders, for which the compiled code gets the values."""
    columns = list(dict.fromkeys(filter(None, map(_column, [*texts.values(), *members.values()]))))
    values: dict[Any, Any] = {}

    def constant(value: Any) -> str:
        placeholder = f"placeholder {len(values)}"
        values[placeholder] = value
        return repr(placeholder)

    def expression(value: Any) -> str:
        column = _column(value)
        return f"column_{columns.index(column)}" if column else constant(value)

    pairs = ", ".join(f"{constant(key)}: {expression(value)}" for key, value in members.items())
    whole = [f"  if type({name}) is int: {name} = str({name})" for name in texts if name != "timestamp"]
    tests = " or ".join(f"type({name}) is not str or not {name}" for name in texts)
    ids = ", ".join(f"'{_TEXTS[name]}': {name}" for name in _TEXTS if name in texts)
    context = "'traits': {}, 'consent': {}" if kind == "track" else "'consent': {}"
    source = "\n".join(
        [
            "def to_call(payload, read=read, general=general, hash=hash):",
            "  try:",
            "    values = read(payload['properties'])",
            "    hash(values)",  # fails on objects, arrays and MISSING, and on nothing else
            "  except (KeyError, TypeError):",
            "    return general(payload)",
            f"  {', '.join(f'column_{at}' for at in range(len(columns)))}, = values",
            *(f"  {name} = {expression(value)}" for name, value in texts.items()),
            *whole,
            f"  if {tests}:",
            "    return general(payload)",
            f"  return {{{ids}, 'context': {{{context}}}, '{_BODIES[kind]}': {{{pairs}}}, 'type': '{kind}'}}",
        ]
    )
    namespace: dict[str, Any] = {"read": _reader(columns), "general": general}
    exec(compile(source, f"<flat {kind} mapping>", "exec"), namespace)  # noqa: S102  nothing of the user's is in it
    to_call = namespace["to_call"]
    to_call.__code__ = to_call.__code__.replace(co_consts=_filled(to_call.__code__.co_consts, values))
    compiled: Callable[[Any], Call] = to_call
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
