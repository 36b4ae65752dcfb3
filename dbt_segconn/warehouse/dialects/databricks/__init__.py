"""Databricks: Spark's SQL on Delta tables, which support all statements and several processes."""

from __future__ import annotations

from dbt_segconn.warehouse.dialect import Dialect
from dbt_segconn.warehouse.dialects.spark import DIALECT as SPARK

DIALECT = Dialect(value_types=SPARK.value_types)
