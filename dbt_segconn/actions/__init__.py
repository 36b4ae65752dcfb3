"""The five actions of Segment's "Segment Connections" destination: mapped fields → a Spec call.

https://segment.com/docs/connections/destinations/catalog/actions-segment/
"""

from dbt_segconn.actions.calls import compile_action
from dbt_segconn.actions.coerce import fields_schema, missing_fields, unknown_fields
from dbt_segconn.actions.fields import ACTIONS, Action, Field, find_action

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
