"""Redshift. Its macros override those of PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any

from dbt_segconn.warehouse.dialect import Dialect

# The message among the fields of the driver's error
_MESSAGE = re.compile(r"""'M': (['"])(.*?)\1, '""")


def _prepare(credentials: Any) -> None:
    """Let BEGIN and COMMIT alone begin and end transactions: without this, the driver begins some, too."""
    credentials.autocommit = True


def _never_repeat(adapter: Any) -> None:
    """Send each statement once, on one connection, inside the transaction that was begun.

    After some errors, dbt-redshift repeats a statement alone, on a new connection: the statements before it and the
    settings of the session are lost. With one of its behavior flags, it leaves out BEGIN and COMMIT.
    """
    from dbt.adapters.sql import SQLConnectionManager

    connections = adapter.connections
    connections.add_query = partial(SQLConnectionManager.add_query, connections)
    connections.execute = partial(SQLConnectionManager.execute, connections)
    if hasattr(connections, "set_skip_transactions_checker"):  # dbt-redshift 1.10
        connections.set_skip_transactions_checker(lambda: False)


def _explain_open_error(reason: str) -> str | None:
    found = _MESSAGE.search(reason)
    return found[2] if found else None


_DEFAULT = Dialect()

DIALECT = replace(
    _DEFAULT,
    refused={"hllsketch": "Select hll_cardinality(…) of it in the model, or leave the column out."},
    prepare=_prepare,
    adjust=_never_repeat,
    explain_open_error=_explain_open_error,
    # Compute nodes raise errors of values as internal errors
    row_states=(*_DEFAULT.row_states, "XX"),
    # https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation-serializable-isolation-troubleshooting.html
    conflict=re.compile(
        r"conflict with concurrent transaction|serializable isolation violation|could not serialize access"
        r"|could not open relation with OID|dropped by concurrent transaction|deadlock detected",
        re.IGNORECASE,
    ),
)
