"""All directives in one table, `DIRECTIVES`: each with its check and its compiler.

A new directive is one new row. All but @hash are Segment's. `check` finds all problems of a mapping; `evaluator`
compiles a valid one. As in Segment's code, elements of arrays are not checked. An invalid directive there fails during
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dbt_segconn.errors import EvaluationError
from dbt_segconn.mapping import javascript as js
from dbt_segconn.mapping.hashing import RULES, hashed
from dbt_segconn.mapping.javascript import MISSING, PROTOTYPE
from dbt_segconn.mapping.path import compile_path, compile_template, relative
from dbt_segconn.mapping.problems import (
    Check,
    Path,
    Problem,
    actual_type,
    check_of,
    failure,
    has_fields,
    has_length,
    is_array,
    is_boolean,
    is_text,
    one_of,
    type_name_of,
)

Evaluate = Callable[[Any], Any]
Build = Callable[[Any], Evaluate]

# References that schema.py defines
VALUE, ANY, OBJECT, DIRECTIVE = ({"$ref": f"#/definitions/{name}"} for name in ("value", "any", "object", "directive"))

# Limit of @replace in UTF-16 units: https://github.com/segmentio/action-destinations
MAX_REPLACED = 10
METADATA = "_metadata"


@dataclass(frozen=True, slots=True)
class Directive:
    """A directive: `check` validates its value, `build` compiles it.

    If a `required` option is missing or falsy, the directive fails on every record. `keys` are the options that the
    message names if the value is not an object.
    """

    check: Check
    build: Build
    required: tuple[str, ...] = ()
    keys: str = ""

    def compile(self, name: str, value: Any) -> Evaluate:
        """Compile the value of the directive with this name."""
        if not self.required:
            return self.build(value)
        if not isinstance(value, dict):
            return failure(f"{name} requires an object with {self.keys}")
        missing = [option for option in self.required if not js.is_truthy(value.get(option))]
        return failure(f'{name} requires a "{missing[0]}" key') if missing else self.build(value)


# --- Any node of a mapping -----------------------------------------------------------------------


@check_of(VALUE)
def check(value: Any, path: Path) -> list[Problem]:
    """Return every problem of a mapping, or of a value in it."""
    type_name = type_name_of(value)
    if type_name == "directive":
        return check_directive(value, path)
    return check_object(value, path) if type_name == "object" else []


@check_of(OBJECT)
def check_object(value: Any, path: Path) -> list[Problem]:
    """Check an object without @-keys, and its values."""
    if type_name_of(value) != "object":
        return [Problem(path, f"should be an object but {actual_type(value)}")]
    return [problem for key, one in value.items() for problem in check(one, (*path, key))]


@check_of(DIRECTIVE)
def check_directive(value: dict[str, Any], path: Path) -> list[Problem]:
    """Check an object with an @-key."""
    names = [key for key in value if key.startswith("@")]
    others = [key for key in value if not key.startswith("@") and key != METADATA]
    if len(names) > 1 or others:
        count = len(names) if len(names) > 1 else len(value)
        return [Problem(path, f"should only have one @-prefixed key but it has {count} keys")]
    name = names[0]
    if name not in DIRECTIVES:
        return [Problem(path, f"has an invalid directive: {name}")]
    return DIRECTIVES[name].check(value[name], (*path, name))


def evaluator(value: Any) -> Evaluate:
    """Compile a mapping, or a value in it."""
    if isinstance(value, dict):
        name = directive_name(value)
        if name is None:
            fields = [(key, evaluator(one)) for key, one in value.items() if key != PROTOTYPE]
            return lambda payload: {key: evaluate(payload) for key, evaluate in fields}
        if name not in DIRECTIVES:
            return failure(f"{name} is not a valid directive, got undefined")
        return DIRECTIVES[name].compile(name, value[name])
    if isinstance(value, list):
        items = [evaluator(one) for one in value]
        return lambda payload: [item(payload) for item in items]
    return lambda _: value


def directive_name(value: dict[str, Any]) -> str | None:
    """Return the directive of an object. With other keys beside it, Segment's code evaluates a plain object."""
    names = [key for key in value if key != METADATA]
    return names[0] if len(names) == 1 and names[0].startswith("@") else None


