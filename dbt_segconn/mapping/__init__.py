"""Segment's mapping language: a mapping is compiled once and evaluated for each record.

It follows Segment's open-source mapping-kit, including JavaScript's value rules:
https://github.com/segmentio/action-destinations/tree/main/packages/core/src/mapping-kit
"""

from dbt_segconn.errors import MappingError
from dbt_segconn.mapping.compiler import ALL_COLUMNS, columns_named, columns_used, compile_mapping
from dbt_segconn.mapping.javascript import MISSING

__all__ = ["ALL_COLUMNS", "MISSING", "MappingError", "columns_named", "columns_used", "compile_mapping"]
