"""The `$` shorthand of model YAML → Segment's mapping language.

`$column` is the value of a column, `${column}` is a column inside a text, `$$` is a dollar, `$*` is the whole record.
The shorthand exists because dbt renders `{{ }}` in meta, and YAML requires quotes around "@path". Directives, `$5` and
`$.name` stay unchanged.
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
"""The same rules as one pattern, valid in JavaScript and JSON Schema, for editors."""


def expand(value: Any) -> Any:
    """Rewrite every text of a mapping that uses the shorthand.

    Raises MappingError, with the path of each text, if a `$` is neither a column nor a dollar.
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
        if reason := _problem(text, mark):
            problems.append(Problem(path, reason))
            return text
    if all(mark[0] == "$$" for mark in marks):
        return text.replace("$$", "$")
    return {"@template": _MARK.sub(lambda mark: "$" if mark[0] == "$$" else _placeholder(mark[1]), text)}


def _placeholder(column: str) -> str:
    return "{{" + _path_of(column) + "}}"


def _path_of(column: str) -> str:
    """Return the path of a column; quote a name that is not a plain word."""
    word = column.strip()
    return f"properties.{word}" if re.fullmatch(r"\w+", word) else f"properties['{word}']"


def _problem(text: str, mark: re.Match[str]) -> str | None:
    if mark[0] == "$$":
        return None
    if mark[1] is None:
        if word := re.match(r"\$(\w+)", text[mark.start() :]):
            return f"has ${word[1]} inside a text: write ${{{word[1]}}}, or $$ for a dollar"
        return "has a $ that names no column: write ${column}, or $$ for a dollar"
    if not mark[1].strip():
        return "has ${} without a column"
    if steps(_path_of(mark[1])) != ("properties", mark[1].strip()):
        return f"has the column {mark[1].strip()!r}, whose name is not valid in Segment's paths. Rename it in the model"
    return None
