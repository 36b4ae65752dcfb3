"""Snowflake."""

from __future__ import annotations

from typing import Any

from dbt_segconn.warehouse.dialect import Dialect


def _lineage_namespace(credentials: Any) -> str:
    """Return the namespace of an account: organization-account, or locator.region.cloud.

    https://openlineage.io/docs/spec/naming
    """
    account = str(credentials.account)
    name, *place = account.split(".")
    if "-" in name:
        return f"snowflake://{name}"
    return f"snowflake://{'.'.join((name, *place, *('us-west-1', 'aws')[len(place) :]))}"


# All floats have double precision
DIALECT = Dialect(value_types={"real": "float", "float4": "float"}, lineage_namespace=_lineage_namespace)
