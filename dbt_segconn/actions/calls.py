"""Mapped fields → the Spec call that Segment's destination would send.

https://segment.com/docs/connections/spec/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dbt_segconn.actions.coerce import Coerce, coercion
from dbt_segconn.actions.fields import CAMPAIGN_PARAMETERS, Action, find_action
from dbt_segconn.actions.flat import compile_flat, find_flat
from dbt_segconn.errors import InvalidCall
from dbt_segconn.mapping import MISSING, compile_mapping
from dbt_segconn.mapping.compiler import ROOT_DIRECTIVE

Fields = dict[str, Any]
Call = dict[str, Any]

NO_IDENTITY = "Either `Anonymous ID` or `User ID` must be defined."


def compile_action(action: str, fields: Any) -> Callable[[Any], Call]:
    """Compile an action with its fields, in Segment's mapping language, to a function payload → call.

    `action` is a name such as `identify` or `sendIdentify`. Raises ConfigurationError if no such action exists, and
    MappingError if the mapping is invalid. The function raises InvalidCall, with all `problems` in Segment's words, if
    the record does not make a valid call. It raises EvaluationError if the mapping cannot be evaluated on the record.
    """
    definition = find_action(action)
    general = _compile_general(definition, fields)
    flat = find_flat(definition, fields)
    return compile_flat(flat, general) if flat else general


def _compile_general(definition: Action, fields: Any) -> Callable[[Any], Call]:
    """Compile any mapping: the function evaluates it, coerces the values and builds the call."""
    mapped = compile_mapping(fields)
    read = _reader(definition, fields)
    build = BUILDERS[definition.name]
    context = context_builder(definition, fields)

    def to_call(payload: Any) -> Call:
        values = read(mapped(payload))
        if not values.get("user_id") and not values.get("anonymous_id"):
            raise InvalidCall([NO_IDENTITY])
        return build(values, context(values))

    return to_call


def _mapped_names(definition: Action, fields: Any) -> frozenset[str]:
    """Return the fields that a mapping can fill; a directive at its root can fill any field."""
    if not isinstance(fields, dict) or any(key.startswith("@") or key == ROOT_DIRECTIVE for key in fields):
        return frozenset(field.name for field in definition.fields)
    return frozenset(fields)


def _reader(definition: Action, fields: Any) -> Callable[[Any], Fields]:
    """Compile the step from mapped values to fields: remove empty values, coerce all others."""
    names = _mapped_names(definition, fields)
    coercions: tuple[tuple[str, Coerce], ...] = tuple(
        (field.name, coercion(field)) for field in definition.fields if field.name in names
    )
    required = tuple(field.name for field in definition.fields if field.required)

    def read(mapped: Any) -> Fields:
        mapped_values = mapped if type(mapped) is dict else {}
        values: Fields = {}
        problems: list[str] = []
        for name, coerce in coercions:
            value = mapped_values.get(name)
            if value is not None and value != "":
                values[name] = coerce(value, problems)
        missing = [name for name in required if name not in values]
        if problems or missing:
            raise InvalidCall(
                [*(f"The root value is missing the required field '{name}'." for name in missing), *problems]
            )
        return values

    return read


def context_builder(definition: Action, fields: Any) -> Callable[[Fields], dict[str, Any]]:
    """Compile the step from fields to the context of a call."""
    names = _mapped_names(definition, fields)
    keys = [(one.name, one.context) for one in definition.fields if one.context and one.name in names]
    before = tuple(one for one in keys if one[0] in _BEFORE_CONSENT)
    after = tuple(one for one in keys if one[0] not in _BEFORE_CONSENT)

    def context(values: Fields) -> dict[str, Any]:
        built = {key: values[name] for name, key in before if name in values}
        built["consent"] = _consent(values.get("consent"))
        for name, key in after:
            if name in values:
                built[key] = values[name]
        return built

    return context


_BEFORE_CONSENT = frozenset({"application", CAMPAIGN_PARAMETERS.name})


def _consent(value: Any) -> dict[str, Any]:
    """Return consent only in the form that Segment enforces: an object of booleans by category."""
    if not isinstance(value, dict):
        return {}
    preferences = value.get("categoryPreferences", MISSING)
    if isinstance(preferences, dict):
        choices = list(preferences.values())
    elif isinstance(preferences, list):
        choices = preferences
    else:
        return {}
    return value if all(isinstance(choice, bool) for choice in choices) else {}


def _start(values: Fields, **names: str) -> Call:
    """Return a call with its ids, its timestamp and the fields in `names` (key of the call=field)."""
    call = {key: values[name] for name, key in _TOP if name in values}
    for key, name in names.items():
        if name in values:
            call[key] = values[name]
    if "message_id" in values:
        call["messageId"] = values["message_id"]
    return call


_TOP = (("user_id", "userId"), ("anonymous_id", "anonymousId"), ("timestamp", "timestamp"))


def _identify(values: Fields, context: dict[str, Any]) -> Call:
    call = _start(values)
    call["context"] = context
    traits = values.get("traits", {})
    call["traits"] = {**traits, "address": values["address"]} if "address" in values else traits
    call["type"] = "identify"
    return call


def _track(values: Fields, context: dict[str, Any]) -> Call:
    call = _start(values, event="event_name")
    call["context"] = {"traits": values.get("traits", {}), **context}
    call["properties"] = values.get("properties", {})
    call["type"] = "track"
    return call


def _group(values: Fields, context: dict[str, Any]) -> Call:
    call = _start(values, groupId="group_id")
    call["context"] = context
    call["traits"] = values.get("traits", {})
    call["type"] = "group"
    return call


def _page(values: Fields, context: dict[str, Any]) -> Call:
    call = _start(values, name="page_name")
    call["context"] = context
    page: Mapping[str, Any] = values.get("page", {})
    properties = {key: values[name] for name, key in _PAGE_NAMES if name in values}
    properties.update({key: page[key] for key in _PAGE_KEYS if key in page})
    call["properties"] = {**properties, **values.get("properties", {})}
    call["type"] = "page"
    return call


_PAGE_NAMES = (("page_name", "name"), ("page_category", "category"))
_PAGE_KEYS = ("path", "referrer", "search", "title", "url")


def _screen(values: Fields, context: dict[str, Any]) -> Call:
    call = _start(values, name="screen_name")
    call["context"] = context
    name = {"name": values["screen_name"]} if "screen_name" in values else {}
    call["properties"] = {**name, **values.get("properties", {})}
    call["type"] = "screen"
    return call


BUILDERS: dict[str, Callable[[Fields, dict[str, Any]], Call]] = {
    "identify": _identify,
    "track": _track,
    "group": _group,
    "page": _page,
    "screen": _screen,
}
