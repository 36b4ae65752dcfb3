"""Redshift. Its macros override those of PostgreSQL."""

from __future__ import annotations

from dbt_segconn.warehouse.dialect import Dialect

DIALECT = Dialect(value_types={"float": "float"})