# --- Shared checks and compilers -----------------------------------------------------------------


@check_of(ANY)
def _any_value(value: Any, path: Path) -> list[Problem]:
    if value is MISSING:
        return [Problem(path, f"should be a mapping directive or a JSON value but {actual_type(value)}")]
    return check_directive(value, path) if type_name_of(value) == "directive" else []


def _directive_or(type_name: str, words: str, schema: dict[str, Any]) -> Check:
    """Return a check for a directive or a value of this type."""

    @check_of(schema)
    def find(value: Any, path: Path) -> list[Problem]:
        if type_name_of(value) in {"directive", type_name}:
            return check(value, path)
        return [Problem(path, f"should be {words} or a mapping directive but {actual_type(value)}")]

    return find


_text_or_directive = _directive_or(
    "string", "a string", {"if": {"type": "object"}, "then": DIRECTIVE, "else": {"type": "string"}}
)
# "a object" is Segment's text
_object_or_directive = _directive_or("object", "a object", {"allOf": [{"type": "object"}, VALUE]})


def _fields(*required: str, **checks: Check) -> Check:
    return has_fields(required, checks, check_object)


def _evaluator_of(options: dict[str, Any], name: str) -> Evaluate:
    """Compile an option. As in Segment's code, a falsy literal such as 0 or '' counts as missing."""
    return evaluator(options[name] if js.is_truthy(options.get(name)) else MISSING)


def _of_text(name: str, compile_text: Callable[[str], Evaluate]) -> Build:
    """Compile a directive on a text or on a directive that returns one."""

    def build(value: Any) -> Evaluate:
        if isinstance(value, str):
            return compile_text(value)
        text_of = evaluator(value)

        def evaluate(payload: Any) -> Any:
            text = text_of(payload)
            if not isinstance(text, str):
                raise EvaluationError(f"{name}: expected string, got {js.type_of(text)}")
            return compile_text(text)(payload)

        return evaluate

    return build


# --- The directives ------------------------------------------------------------------------------


def _path(path: str) -> Evaluate:
    return compile_path(relative(path))


def _if(options: Any) -> Evaluate:
    if not isinstance(options, dict):
        return failure('@if requires an object with an "exists" key')
    exists, blank = options.get("exists", MISSING), options.get("blank", MISSING)
    if not js.is_truthy(exists) and not js.is_truthy(blank):
        return failure('@if requires an "exists" key or a "blank" key')
    subject = evaluator(blank if exists is MISSING else exists)
    then = evaluator(options.get("then", MISSING))
    otherwise = _evaluator_of(options, "else")
    rejects_empty_text = exists is MISSING

    def evaluate(payload: Any) -> Any:
        value = subject(payload)
        holds = value is not None and value is not MISSING
        # `blank` compares by ==, so that 0, false and [] are blank too
        holds = holds and not (rejects_empty_text and js.equals_empty_text(value))
        return then(payload) if holds else otherwise(payload)

    return evaluate


# Like JavaScript, Python uses Unicode's full mapping: ß becomes SS
_CASES = {"lower": str.lower, "upper": str.upper}


def _case(options: dict[str, Any]) -> Evaluate:
    value_of = _evaluator_of(options, "value")
    change = _CASES.get(str(options["operator"]))

    def evaluate(payload: Any) -> Any:
        value = value_of(payload)
        if not isinstance(value, str):
            return value
        if change is None:
            raise EvaluationError('operator key should have a value of "lower" or "upper"')
        return change(value)

    return evaluate


