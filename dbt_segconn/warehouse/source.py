"""A sync's model as the warehouse has it now: its relation and the columns that the sync reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.plan import Sync, find_columns
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.values import Column


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
    columns = tuple(
        Column(name, found[name], types[found[name]], alias=f"c{at}") for at, name in enumerate(wanted, start=1)
    )
    identifier = tuple(Column(name, found[name], types[found[name]], alias="") for name in sync.identifier)
    return Source(relation, identifier, columns, _signature(columns))


def _signature(columns: tuple[Column, ...]) -> str:
    text = "\x1f".join(f"{column.key}\x1e{column.kind}" for column in columns)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
