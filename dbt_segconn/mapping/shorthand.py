"""The `$` shorthand of model YAML → Segment's mapping language.

`$column` is the column's value, `${column}` inside a text makes it a template, `$$` is a dollar and
`$*` the whole record. dbt renders `{{ }}` in meta away, and YAML wants "@path" quoted: this is why
there is a shorthand. Nothing inside a directive is touched, and neither is `$5` or `$.name`.
"""

from __future__ import annotations

import re
from typing import Any

from dbt_segconn.errors import MappingError
from dbt_segconn.mapping.path import steps
from dbt_segconn.mapping.problems import Path, Problem

_COLUMN = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_MARK = re.compile(r"\$\$|\$\{([^}]*)\}|\$(?=[A-Za-z_{*])", re.ASCII)
RECORD = "$*"
SHORTHAND = (
    r"^(\$[A-Za-z_][A-Za-z0-9_]*|\$\*|"
    r"([^$]|\$\$|\$\{\s*[^}\s.'\"\[\]][^}.'\"\[\]]*\}|\$(?![A-Za-z_{*$]))*)$"
)
"""The same rules as a pattern that editors understand: JavaScript's and JSON Schema's."""


def expand(value: Any) -> Any:
    """Rewrite every text of a mapping that uses the shorthand.

    Raises MappingError where a `$` can be neither a column nor text, with the path of each.
    """
    problems: list[Problem] = []
    expanded = _expand(value, (), problems)
    if problems:
        raise MappingError(problems)
    return expanded


def _expand(value: Any, path: Path, problems: list[Problem]) -> Any:
    if isinstance(value, dict):
        if any(isinstance(key, str) and key.startswith("@") for key in value):
            return value
        return {key: _expand(one, (*path, str(key)), problems) for key, one in value.items()}
    if isinstance(value, list):
        return [_expand(one, (*path, str(at)), problems) for at, one in enumerate(value)]
    return _text(value, path, problems) if isinstance(value, str) else value


def _text(text: str, path: Path, problems: list[Problem]) -> Any:
    if text == RECORD:
        return {"@path": "$.properties"}
    if column := _COLUMN.fullmatch(text):
        return {"@path": f"$.properties.{column[1]}"}
    marks = list(_MARK.finditer(text))
    if not marks:
        return text
    for mark in marks:
        if reason := _objection(text, mark):
            problems.append(Problem(path, reason))
            return text
    if all(mark[0] == "$$" for mark in marks):
        return text.replace("$$", "$")
    return {"@template": _MARK.sub(lambda mark: "$" if mark[0] == "$$" else _placeholder(mark[1]), text)}


def _placeholder(column: str) -> str:
    return "{{" + _path_of(column) + "}}"


def _path_of(column: str) -> str:
    """Name a column in a path: quoted where it is no plain word, as Segment's paths take it."""
    word = column.strip()
    return f"properties.{word}" if re.fullmatch(r"\w+", word) else f"properties['{word}']"


def _objection(text: str, mark: re.Match[str]) -> str | None:
    if mark[0] == "$$":
        return None
    if mark[1] is None:
        if word := re.match(r"\$(\w+)", text[mark.start() :]):
            return f"has ${word[1]} inside a text: write ${{{word[1]}}}, or $$ for a dollar"
        return "has a $ that names no column: write ${column}, or $$ for a dollar"
    if not mark[1].strip():
        return "has ${} without a column"
    if steps(_path_of(mark[1])) != ("properties", mark[1].strip()):
        return f"has the column {mark[1].strip()!r}, whose name Segment's paths cannot hold. Rename it in the model"
    return None
