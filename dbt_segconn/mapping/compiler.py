"""Mappings: the `$` shorthand, the compiler, and the columns that a mapping reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from dbt_segconn.errors import EvaluationError, MappingError
from dbt_segconn.mapping.directives import check, directive_name, evaluator
from dbt_segconn.mapping.hashing import RULES
from dbt_segconn.mapping.javascript import MISSING, assign, cleaned, type_of
from dbt_segconn.mapping.path import column_at, paths, relative, steps
from dbt_segconn.mapping.problems import Path, Problem, type_name_of

_COLUMN = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
# A dollar before anything else is text, as in `$5`
_MARK = re.compile(r"\$\$|\$\{([^}]*)\}|\$(?=[A-Za-z_{*])", re.ASCII)
_HASH = re.compile(r"(\$[A-Za-z_][A-Za-z0-9_]*|\$\{[^}]*\}) *\| *hash\b *(.*)", re.ASCII)
# Any of these in a template would send the plain value, with this text after it
_HASH_IN_TEXT = re.compile(r"\|\s*hash\b", re.IGNORECASE)
_BRACED = r"\$\{\s*[^}\s.'\"\[\]][^}.'\"\[\]]*\}"
SHORTHAND = (
    rf"^((\$[A-Za-z_][A-Za-z0-9_]*|{_BRACED})( *\| *hash +({'|'.join(RULES)}))?|\$\*|"
    rf"(?!.*\$[A-Za-z_{{].*\|\s*[Hh][Aa][Ss][Hh]\b)([^$]|\$\$|{_BRACED}|\$(?![A-Za-z_{{*$]))*)$"
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
        # A directive is Segment's own language, in which a `$` is a part of paths and texts
        if any(isinstance(key, str) and key.startswith("@") for key in value):
            return value
        return {key: _expand(one, (*path, str(key)), problems) for key, one in value.items()}
    if isinstance(value, list):
        return [_expand(one, (*path, str(at)), problems) for at, one in enumerate(value)]
    return _text(value, path, problems) if isinstance(value, str) else value


def _text(text: str, path: Path, problems: list[Problem]) -> Any:
    if text == "$*":
        return {"@path": "$.properties"}
    if column := _COLUMN.fullmatch(text):
        return {"@path": f"$.properties.{column[1]}"}
    if found := _HASH.fullmatch(text):
        if found[2] not in RULES:
            problems.append(Problem(path, f"must end in a rule of {', '.join(RULES)}, not {found[2]!r}"))
        return {"@hash": {"as": found[2], "value": _text(found[1], path, problems)}}
    marks = list(_MARK.finditer(text))
    if _HASH_IN_TEXT.search(text) and any(mark[0] != "$$" for mark in marks):
        problems.append(Problem(path, "must hash only one column, as in `$email | hash google email`. Else use @hash"))
        return text
    for mark in marks:
        if reason := _problem(text, mark):
            problems.append(Problem(path, reason))
            return text
    if all(mark[0] == "$$" for mark in marks):
        return text.replace("$$", "$")
    return {"@template": _MARK.sub(_placeholder, text)}


def _placeholder(mark: re.Match[str]) -> str:
    return "$" if mark[0] == "$$" else "{{" + _path_of(mark[1]) + "}}"


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
    # Segment's paths have no escapes: a dot, quote or bracket in a name would start another key
    if steps(_path_of(mark[1])) != ("properties", mark[1].strip()):
        return f"has the column {mark[1].strip()!r}, whose name is not valid in Segment's paths. Rename it in the model"
    return None


# In exported mappings, the key of a directive that stands for the whole mapping
ROOT_DIRECTIVE = "__segment_internal_directive"


def is_directive(fields: Any) -> bool:
    """Return whether a mapping is anything but an object with fields: a directive, also at the root, or a value."""
    return not isinstance(fields, dict) or any(str(key).startswith("@") or key == ROOT_DIRECTIVE for key in fields)


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
    except RecursionError:  # the checks and the compiler recurse into nested values
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
    """Return problems for keys and values that YAML has and JSON does not: numbers as keys, dates."""
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
    """Return the mapping as an object, wrapped in its root directive if it has one.

    As in Segment's code, a list or a text becomes an object with its indexes as keys.
    """
    if not isinstance(mapping, dict):
        return assign([mapping])
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


ALL_COLUMNS: Final = None
"""Result of `columns_used` if a mapping reads the whole record, or a path that is itself a value of the record."""


def columns_used(mapping: Any) -> frozenset[str] | None:
    """Return the columns that a mapping reads, or ALL_COLUMNS.

    Checksums cover only these columns: no record is sent again because the model has a new, unrelated column.
    """
    return ALL_COLUMNS if ALL_COLUMNS in set(_columns(mapping)) else columns_named(mapping)


def columns_named(mapping: Any) -> frozenset[str]:
    """Return the columns that a mapping names, even if it also reads the whole record."""
    return frozenset(name for name in _columns(mapping) if name is not ALL_COLUMNS)


def _columns(value: Any) -> Iterator[str | None]:
    if isinstance(value, list):
        for one in value:
            yield from _columns(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _of_directive(key, one) if key.startswith("@") else _columns(one)


def _of_directive(name: str, value: Any) -> Iterator[str | None]:
    if name == "@arrayPath" and isinstance(value, list) and value:
        yield from _of_path(value[0])  # the shape of the items reads each item, not the record
    elif name == "@path":
        yield from _of_path(value)
    elif name in _PATHS and isinstance(value, str):
        for path in _PATHS[name](value):
            yield from _of_path(path)
    elif name in _PATHS:
        yield ALL_COLUMNS  # the text is a value of the record, and may name any column
    elif name == "@transform" and isinstance(value, dict):
        yield from _columns(value.get("apply"))  # its `mapping` reads the result of `apply`
    else:
        yield from _columns(value)


def _of_path(path: Any) -> Iterator[str | None]:
    if isinstance(path, dict):
        yield from _columns(path)
        if "@path" in path or "@template" in path or "@liquid" in path:
            yield ALL_COLUMNS  # the path is a value of the record, and may name any column
        return
    keys = steps(relative(path)) if isinstance(path, str) else ()
    if not keys or keys == ("properties",):
        yield ALL_COLUMNS
    elif keys[0] == "properties":
        yield keys[1]


def column_of(value: Any) -> str | None:
    """Return the column of a value that is one column, `{"@path": "$.properties.email"}`; None for any other value."""
    return column_at(keys_of(value))


def keys_of(value: Any) -> tuple[str, ...]:
    """Return the keys of a value that is one path; none for any other value, and for the path of the whole payload."""
    path = value.get("@path") if isinstance(value, dict) and len(value) == 1 else None
    return steps(relative(path)) if isinstance(path, str) else ()


def uses(mapping: Any) -> Iterator[tuple[Path, str]]:
    """Yield every column that a mapping names, with the path of the value that reads it."""
    yield from ((path, column) for path, column in reads(mapping) if column is not ALL_COLUMNS)


def reads(mapping: Any) -> Iterator[tuple[Path, str | None]]:
    """Yield every column that a mapping reads, or ALL_COLUMNS, with the path of the value that reads it."""
    for path, value in values(mapping):
        yield from ((path, column) for column in sorted(set(_columns(value)), key=str))


def values(mapping: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every directive and constant of a mapping with its path."""
    if type_name_of(mapping) == "object":
        for key, one in mapping.items():
            yield from values(one, (*path, key))
    elif isinstance(mapping, list):
        for at, one in enumerate(mapping):
            yield from values(one, (*path, str(at)))
    else:
        yield path, mapping


