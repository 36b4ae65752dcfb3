"""Compile a mapping to a function from payload to value. Compiling also validates: both use one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbt_segconn.errors import EvaluationError, MappingError
from dbt_segconn.mapping.directives import check, evaluator
from dbt_segconn.mapping.javascript import MISSING, cleaned, type_of, utf16_units
from dbt_segconn.mapping.problems import Path, Problem

ROOT_DIRECTIVE = "__segment_internal_directive"


def compile_mapping(mapping: Any) -> Callable[[Any], Any]:
    """Compile a mapping in Segment's own language to a function from payload to value.

    Raises MappingError, with all `problems` in Segment's words. The function accepts a payload: an object, or MISSING
    for an empty one. It returns a JSON value, or MISSING for JavaScript's undefined. It raises EvaluationError if
    Segment's code throws an error for the record.
    """
    try:
        if problems := _not_json(mapping, ()):
            raise MappingError(problems)
        root = _root(mapping)
        if problems := check(root, ()):
            raise MappingError(problems)
        evaluate = evaluator(root)
    except RecursionError:
        raise MappingError("/ is nested too deeply.") from None

    def transform(payload: Any) -> Any:
        if type(payload) is not dict:
            if payload is not MISSING:
                raise EvaluationError(f"data must be an object, got {type_of(payload)}")
            payload = {}
        try:
            return cleaned(evaluate(payload))
        except RecursionError:
            raise EvaluationError("the record or its mapping is nested too deeply") from None

    return transform


def _not_json(value: Any, path: Path) -> list[Problem]:
    """Return problems for keys and values that JSON does not have, such as numbers as keys."""
    if isinstance(value, dict):
        keys = [
            Problem(path, f"should only have strings as keys but one is {key!r}")
            for key in value
            if type(key) is not str
        ]
        return keys + [problem for key, one in value.items() for problem in _not_json(one, (*path, str(key)))]
    if isinstance(value, list):
        return [problem for at, one in enumerate(value) for problem in _not_json(one, (*path, str(at)))]
    if value is None or value is MISSING or isinstance(value, (str, int, float)):
        return []
    return [Problem(path, f"should be a JSON value but it is a {type(value).__name__}")]


def _root(mapping: Any) -> dict[str, Any]:
    """Return the mapping as an object, wrapped in its root directive if it has one."""
    if isinstance(mapping, str):
        return {str(index): unit for index, unit in enumerate(utf16_units(mapping))}
    if isinstance(mapping, list):
        return {str(index): item for index, item in enumerate(mapping)}
    if not isinstance(mapping, dict):
        return {}
    if ROOT_DIRECTIVE not in mapping:
        return mapping
    root = mapping[ROOT_DIRECTIVE]
    if isinstance(root, (dict, list, str)) and len(root) > 1:
        raise MappingError("The root mapping must only have a single directive object")
    name, options = next(iter(root.items())) if isinstance(root, dict) and root else ("", None)
    if isinstance(options, list):
        return {name: options}
    if not isinstance(options, dict):
        raise MappingError("The root directive must be an object")
    others = {key: value for key, value in mapping.items() if key != ROOT_DIRECTIVE}
    return {name: {**options, "mapping": others}}
