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
    """A reserved name. `accepted` are the accepted types; the first is the type in Segment's Spec.

    `aliases` are common column names, as words.
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
