"""@liquid: templates in python-liquid, configured as Segment configures liquidjs; comparisons as in JavaScript."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, Expression, Node, RenderContext
from liquid.builtin.expressions.logical import (
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LtExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank
from liquid.builtin.output import Output
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import LiquidError
from liquid.undefined import Undefined

from dbt_segconn.errors import EvaluationError
from dbt_segconn.mapping import javascript as js
from dbt_segconn.mapping.javascript import MISSING, joined, utf16_length
from dbt_segconn.mapping.liquid_filters import FILTERS, Filter, number_or_none, text
from dbt_segconn.mapping.problems import failure

Test = Callable[[Any, Any], bool]


def _compare(test: Test, left: Any, right: Any) -> bool:
    if isinstance(left, Undefined) or isinstance(right, Undefined):
        return False
    # Python compares texts by code points, which differ in order from UTF-16 above U+FFFF
    if isinstance(left, str) and isinstance(right, str):
        return test(js.utf16_units(left), js.utf16_units(right))
    numbers = number_or_none(left), number_or_none(right)
    return None not in numbers and test(*numbers)  # every comparison with NaN is false


def _equals_blank(left: Any, right: Any) -> bool | None:
    """Compare with `blank`: null, false and white space equal it. Return None for any other comparison."""
    if isinstance(left, Blank):
        left, right = right, left
    if not isinstance(right, Blank):
        return None
    if left is None or left is False or isinstance(left, Undefined):
        return True
    return not left.strip() if isinstance(left, str) else left in ([], {})


def _equality(base: Any, *, is_equal: bool) -> type[Expression]:
    class Equality(base):  # type: ignore[misc]
        __slots__ = ()  # else it has a __dict__, and no instance of `base` can get this class

        def evaluate(self, context: RenderContext) -> object:
            blank = _equals_blank(self.left.evaluate(context), self.right.evaluate(context))
            return super().evaluate(context) if blank is None else blank is is_equal

    return Equality


def _ordering(base: Any, test: Test) -> type[Expression]:
    class Ordering(base):  # type: ignore[misc]
        __slots__ = ()

        def evaluate(self, context: RenderContext) -> object:
            return _compare(test, self.left.evaluate(context), self.right.evaluate(context))

    return Ordering


# python-liquid's comparison → the one that replaces it
_OWN: dict[type[Expression], type[Expression]] = {
    EqExpression: _equality(EqExpression, is_equal=True),
    NeExpression: _equality(NeExpression, is_equal=False),
    LtExpression: _ordering(LtExpression, operator.lt),
    LeExpression: _ordering(LeExpression, operator.le),
    GtExpression: _ordering(GtExpression, operator.gt),
    GeExpression: _ordering(GeExpression, operator.ge),
}


def compare_like_javascript(template: BoundTemplate) -> None:
    """Replace every comparison of a parsed template by JavaScript's; python-liquid has no setting for it."""
    context = RenderContext(template)
    for node in template.nodes:
        _visit_node(node, context)


def _visit_node(node: Node, context: RenderContext) -> None:
    for expression in node.expressions():
        _visit(expression)
    for child in node.children(context):
        _visit_node(child, context)


def _visit(expression: Expression) -> None:
    if type(expression) in _OWN:
        expression.__class__ = _OWN[type(expression)]
    for child in expression.children():
        _visit(child)


# https://github.com/segmentio/action-destinations, packages/core/src/mapping-kit/liquid-directive.ts
MAX_CHARACTERS = 1_000
# Segment disables the first six. The others have no use without loops, or do not exist in liquidjs
DISABLED_TAGS = ("case", "for", "include", "layout", "render", "tablerow", "break", "continue", "ifchanged", "doc")
DISABLED_FILTERS = (
    *("array_to_sentence_string", "concat", "find", "find_exp", "find_index", "find_index_exp", "group_by"),
    *("group_by_exp", "has", "has_exp", "map", "newline_to_br", "reject", "reject_exp", "reverse", "sort"),
    *("sort_natural", "type", "uniq", "where_exp"),
)
# A short template can double a text until memory is full
MAX_PARTS = 1_000_000
# The only filters of liquidjs that raise an error if an argument is missing
_STRICT = frozenset({"append", "prepend"})


