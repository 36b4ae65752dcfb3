"""PostgreSQL."""

from __future__ import annotations

import re

from dbt_segconn.warehouse.dialect import Dialect

# https://www.postgresql.org/docs/current/transaction-iso.html : of repeatable read and serializable
DIALECT = Dialect(fingerprints=True, conflict=re.compile(r"could not serialize access|deadlock detected"))
