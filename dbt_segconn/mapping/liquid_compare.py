"""Comparisons in @liquid by JavaScript's rules: `"12" > 5` is true, and `<` and `>` with an object are false."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from liquid import BoundTemplate, Expression, Node, RenderContext
from liquid.builtin.expressions.logical import (
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LtExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank
from liquid.undefined import Undefined

from dbt_segconn.mapping import javascript as js

Test = Callable[[Any, Any], bool]


def _number(value: Any) -> float | None:
    """Follow ToNumber; return None for NaN, for which every comparison is false."""
    if value is None:
        return 0
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, list)):
        return js.to_number(js.to_text(value))
    return None


def _compare(test: Test, left: Any, right: Any) -> bool:
    if isinstance(left, Undefined) or isinstance(right, Undefined):
        return False
    if isinstance(left, str) and isinstance(right, str):
        return test(js.utf16_units(left), js.utf16_units(right))
    numbers = _number(left), _number(right)
    return None not in numbers and test(*numbers)


def _equals(left: Any, right: Any) -> bool | None:
    """Compare with `blank`: null, false and white space equal it. Return None for any other comparison."""
    if isinstance(left, Blank):
        left, right = right, left
    if not isinstance(right, Blank):
        return None
    if left is None or left is False or isinstance(left, Undefined):
        return True
    return not left.strip() if isinstance(left, str) else left in ([], {})


class _Equal(EqExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        blank = _equals(self.left.evaluate(context), self.right.evaluate(context))
        return super().evaluate(context) if blank is None else blank


class _NotEqual(NeExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        blank = _equals(self.left.evaluate(context), self.right.evaluate(context))
        return super().evaluate(context) if blank is None else not blank


class _Less(LtExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _compare(operator.lt, self.left.evaluate(context), self.right.evaluate(context))


class _LessOrEqual(LeExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _compare(operator.le, self.left.evaluate(context), self.right.evaluate(context))


class _Greater(GtExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _compare(operator.gt, self.left.evaluate(context), self.right.evaluate(context))


class _GreaterOrEqual(GeExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _compare(operator.ge, self.left.evaluate(context), self.right.evaluate(context))


_OWN: dict[type[Expression], type[Expression]] = {
    EqExpression: _Equal,
    NeExpression: _NotEqual,
    LtExpression: _Less,
    LeExpression: _LessOrEqual,
    GtExpression: _Greater,
    GeExpression: _GreaterOrEqual,
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
