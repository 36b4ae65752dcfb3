"""The fields of the five actions, as data; coercion, messages, reference and schema derive from this table.

Names, labels and types are those of Segment's destination. This keeps exported mappings valid:
https://github.com/segmentio/action-destinations/tree/main/packages/destination-actions/src/destinations/segment
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.mapping.compiler import ROOT_DIRECTIVE, is_directive
from dbt_segconn.mapping.directives import DIRECTIVE, METADATA
from dbt_segconn.mapping.javascript import MISSING, to_number, to_text, type_of
from dbt_segconn.mapping.problems import with_article
from dbt_segconn.mapping.schema import AT_KEY, FIELD

Type = Literal["string", "number", "boolean", "object"]
Coerce = Callable[[Any, list[str]], Any]
# Settings of Segment's user interface in exported mappings; they do not change the call
_OF_SEGMENT = frozenset({ROOT_DIRECTIVE, METADATA, "enable_batching", "batch_size", "engage_space"})
# Every action requires one of these
IDENTITY = ("user_id", "anonymous_id")


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a mapping can fill. An object has fixed `properties`; with none, it accepts any key.

    `context` is the field's key in the call's context.
    """

    name: str
    label: str
    description: str
    type: Type = "string"
    required: bool = False
    properties: tuple[Field, ...] = ()
    context: str | None = None

    def with_properties(self, *properties: Field) -> Field:
        """Return the field as an object with fixed properties."""
        return replace(self, type="object", properties=properties)


@dataclass(frozen=True, slots=True)
class Action:
    """An action: its call type as `name`, and its fields."""

    name: str
    description: str
    fields: tuple[Field, ...]


_IDS = (
    Field("user_id", "User ID", "Id of the user in your database. Either this or anonymous_id is required."),
    Field("anonymous_id", "Anonymous ID", "Id of a user without a user_id. Either this or user_id is required."),
    Field("timestamp", "Timestamp", "Time of the event, in ISO-8601 with a time zone. Default: the time of arrival."),
)
_TRAITS = Field("traits", "Traits", "Traits of the user or group; any keys.", "object")
_PROPERTIES = Field("properties", "Properties", "Properties of the event, page or screen; any keys.", "object")
_TIMEZONE = Field("timezone", "Timezone", "Time zone of the user, such as Europe/Rome.", context="timezone")
_GROUP_ID = Field("group_id", "Group ID", "Id of the group or account that the user belongs to.", context="groupId")
# Ordered as Segment's destination writes the context, with consent between campaign and device
_CONTEXT = (
    Field("application", "Application", "App that the user used.", context="app").with_properties(
        Field("name", "Name", "Name of the app."),
        Field("version", "Version", "Version of the app."),
        Field("build", "Build", "Build of the app."),
        Field("namespace", "Namespace", "Namespace of the app."),
    ),
    Field(
        "campaign_parameters",
        "Campaign Parameters",
        "Campaign that led to the call: the UTM parameters.",
        context="campaign",
    ).with_properties(
        Field("name", "Name", "Name of the campaign."),
        Field("source", "Source", "Source of the campaign."),
        Field("medium", "Medium", "Medium of the campaign."),
        Field("term", "Term", "Term of the campaign."),
        Field("content", "Content", "Content of the campaign."),
    ),
    Field("device", "Device", "Device of the user.", context="device").with_properties(
        Field("id", "ID", "Id of the device."),
        Field("advertising_id", "Advertising ID", "Advertising id of the device."),
        Field("adTracking_Enabled", "Ad Tracking Enabled", "Whether ads may be tracked.", "boolean"),
        Field("manufacturer", "Manufacturer", "Manufacturer of the device."),
        Field("model", "Model", "Model of the device."),
        Field("name", "Name", "Name of the device."),
        Field("type", "Type", "Type of the device, such as ios."),
        Field("token", "Token", "Push token of the device."),
    ),
    Field("ip_address", "IP Address", "IP address of the user.", context="ip"),
    Field("locale", "Locale", "Locale of the user, such as en-US.", context="locale"),
    Field("location", "Location", "Location of the user.", context="location").with_properties(
        Field("city", "City", "City."),
        Field("country", "Country", "Country."),
        Field("latitude", "Latitude", "Latitude in degrees; north is positive.", "number"),
        Field("longitude", "Longitude", "Longitude in degrees; east is positive.", "number"),
        Field("speed", "Speed", "Speed.", "number"),
    ),
    Field("network", "Network", "Network of the device.", context="network").with_properties(
        Field("bluetooth", "Bluetooth", "Whether Bluetooth is on.", "boolean"),
        Field("carrier", "Carrier", "Name of the carrier."),
        Field("cellular", "Cellular", "Whether cellular data is on.", "boolean"),
        Field("wifi", "WiFi", "Whether WiFi is on.", "boolean"),
    ),
    Field("operating_system", "Operating System", "Operating system of the device.", context="os").with_properties(
        Field("name", "Name", "Name of the operating system."),
        Field("version", "Version", "Version of the operating system."),
    ),
    Field("page", "Page", "Page in the browser.", context="page").with_properties(
        Field("path", "Path", "Path of the page."),
        Field("referrer", "Referrer", "URL of the previous page."),
        Field("search", "Search", "Query string of the page."),
        Field("title", "Title", "Title of the page."),
        Field("url", "URL", "URL of the page."),
    ),
    Field("screen", "Screen", "Screen of the device.", context="screen").with_properties(
        Field("density", "Density", "Pixel density.", "number"),
        Field("height", "Height", "Height in pixels.", "number"),
        Field("width", "Width", "Width in pixels.", "number"),
    ),
    Field("user_agent", "User Agent", "User agent of the device.", context="userAgent"),
    _TIMEZONE,
    _GROUP_ID,
)
_ADDRESS = Field("address", "Address", "Address of the user; replaces traits.address.").with_properties(
    Field("city", "City", "City."),
    Field("country", "Country", "Country."),
    Field("postalCode", "Postal Code", "Postal code."),
    Field("state", "State", "State or region."),
    Field("street", "Street", "Street and number."),
)
_ENDING = (
    Field("message_id", "Message ID", "Replaces dbt-segconn's messageId. Calls may then arrive twice."),
    Field("consent", "Consent", "Consent preferences: {categoryPreferences: {<category id>: true}}.", "object"),
)