def _replace(options: dict[str, Any]) -> Evaluate:
    present = {name: value for name, value in options.items() if value is not None and value is not MISSING}
    every, ignore_case = present.get("global", True), present.get("ignorecase", False)
    pairs = [(present["pattern"], present.get("replacement", ""))]
    if js.is_truthy(present.get("pattern2")):
        pairs.append((present["pattern2"], present.get("replacement2", "")))
    if not js.is_truthy(options.get("value")):
        return evaluator(MISSING)
    value_of = evaluator(options["value"])
    flags_are_valid = isinstance(every, bool) and isinstance(ignore_case, bool)
    is_valid = flags_are_valid and all(isinstance(one, str) for one in pairs[0])

    def evaluate(payload: Any) -> Any:
        value = value_of(payload)
        if isinstance(value, (bool, int, float)):
            value = js.to_text(value)
        if not isinstance(value, str) or not is_valid:  # Segment's code returns an empty text
            return ""
        for pattern, replacement in pairs:
            if isinstance(pattern, str) and isinstance(replacement, str):
                _check_lengths(pattern, replacement)
                value = js.replace(value, pattern, replacement, every=every, ignore_case=ignore_case)
        return value

    return evaluate


_replace_fields = _fields(
    "pattern",
    "value",
    pattern=has_length(1, MAX_REPLACED),
    replacement=has_length(0, MAX_REPLACED),
    value=_text_or_directive,
    ignorecase=is_boolean,
    **{"global": is_boolean},
)


def _check_lengths(pattern: str, replacement: str) -> None:
    for name, text in (("pattern", pattern), ("replacement", replacement)):
        if js.utf16_length(text) > MAX_REPLACED:
            raise EvaluationError(f'@replace requires a "{name}" less than {MAX_REPLACED} characters')


@check_of({"type": "array", "minItems": 1, "items": [_text_or_directive.schema, VALUE], "additionalItems": True})
def _array_path_check(value: Any, path: Path) -> list[Problem]:
    if problems := is_array(value, path):
        return problems
    first, second = (*value, MISSING, MISSING)[:2]
    return _text_or_directive(first, path) or check(second, path)


def _array_path(value: Any) -> Evaluate:
    if not isinstance(value, list):
        return failure(f"@arrayPath expected array, got {js.type_of(value)}")
    path, shape = (*value, MISSING, MISSING)[:2]
    root_of = _path(path) if isinstance(path, str) else evaluator(path)
    if not isinstance(shape, dict) or not shape:
        return root_of
    item_of = evaluator(shape)

    def evaluate(payload: Any) -> Any:
        root = root_of(payload)
        if isinstance(root, list):
            return [item_of(item) for item in root]
        # a single object counts as an array of one
        return [item_of(root)] if isinstance(root, dict) else root

    return evaluate


def _flatten(options: dict[str, Any]) -> Evaluate:
    separator_of = evaluator(options["separator"])
    value_of = evaluator(options.get("value", MISSING))
    omit_arrays = js.is_truthy(options.get("omitArrays"))

    def evaluate(payload: Any) -> Any:
        separator = separator_of(payload)
        if not isinstance(separator, str):
            raise EvaluationError("@flatten requires a string separator")
        return dict(_leaves(value_of(payload), "", separator, omit_arrays=omit_arrays))

    return evaluate


