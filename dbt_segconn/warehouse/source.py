"""A sync's model as the warehouse has it now: its relation and the columns that the sync reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from dbt_segconn.project.findings import NO_ORDER, NO_TABLE, Fault, InvalidProject
from dbt_segconn.project.plan import Sync, find_columns
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.values import Column, kind_of, misfit


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sync reads from. Two equal signatures mean equal columns of equal kinds.

    `checkpoint` is the column that tells which rows are new, where the mapping names one.
    """

    relation: Any
    identifier: tuple[Column, ...]
    columns: tuple[Column, ...]
    signature: str
    checkpoint: Column | None = None


def find_source(sync: Sync, session: Session) -> Source:
    """Look the sync's model up; raises InvalidProject where it or a column of the mapping is missing."""
    model = sync.model
    relation = session.relation(model.database, model.schema, model.identifier)
    types = session.columns(relation)
    if not types:
        missing = Fault(NO_TABLE, (), f"{relation} is not in the warehouse", "Run dbt on this target first.")
        raise InvalidProject([sync.written.finding(missing)])
    found = find_columns(sync, types)
    named = {found[name] for name in sync.named}
    rest = () if sync.columns is not None else (name for name in types if name not in named)

    def column(key: str, alias: str = "") -> Column:
        name = found.get(key, key)
        kind = kind_of(types[name], session.adapter_type, exact_decimals=sync.mapping.decimals == "text")
        return Column(key, name, types[name], alias, kind, sync.timezone)

    columns = tuple(column(name, f"c{at}") for at, name in enumerate(sorted((*sync.named, *rest)), start=1))
    given = sync.mapping.checkpoint
    checkpoint = column(given.column) if given else None
    if given and checkpoint and (reason := misfit(checkpoint.kind, given.lag)):
        fault = Fault(NO_ORDER, ("checkpoint",), f"{given.column} is of the type {checkpoint.data_type}: {reason}")
        name = sync.mapping.name
        raise InvalidProject([sync.written.finding(fault, mapping=name, prefix=sync.written.path_of(name))])
    return Source(relation, tuple(map(column, sync.identifier)), columns, _signature(columns), checkpoint)


def _signature(columns: tuple[Column, ...]) -> str:
    text = "\x1f".join(f"{column.key}\x1e{column.kind}" for column in columns)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