_EVENT_NAME = Field("event_name", "Event Name", "Name of the event, such as Order Completed.", required=True)
_PAGE_NAME = Field("page_name", "Page Name", "Name of the page that was viewed.")
_PAGE_CATEGORY = Field("page_category", "Page Category", "Category of the page that was viewed.")
_SCREEN_NAME = Field("screen_name", "Screen Name", "Name of the screen that was viewed.")
# group_id of a group call is a key of the call, not of its context. A screen call has no time zone.
_GROUP_KEY = Field("group_id", "Group ID", "Id of the group or account.", required=True)
_SCREEN_TIMEZONE = Field("timezone", "Timezone", "Accepted but not sent: screen calls have no time zone.")
_SCREEN_CONTEXT = tuple(_SCREEN_TIMEZONE if field is _TIMEZONE else field for field in _CONTEXT)

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("identify", "Connects a user with traits.", (*_IDS, *_CONTEXT, _TRAITS, _ADDRESS, *_ENDING)),
        Action("track", "Records an event of a user.", (*_IDS, _EVENT_NAME, *_CONTEXT, _PROPERTIES, _TRAITS, *_ENDING)),
        Action(
            "group",
            "Connects a user with a group, such as a company.",
            (*_IDS, _GROUP_KEY, *(field for field in _CONTEXT if field is not _GROUP_ID), _TRAITS, *_ENDING),
        ),
        Action("page", "Records a page view.", (*_IDS, _PAGE_NAME, _PAGE_CATEGORY, *_CONTEXT, _PROPERTIES, *_ENDING)),
        Action(
            "screen", "Records a screen view in an app.", (*_IDS, _SCREEN_NAME, *_SCREEN_CONTEXT, _PROPERTIES, *_ENDING)
        ),
    )
}
"""name → action"""


