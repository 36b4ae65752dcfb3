"""Snowflake."""

from __future__ import annotations

from dbt_segconn.warehouse.dialect import Dialect

# All floats have double precision
DIALECT = Dialect(value_types={"real": "float", "float4": "float"})