def _leaves(value: Any, prefix: str, separator: str, *, omit_arrays: bool) -> Iterator[tuple[str, Any]]:
    """Yield each nested value with its joined key. Empty objects and arrays yield nothing."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list) and not omit_arrays:
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        yield prefix, value
        return
    for key, item in items:
        path = f"{prefix}{separator}{key}" if prefix else key
        yield from _leaves(item, path, separator, omit_arrays=omit_arrays)


def _json(options: dict[str, Any]) -> Evaluate:
    value_of = evaluator(options["value"])
    # The check accepts a mode in any case, but Segment's code then returns undefined for ENCODE
    convert: Callable[[Any], Any] = _JSON_MODES.get(str(options["mode"]), lambda _: MISSING)
    return lambda payload: convert(value_of(payload))


def _decoded(value: Any) -> Any:
    """Return the parsed JSON; a value that is not JSON stays as it is."""
    try:
        return js.parse(value) if isinstance(value, str) else value
    except ValueError:
        return value


_JSON_MODES: dict[str, Callable[[Any], Any]] = {"encode": js.stringify, "decode": _decoded}


_merge_fields = _fields("objects", direction=one_of("left", "right"), objects=is_array)


@check_of({"allOf": [_merge_fields.schema, {"properties": {"objects": {"items": _object_or_directive.schema}}}]})
def _merge_check(value: Any, path: Path) -> list[Problem]:
    if problems := _merge_fields(value, path):
        return problems
    # Segment's code checks these without their path, and returns only the problems of the first invalid one
    return next(filter(None, (_object_or_directive(one, ()) for one in value["objects"])), [])


def _merge(options: dict[str, Any]) -> Evaluate:
    direction_of = evaluator(options["direction"])
    objects = options["objects"]
    if not isinstance(objects, list):
        return failure(f"@merge: expected opts.array, got {js.type_of(objects)}")
    items = [evaluator(one) for one in objects]

    def evaluate(payload: Any) -> Any:
        values = [item(payload) for item in items]
        return js.assign(values[::-1] if direction_of(payload) == "left" else values)

    return evaluate


def _transform(options: dict[str, Any]) -> Evaluate:
    if not isinstance(options["apply"], dict):
        return failure('@transform "apply" key should be an object')
    if problems := check(options["apply"], ()):  # elements of an array are not checked before
        return failure(" ".join(problems))
    apply, mapping = evaluator(options["apply"]), evaluator(options["mapping"])

    def evaluate(payload: Any) -> Any:
        if type(payload) is not dict:
            raise EvaluationError(f"data must be an object, got {js.type_of(payload)}")
        return mapping(js.cleaned(apply(payload)))

    return evaluate


def _exclude_when_null(value: Any) -> Evaluate:
    value_of = evaluator(value)
    return lambda payload: _without_nulls(value_of(payload))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return MISSING if value is None else value


def _liquid(template: Any) -> Evaluate:
    # python-liquid takes more than half a second to import, and few mappings use it
    from dbt_segconn.mapping.liquid import compile_liquid

    return compile_liquid(template)


def _hash(options: dict[str, Any]) -> Evaluate:
    value_of = _evaluator_of(options, "value")
    normalise = RULES.get(str(options["as"]).lower())
    if normalise is None:  # elements of an array are not checked before
        return failure(f'@hash requires an "as" key of {", ".join(RULES)}')
    return lambda payload: hashed(value_of(payload), normalise)


DIRECTIVES: dict[str, Directive] = {
    "@path": Directive(_text_or_directive, _of_text("@path", _path)),
    "@template": Directive(_text_or_directive, _of_text("@template", compile_template)),
    "@literal": Directive(_any_value, evaluator),
    "@arrayPath": Directive(_array_path_check, _array_path),
    "@if": Directive(_fields(**dict.fromkeys(("exists", "blank", "then", "else"), _any_value)), _if),
    "@case": Directive(_fields(operator=is_text, value=_text_or_directive), _case, ("operator",), 'a "operator" key'),
    "@replace": Directive(_replace_fields, _replace, ("pattern",), 'a "pattern" key'),
    "@flatten": Directive(
        _fields("value", separator=is_text, value=_any_value), _flatten, ("separator",), 'a "separator" key'
    ),
    "@json": Directive(
        _fields("value", "mode", value=_any_value, mode=one_of("encode", "decode")),
        _json,
        ("mode", "value"),
        'a "value" key',
    ),
    "@merge": Directive(_merge_check, _merge, ("direction", "objects"), 'an "objects" key and a "direction" key'),
    "@transform": Directive(
        _fields("apply", "mapping", apply=_object_or_directive, mapping=_object_or_directive),
        _transform,
        ("mapping", "apply"),
        'an "apply" key and a "mapping" key',
    ),
    "@excludeWhenNull": Directive(_any_value, _exclude_when_null),
    "@liquid": Directive(is_text, _liquid),
    "@hash": Directive(
        _fields("as", "value", value=_text_or_directive, **{"as": one_of(*RULES)}),
        _hash,
        ("as", "value"),
        'an "as" key and a "value" key',
    ),
}
"""name → directive. The messages and their order are Segment's."""
