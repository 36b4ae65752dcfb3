"""SQLite, which is not served."""

from __future__ import annotations

from dbt_segconn.warehouse.dialect import Dialect

DIALECT = Dialect(
    not_served="SQLite has no md5, which the checksums of records are made of. Build the models with dbt-duckdb, which "
    "attaches SQLite's files as they are, or in another warehouse."
)
