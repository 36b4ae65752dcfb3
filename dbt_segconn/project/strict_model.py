"""Validation of values that users write: strict keys, plain messages, name suggestions, URLs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from dbt_segconn.project.findings import MISSING_KEY, UNKNOWN_KEY, WRONG_TYPE, WRONG_VALUE, Fault, KeyPath

# https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
ENDPOINTS = {"us-west-2": "https://api.segment.io", "eu-west-1": "https://events.eu1.segmentapis.com"}
_API_HOSTS = frozenset(urlsplit(url).hostname for url in ENDPOINTS.values())
# API methods that users may append to an endpoint; the client adds /v1/batch itself
_METHODS = "batch|import|identify|track|page|screen|group|alias"
# JSON Schema of check_http() and check_plain(), for editors
WEBHOOK_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^https?://([^/:\[\]]|\[[0-9a-fA-F:.]+\])"}
URL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^https?://([^/:\[\]\s@?#][^/\s@?#]*|\[[0-9a-fA-F:.]+\](:\d+)?)(/[^\s?#]*)?$",
}
DURATION_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^\d{1,6} ?([Ss]econd|[Mm]inute|[Hh]our|[Dd]ay|[Ww]eek)s?$",
}
_DURATION = re.compile(r"(\d{1,6}) ?(second|minute|hour|day|week)s?")
_YAML_NAMES = {
    type(None): "empty",
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    dict: "a mapping",
    list: "a list",
}
# Pydantic's error types start with the expected type: string_type, bool_parsing, …
_EXPECTED = {
    "string": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "dict": "a mapping",
    "model": "a mapping",
    "list": "a list",
    "tuple": "a list",
}


class Strict(BaseModel):
    """Base class of user-written configuration: immutable, and unknown keys are errors."""

    # Build a validator when it is first used: 20 ms less to import all models of this package
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true for a number: pydantic would read it as 1."""
        if isinstance(value, bool):
            types = _types_in(cls.model_fields[str(info.field_name)].annotation)
            if {int, float} & types and not {bool, timedelta} & types:
                raise PydanticCustomError("int_type" if int in types else "float_type", "a boolean is not a number")
        return value


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], value: Any) -> tuple[Model | None, list[Fault]]:
    """Validate a value. Return the model and no faults, or None and all faults."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, [_fault(model, one) for one in error.errors(include_url=False)]


def near_name(wrong: str, known: Iterable[str]) -> str:
    """Return " Did you mean …?" for the nearest known name, or an empty text."""
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(wrong.casefold(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""


def _fault(model: type[BaseModel], problem: Mapping[str, Any]) -> Fault:
    path = tuple(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        hint = f"{near_name(path[-1], known)} Known keys: {', '.join(known)}.".lstrip()
        return Fault(UNKNOWN_KEY, path, "unknown key", hint)
    if problem["type"] == "missing":
        return Fault(MISSING_KEY, path, "is missing")
    if problem["type"] == "value_error":  # from a validator of ours: what is wrong, then the fix
        reason, _, fix = str(problem["msg"]).removeprefix("Value error, ").partition(". ")
        return Fault(WRONG_VALUE, path, reason, f"{fix}." if fix and not fix.endswith("?") else fix)
    fault = _fault_of_value(path, problem)
    if problem["type"] == "model_type":  # one value instead of a block of keys
        return replace(fault, fix=f"Keys: {', '.join(_keys_at(model, path))}.")
    return fault


def _fault_of_value(path: KeyPath, problem: Mapping[str, Any]) -> Fault:
    """Convert a message of pydantic such as `Input should be greater than 0`."""
    subject, _, kind = problem["type"].partition("_")
    expected = _EXPECTED.get(subject) if kind in {"type", "parsing"} else None
    value = problem["input"]
    actual = _YAML_NAMES.get(type(value), "a value of another type")
    if expected:
        return Fault(WRONG_TYPE, path, f"must be {expected}, not {actual}")
    start, should, rule = str(problem["msg"]).partition("should ")
    reason = f"must {rule}".replace(" after validation", "") if should else start
    if isinstance(value, str) or ", not " in reason:  # a text may be a secret
        return Fault(WRONG_VALUE, path, reason)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Fault(WRONG_VALUE, path, f"{reason}, not {value if is_number else actual}")


def _keys_at(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    """Return the known keys at a path. Positions and names of entries do not change the model."""
    here = model
    for key in path:
        fields = {info.alias or name: info for name, info in here.model_fields.items()}
        if key in fields:
            here = _model_in(fields[key].annotation) or here
    return [info.alias or name for name, info in here.model_fields.items()]


def _types_in(annotation: Any) -> set[Any]:
    return {annotation}.union(*map(_types_in, get_args(annotation)))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def duration_in(text: Any) -> timedelta | None:
    """Return the duration that a text such as `2 days` names, or None."""
    found = _DURATION.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    return timedelta(**{f"{found[2]}s": int(found[1])}) if found else None


def check_http(url: str) -> str:
    """Return an HTTP URL unchanged. Raises ValueError if it is not a valid one."""
    if not url.startswith(("https://", "http://")):
        raise ValueError("must start with https://, or http:// for a debugger on this machine")
    try:
        is_valid = bool(urlsplit(url).hostname and urlsplit(url).port != 0)
    except ValueError:
        is_valid = False
    if not is_valid or re.search(r"[\s\x00-\x1f\\]", url):
        raise ValueError("is not a valid URL")
    return url


def check_plain(url: str) -> str:
    """Return a URL unchanged. Raises ValueError if it has credentials, a query or a fragment."""
    if "@" in urlsplit(check_http(url)).netloc:
        raise ValueError(
            "must not contain credentials (user:password@). Requests are authorised by the write key. Remove them"
        )
    if "?" in url:
        raise ValueError("must not contain a query (?…). Remove it")
    if "#" in url:
        raise ValueError("must not contain a fragment (#…). Remove it")
    return url


def check_endpoint(url: str) -> str:
    """Return a base URL unchanged. Raises ValueError if it ends in the path that the client adds."""
    parts = urlsplit(check_plain(url))
    path = re.sub(r"/+", "/", parts.path).rstrip("/")
    method = re.search(rf"/v1(/({_METHODS}))?$", path, re.IGNORECASE)
    surplus = path if parts.hostname in _API_HOSTS else ""  # a proxy may have a path of its own, Segment has none
    if added := method[0] if method else surplus:
        # the rest of a proxy's path may be a secret, so the message has only what to remove
        raise ValueError(f"must not end in {added}: the client adds /v1/batch. Write only what precedes {added}")
    return url
