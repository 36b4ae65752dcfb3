"""SQLite, which is not supported."""

from __future__ import annotations

from dbt_segconn.warehouse.dialect import Dialect

DIALECT = Dialect(
    unsupported="SQLite is not supported: it has no md5, which checksums of records need. Build the models with "
    "dbt-duckdb, which can attach SQLite files, or in another warehouse."
)
