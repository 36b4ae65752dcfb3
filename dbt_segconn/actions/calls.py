"""Mapped fields → the Spec call that Segment's destination would send.

https://segment.com/docs/connections/spec/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dbt_segconn.actions.coerce import coercion
from dbt_segconn.actions.fields import Action, find_action
from dbt_segconn.errors import InvalidCall
from dbt_segconn.mapping import compile_mapping
from dbt_segconn.mapping.compiler import is_directive

Fields = dict[str, Any]
Call = dict[str, Any]

# The message of Segment's destination
NO_IDENTITY = "Either `Anonymous ID` or `User ID` must be defined."


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
