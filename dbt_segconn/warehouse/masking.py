"""Mask values of rows in error messages of drivers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from dbt_segconn.warehouse.dialect import Dialect

# https://www.postgresql.org/docs/current/errcodes-appendix.html : classes of data exceptions and violated constraints.
# Some drivers, such as Snowflake's, have one exception class for all SQL errors.
ROW_STATES = ("22", "23")
MASK = "'…'"

# Lines that databases append: whole rows, the statement, values of parameters
_ADDED = re.compile(r"^\s*(DETAIL|LINE \d+|CONTEXT|QUERY|STATEMENT|PARAMETERS)\b.*", re.MULTILINE | re.DOTALL)
_NAMED = r'\b(?:column|relation|table|constraint|type|index|schema|domain|function) "[\w.$]+"'
# From the first quotation mark to the last: values may contain some; an unclosed one counts to the end
_QUOTED = r"""["'`].*["'`]|["'`].*\Z"""
_VALUES = re.compile(rf"(?P<named>{_NAMED})|{_QUOTED}|\d{{5,}}", re.DOTALL)


def masked_text(error: BaseException, dialect: Dialect) -> tuple[str, bool]:
    """Return the text of an error without values of rows, and whether any value was masked.

    dbt wraps the driver's error, therefore the causes are checked, too. The text ends with the line of the first value:
    DuckDB repeats the value below it.
    """
    text = str(error).strip()
    if not any(_is_about_rows(one, dialect) for one in _chain(error)):
        return text, False
    masked = _VALUES.sub(lambda found: found["named"] or MASK, _ADDED.sub("", text))
    head, mask, tail = masked.partition(MASK)
    return f"{head}{mask}{tail.partition(chr(10))[0]}".strip(), True


def _is_about_rows(error: BaseException, dialect: Dialect) -> bool:
    if dialect.row_errors & {one.__name__ for one in type(error).__mro__}:
        return True
    return any(state.startswith(ROW_STATES) for state in _states(error, dialect.sqlstates))


def _states(error: BaseException, names: Iterable[str]) -> Iterator[str]:
    """Yield the SQLSTATE of an error, which drivers have under different names."""
    for name in names:
        state = getattr(error, name, None)
        with suppress(Exception):  # pyspark calls its JVM
            state = state() if callable(state) else state
        if isinstance(state, str):
            yield state


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
