"""A sync's model as the warehouse has it now: its relation and the columns that the sync reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.plan import Sync, find_columns
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.values import Column, kind_of


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sync reads from. Two equal signatures mean equal columns of equal kinds."""

    relation: Any
    identifier: tuple[Column, ...]
    columns: tuple[Column, ...]
    signature: str


def find_source(sync: Sync, session: Session) -> Source:
    """Look the sync's model up; raises ConfigurationError where it or a column of the mapping is missing."""
    model = sync.model
    relation = session.relation(model.database, model.schema, model.identifier)
    types = session.columns(relation)
    if not types:
        raise ConfigurationError(
            f"{model.file}: {model.resource_type} {model.name}: {relation} is not in the warehouse. Run dbt on "
            "this target first."
        )
    found = find_columns(sync, types)
    wanted = sorted(types if sync.columns is None else sync.columns)

    def column(name: str, alias: str = "") -> Column:
        data_type = types[found[name]]
        kind = kind_of(data_type, session.adapter_type, exact_decimals=sync.mapping.decimals == "text")
        return Column(name, found[name], data_type, alias, kind, sync.timezone)

    columns = tuple(column(name, f"c{at}") for at, name in enumerate(wanted, start=1))
    return Source(relation, tuple(map(column, sync.identifier)), columns, _signature(columns))


def _signature(columns: tuple[Column, ...]) -> str:
    text = "\x1f".join(f"{column.key}\x1e{column.kind}" for column in columns)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