def without_hashes(mapping: Any) -> Any:
    """Return a mapping without the values that it hashes."""
    if isinstance(mapping, dict):
        is_hash = directive_name(mapping) == "@hash"
        return None if is_hash else {key: without_hashes(one) for key, one in mapping.items()}
    return [without_hashes(one) for one in mapping] if isinstance(mapping, list) else mapping


# Keys of the payload that have no data of the record
_SHARED = frozenset({"type", "event", "receivedAt"})


def is_constant(value: Any) -> bool:
    """Return whether a value never contains data of the record.

    A constant id is an error: all users would become one user, which Segment cannot undo. An @if is constant if both of
    its branches are constant, whatever its condition. @literal evaluates its content.
    """
    if isinstance(value, list):
        return all(map(is_constant, value))
    if not isinstance(value, dict):
        return True
    names = [key for key in value if key.startswith("@")]
    if not names:
        return all(map(is_constant, value.values()))
    return len(names) == 1 and _is_constant_directive(names[0], value[names[0]])


def _is_constant_directive(name: str, argument: Any) -> bool:
    if name in _PATHS:
        return isinstance(argument, str) and _reads_shared(name, argument)
    if name == "@arrayPath":
        return isinstance(argument, list) and bool(argument) and _is_constant_directive("@path", argument[0])
    if name in {"@literal", "@excludeWhenNull"}:
        return is_constant(argument)
    options = argument if isinstance(argument, dict) else {}
    if name == "@transform":  # `mapping` reads only what `apply` returns
        return is_constant(options.get("apply")) or is_constant(options.get("mapping"))
    values = {"@if": [options.get("then"), options.get("else")], "@merge": options.get("objects")}
    return is_constant(values.get(name, options.get("value")))


def _reads_shared(name: str, text: str) -> bool:
    """Return whether a path or template reads no data of the record."""
    if name == "@liquid" and "{{" not in text:
        return True  # without an output, it prints only its own text
    keys = [steps(path) for path in _PATHS[name](text)]
    return all(one and one[0] in _SHARED for one in keys)


def _liquid_paths(template: str) -> Iterable[str]:
    # python-liquid takes more than half a second to import, and few mappings use it
    from dbt_segconn.mapping.liquid import paths as paths_of

    return paths_of(template)


_PATHS: dict[str, Callable[[str], Iterable[str]]] = {
    "@path": lambda path: (relative(path),),
    "@template": paths,
    "@liquid": _liquid_paths,
}
"""directive → the paths that its text reads"""