def find_action(name: str) -> Action:
    """Return an action by its name, `identify` or Segment's own `sendIdentify`.

    Raises ConfigurationError, with the nearest name, if no such action exists.
    """
    # mappings exported from Segment have its own names, such as sendIdentify
    short = name.removeprefix("send").lower() if name.startswith("send") else name
    if short in ACTIONS:
        return ACTIONS[short]
    near = difflib.get_close_matches(str(name).lower(), ACTIONS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigurationError(f"action: {name!r} is not an action.{hint} Actions: {', '.join(ACTIONS)}.")


# Types of reserved traits and properties:
# https://segment.com/docs/connections/spec/identify/#traits, and the pages of group, track and page
SpecType = Literal["text", "number", "boolean", "date", "object", "list"]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A trait or property that Segment's Spec reserves. Of the `accepted` types, the first is that of the Spec.

    `aliases` are common column names in words, with which `suggest` finds a column.
    """

    name: str
    accepted: tuple[SpecType, ...]
    description: str
    aliases: tuple[str, ...] = ()


_TEXT: tuple[SpecType, ...] = ("text",)
_DATE: tuple[SpecType, ...] = ("date", "text")  # a date is an ISO-8601 text in JSON
_COMMON = (
    Reserved("address", ("object",), "Street address: city, country, postalCode, state, street.", ("street address",)),
    Reserved("avatar", _TEXT, "URL of a picture.", ("avatar url", "picture", "photo url", "logo")),
    Reserved(
        "createdAt",
        _DATE,
        "Creation time of the account.",
        ("signed up at", "signup date", "registered at", "created date", "date created", "joined at"),
    ),
    Reserved("description", _TEXT, "Description, such as a short biography.", ("bio", "about")),
    Reserved("email", _TEXT, "Email address.", ("email address", "mail", "e mail")),
    Reserved("id", ("text", "number"), "Id of the user or group in your database."),
    Reserved(
        "name", _TEXT, "Name of the user or group.", ("full name", "display name", "customer name", "company name")
    ),
    Reserved("phone", _TEXT, "Phone number.", ("phone number", "mobile", "telephone")),
    Reserved("website", _TEXT, "URL of a website.", ("website url", "homepage", "domain")),
)
_PAGE = tuple(Reserved(name, _TEXT, f"The page's {name}.") for name in ("path", "referrer", "search", "title", "url"))

RESERVED: dict[tuple[str, str], tuple[Reserved, ...]] = {
    ("identify", "traits"): (
        *_COMMON,
        Reserved("age", ("number",), "Age in years."),
        Reserved("birthday", _DATE, "Date of birth.", ("date of birth", "birth date", "dob")),
        Reserved("company", ("object",), "Company: name, id, industry, employee_count, plan.", ("organization",)),
        Reserved("firstName", _TEXT, "First name.", ("given name", "forename")),
        Reserved("gender", _TEXT, "Gender.", ("sex",)),
        Reserved("lastName", _TEXT, "Last name.", ("surname", "family name")),
        Reserved("title", _TEXT, "Job title.", ("job title", "position")),
        Reserved("username", _TEXT, "Sign-in name.", ("user name", "login")),
    ),
    ("group", "traits"): (
        *_COMMON,
        Reserved(
            "employees",
            # the Spec's table says String, but its examples send the number 329
            ("number", "text"),
            "Number of employees.",
            ("employee count", "number of employees", "company size"),
        ),
        Reserved("industry", _TEXT, "Industry of the company.", ("sector",)),
        Reserved("plan", _TEXT, "Plan of the group.", ("plan name", "subscription plan", "tier")),
    ),
    ("track", "properties"): (
        Reserved(
            "revenue",
            ("number",),
            "Revenue of the event.",
            ("order total", "total", "amount", "total amount", "total price", "price"),
        ),
        Reserved("currency", _TEXT, "Currency of the revenue, as ISO 4217: USD.", ("currency code",)),
        Reserved("value", ("number",), "Value of the event, not necessarily money."),
    ),
    ("page", "properties"): (*_PAGE, Reserved("keywords", ("list",), "Keywords of the page.", ("tags",))),
}
"""(action, field) → its reserved names"""


def coercion(field: Field) -> Coerce:
    """Compile a field's coercion: the function returns the coerced value, or appends to `problems`.

    Segment's destination validates with Ajv: https://ajv.js.org/coercion.html
    """
    if field.type == "object":
        return _fixed_object(field) if field.properties else _any_object(field)
    convert = _CONVERTERS[field.type]

    def coerce(value: Any, problems: list[str]) -> Any:
        single = value[0] if type(value) is list and len(value) == 1 else value  # by Ajv's option coerceTypes: "array"
        converted = convert(single)
        if converted is MISSING:
            problems.append(_mismatch(field, single))
        return converted

    if field.type == "string":  # a text stays as it is, by far the most frequent case
        return lambda value, problems: value if type(value) is str else coerce(value, problems)
    return coerce


def _mismatch(field: Field, value: Any) -> str:
    return f"{field.label} must be {with_article(field.type)} but it was {with_article(type_of(value))}."


def _any_object(field: Field) -> Coerce:
    def coerce(value: Any, problems: list[str]) -> Any:
        if type(value) is not dict:
            problems.append(_mismatch(field, value))
        return value

    return coerce


def _fixed_object(field: Field) -> Coerce:
    """Compile the coercion of an object with fixed properties; it drops nulls and unknown keys."""
    coercions: Mapping[str, tuple[Coerce, bool]] = {
        one.name: (coercion(one), one.type != "string") for one in field.properties
    }

    def coerce(value: Any, problems: list[str]) -> Any:
        if type(value) is not dict:
            problems.append(_mismatch(field, value))
            return value
        wrong: dict[str, list[str]] = {}
        kept = {}
        for name, one in value.items():
            known = coercions.get(name)
            # as in Segment's destination, '' stays for a text and is removed for a number or boolean
            if known is not None and one is not None and not (one == "" and known[1]):
                kept[name] = known[0](one, wrong.setdefault(name, []))
        # Ajv reports problems in the order of the schema, not of the record
        problems.extend(text for name in coercions for text in wrong.get(name, ()))
        return kept

    return coerce


def _to_string(value: Any) -> Any:
    if isinstance(value, (str, bool, int, float)):
        return to_text(value)
    return "" if value is None else MISSING


def _to_number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and value:  # Number("") is 0, but Ajv accepts no empty text
        number = to_number(value)
        return MISSING if number is None else number
    return 0 if value is None else MISSING


def _to_boolean(value: Any) -> Any:
    if value is None:
        return False
    return _BOOLEANS.get(value, MISSING) if isinstance(value, (str, int, float)) else MISSING


# Ajv accepts no other values: neither "yes" nor 2. In Python, 1, 1.0 and True are one key
_BOOLEANS: dict[str | float, bool] = {"true": True, "false": False, 1: True, 0: False}


# Ajv converts null to '', 0 or false. Only a null in a list of one item arrives here: other nulls are removed before
_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _to_string,
    "number": _to_number,
    "boolean": _to_boolean,
}


def unknown_fields(action: str, fields: Any) -> tuple[tuple[tuple[str, ...], str | None], ...]:
    """Return the mapped fields that the action does not have: path, and nearest name or None.

    Segment's destination drops such fields silently, so that a typo would lose a value.
    """
    return tuple(_unknown(fields, find_action(action).fields, ()))


def missing_fields(action: str, fields: Any) -> tuple[str, ...]:
    """Return the required fields that are not mapped; of the two ids, one is enough: `user_id or anonymous_id`."""
    if is_directive(fields):
        return ()  # its fields depend on the record
    required = [field.name for field in find_action(action).fields if field.required]
    missing = [name for name in required if not _is_mapped(fields, name)]
    if not any(_is_mapped(fields, name) for name in IDENTITY):
        missing.append(" or ".join(IDENTITY))
    return tuple(missing)


def _is_mapped(fields: Mapping[str, Any], name: str) -> bool:
    return fields.get(name) not in (None, "")  # a tuple, because objects and arrays have no hash


def _unknown(
    fields: Any, known: Iterable[Field], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str | None]]:
    if not isinstance(fields, Mapping) or any(str(key).startswith("@") for key in fields):
        return
    by_name = {field.name: field for field in known}
    for key, value in fields.items():
        field = by_name.get(key)
        if field is None and key not in _OF_SEGMENT:
            near = difflib.get_close_matches(str(key), by_name, n=1)
            yield (*path, str(key)), near[0] if near else None
        elif field is not None and field.properties:
            yield from _unknown(value, field.properties, (*path, str(key)))


def fields_schema(action: str) -> dict[str, Any]:
    """Return the JSON Schema of an action's `fields`, for editors; it refers to `mapping.schema.definitions`."""
    definition = find_action(action)
    required = [{"required": [field.name]} for field in definition.fields if field.required]
    mapped = [{"properties": {name: {"not": {"enum": ["", None]}}}, "required": [name]} for name in IDENTITY]
    return {
        "if": {"anyOf": [AT_KEY, {"required": [ROOT_DIRECTIVE]}]},
        "then": {"if": AT_KEY, "then": DIRECTIVE},
        "else": {
            "type": "object",
            "description": definition.description,
            "properties": {
                **{field.name: _schema(field, required=field.required) for field in definition.fields},
                **dict.fromkeys(sorted(_OF_SEGMENT), True),
            },
            "allOf": [*required, {"anyOf": mapped}],
            "additionalProperties": False,
        },
    }


def _schema(field: Field, *, required: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"title": field.label, "description": field.description, "allOf": [FIELD]}
    if field.properties:
        properties = {one.name: _schema(one) for one in field.properties}
        keys = {**properties, **dict.fromkeys(sorted(_OF_SEGMENT), True)}
        schema |= {"if": AT_KEY, "else": {"properties": keys, "additionalProperties": False}}
    if required:
        schema["not"] = {"enum": ["", None]}
    return schema
