"""The five actions of Segment's "Segment Connections" destination: mapped fields → a Spec call.

https://segment.com/docs/connections/destinations/catalog/actions-segment/
"""

from dbt_segconn.actions.calls import compile_action
from dbt_segconn.actions.fields import (
    ACTIONS,
    Action,
    Field,
    fields_schema,
    find_action,
    missing_fields,
    unknown_fields,
)

__all__ = [
    "ACTIONS",
    "Action",
    "Field",
    "compile_action",
    "fields_schema",
    "find_action",
    "missing_fields",
    "unknown_fields",
]
