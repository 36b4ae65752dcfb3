"""Databricks: Spark's SQL on Delta tables, which support all statements and several processes."""

from __future__ import annotations

import re

from dbt_segconn.warehouse.dialect import Dialect
from dbt_segconn.warehouse.dialects.spark import DIALECT as SPARK

DIALECT = Dialect(
    value_types=SPARK.value_types,
    lineage_namespace=lambda credentials: f"databricks://{credentials.host}",
    commits_together=False,
    # Delta refuses a statement whose files a concurrent one has changed, or added to the same table
    # https://docs.databricks.com/aws/en/optimizations/isolation-level#conflict-exceptions
    conflict=re.compile(r"DELTA_CONCURRENT_|DELTA_METADATA_CHANGED|Concurrent(Append|Write|Delete\w+)Exception"),
)
