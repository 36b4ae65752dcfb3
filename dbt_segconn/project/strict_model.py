"""What all of users' YAML has in common: strict keys, plain words for what is wrong, near names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from dbt_segconn.project.findings import MISSING_KEY, UNKNOWN_KEY, WRONG_TYPE, WRONG_VALUE, Fault


class Strict(BaseModel):
    """What users write: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], value: Any) -> tuple[Model | None, list[Fault]]:
    """Validate what a user wrote: the model, or None and everything that is wrong."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, [_fault(model, one) for one in error.errors(include_url=False)]


_YAML_NAMES = {
    type(None): "empty",
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    dict: "a mapping",
    list: "a list",
}


# Pydantic's error types begin with what they want: string_type, bool_parsing, …
_WANTED = {
    "string": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "dict": "a mapping",
    "model": "a mapping",
    "list": "a list",
    "tuple": "a name, or a list of names",
}


def _fault(model: type[BaseModel], problem: Mapping[str, Any]) -> Fault:
    path = tuple(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        hint = f"{near_name(path[-1], known)} Known keys: {', '.join(known)}.".lstrip()
        return Fault(UNKNOWN_KEY, path, "unknown key", hint)
    if problem["type"] == "missing":
        return Fault(MISSING_KEY, path, "is missing")
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return Fault(WRONG_VALUE, path, reason)
    reason = reason[reason.find("should ") :]  # without "Input", "String", …
    subject, _, kind = problem["type"].partition("_")
    wanted = _WANTED.get(subject) if kind in {"type", "parsing"} else None
    given = _YAML_NAMES.get(type(problem["input"]), "something else")
    if wanted:
        return Fault(WRONG_TYPE, path, f"must be {wanted}, is {given}")
    return Fault(WRONG_VALUE, path, f"{reason}, is {given}")


def _keys_at(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    """List the keys that are known at a path; steps through lists and dicts stay at their model."""
    here = model
    for key in path:
        fields = {info.alias or name: info for name, info in here.model_fields.items()}
        if key in fields:
            here = _model_in(fields[key].annotation) or here
    return [info.alias or name for name, info in here.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def near_name(wrong: str, known: Iterable[str]) -> str:
    """Propose the nearest known name as a sentence with a space before it, or nothing."""
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(wrong.casefold(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""
