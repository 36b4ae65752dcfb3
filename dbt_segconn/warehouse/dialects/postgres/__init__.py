"""PostgreSQL."""

from __future__ import annotations

from dbt_segconn.warehouse.dialect import Dialect

DIALECT = Dialect(fingerprints=True)