class _OutputNode(EchoNode):
    """`{{ value }}` and `{% echo value %}`, printed as in JavaScript."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(_limited(text(_plain(self.expression.evaluate(context)))))


class _Output(Output):
    node_class = _OutputNode


class _Echo(EchoTag):
    node_class = _OutputNode


def _limited(value: Any) -> Any:
    """Return the value. Raise EvaluationError for a text or list of more than MAX_PARTS characters or items."""
    if isinstance(value, (str, list)) and len(value) > MAX_PARTS:
        raise EvaluationError(f"@liquid: a text or list of more than {MAX_PARTS:,} parts")
    return value


def _plain(value: Any) -> Any:
    return MISSING if isinstance(value, Undefined) else value


def _on_plain_values(name: str, function: Filter) -> Filter:
    """Wrap a filter to be called as in JavaScript: extra arguments are ignored, missing ones are undefined."""
    accepted = [one for one in signature(function).parameters.values() if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    required = sum(one.default is Parameter.empty for one in accepted) - 1

    def apply(value: Any, *arguments: Any, **named: Any) -> Any:
        values = [_plain(one) for one in arguments[: len(accepted) - 1]]
        if len(values) < required and name in _STRICT:
            raise EvaluationError(f"{name} expect {required + 1} arguments")
        values += [math.nan] * (required - len(values))  # undefined as a number
        return _limited(function(_plain(value), *values, **named))

    return apply


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(strict_filters=False)  # liquidjs passes a value through an unknown filter
    environment.add_tag(_Output)
    environment.add_tag(_Echo)
    for tag in DISABLED_TAGS:
        environment.tags.pop(tag, None)
    environment.filters.clear()  # python-liquid's follow Ruby
    environment.filters.update({name: _on_plain_values(name, function) for name, function in FILTERS.items()})
    environment.filters.update({name: failure(f'filter "{name}" is disabled') for name in DISABLED_FILTERS})
    return environment


def compile_liquid(template: Any) -> Callable[[Any], str]:
    """Compile a template. As in Segment, a template with a syntax error fails on every record."""
    try:
        parsed = _parse(template)
    except EvaluationError as error:
        return failure(str(error))

    def render(payload: Any) -> str:
        try:
            return joined(parsed.render(**payload) if isinstance(payload, dict) else parsed.render())
        except EvaluationError:
            raise
        # python-liquid raises Python's errors for values that liquidjs accepts. Their texts may quote values
        except (LiquidError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise EvaluationError(f"@liquid: {type(error).__name__}") from None

    return render


_VALUE = r"\w[\w.\[\]-]*"
# An output or a condition: a value, then words that are not operators. liquidjs skips these words and python-liquid
# refuses them: `{{ col with space }}` is `{{ col }}`
_IDLE_WORDS = re.compile(
    rf"(\{{\{{-?\s*{_VALUE}|\{{%-?\s*(?:if|elsif|unless)\s+{_VALUE})\s+"
    r"(?!contains\b|and\b|or\b)[A-Za-z][\w ]*?(?=\s*(?:\||-?\}\}|-?%\}))"
)


def _parse(template: Any) -> BoundTemplate:
    if not isinstance(template, str):
        raise EvaluationError("@liquid: expected string")
    if utf16_length(template) > MAX_CHARACTERS:
        raise EvaluationError(f"liquid template values are limited to {MAX_CHARACTERS} characters")
    try:
        parsed = _environment().from_string(_IDLE_WORDS.sub(r"\1", template))
    except LiquidError as error:
        raise EvaluationError(f"@liquid: {error}") from None
    compare_like_javascript(parsed)
    return parsed


def paths(template: str) -> Iterator[str]:
    """Yield the variables that a template reads, as paths; none if it has a syntax error."""
    try:
        analysis = _parse(template).analyze(include_partials=False)
    except (EvaluationError, LiquidError):
        return
    for variables in analysis.globals.values():
        for variable in variables:
            yield ".".join(str(segment) for segment in variable.segments)
