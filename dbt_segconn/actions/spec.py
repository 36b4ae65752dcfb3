"""The names that Segment's Spec reserves among traits and properties, with their types, as data.

https://segment.com/docs/connections/spec/identify/#traits, …/group/#traits, …/track/#properties,
…/page/#properties, …/screen/#properties
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SpecType = Literal["text", "number", "boolean", "date", "object", "list"]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reserved name. `taken` are the types of values that serve; the first is the Spec's own."""

    name: str
    taken: tuple[SpecType, ...]
    description: str


_TEXT: tuple[SpecType, ...] = ("text",)
_DATE: tuple[SpecType, ...] = ("date", "text")  # an ISO-8601 text is how a date travels
_COMMON = (
    Reserved("address", ("object",), "Street address: city, country, postalCode, state, street."),
    Reserved("avatar", _TEXT, "URL of a picture."),
    Reserved("createdAt", _DATE, "When the account was created."),
    Reserved("description", _TEXT, "Description, such as a short biography."),
    Reserved("email", _TEXT, "Email address."),
    Reserved("id", ("text", "number"), "Id in your database."),
    Reserved("name", _TEXT, "Full name."),
    Reserved("phone", _TEXT, "Phone number."),
    Reserved("website", _TEXT, "URL of a website."),
)
_PAGE = tuple(Reserved(name, _TEXT, f"The page's {name}.") for name in ("path", "referrer", "search", "title", "url"))

RESERVED: dict[tuple[str, str], tuple[Reserved, ...]] = {
    ("identify", "traits"): (
        *_COMMON,
        Reserved("age", ("number",), "Age in years."),
        Reserved("birthday", _DATE, "Date of birth."),
        Reserved("company", ("object",), "Company: name, id, industry, employee_count, plan."),
        Reserved("firstName", _TEXT, "First name."),
        Reserved("gender", _TEXT, "Gender."),
        Reserved("lastName", _TEXT, "Last name."),
        Reserved("title", _TEXT, "Position in the company."),
        Reserved("username", _TEXT, "Name to sign in with."),
    ),
    ("group", "traits"): (
        *_COMMON,
        Reserved("employees", ("number", "text"), "Number of employees."),
        Reserved("industry", _TEXT, "Industry of the company."),
        Reserved("plan", _TEXT, "Plan that the group is on."),
    ),
    ("track", "properties"): (
        Reserved("revenue", ("number",), "Money earned by the event."),
        Reserved("currency", _TEXT, "Currency of the revenue, as ISO 4217: USD."),
        Reserved("value", ("number",), "Abstract worth of the event."),
    ),
    ("page", "properties"): (*_PAGE, Reserved("keywords", ("list",), "Keywords of the page.")),
}
"""(action, field) → its reserved names"""
