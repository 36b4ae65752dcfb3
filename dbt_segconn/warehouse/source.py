"""A sync's model as the warehouse has it now: its relation and the columns that the sync reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dbt_segconn.project.artifacts import Model
from dbt_segconn.project.findings import NO_ORDER, NO_TABLE, Fault, InvalidProject
from dbt_segconn.project.plan import Sync, find_columns
from dbt_segconn.project.strict import near_name
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.values import Column, kind_of, misfit, unordered

SHOWN_RELATIONS = 10


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sync reads from. Two equal signatures mean equal columns of equal kinds.

    `checkpoint` is the column that tells which rows are new, where the mapping names one; `order` are the columns of
    `order_by`. `current` are the columns that tell the current rows of a snapshot, where only these are records, and
    `valid_to_current` is the SQL that dbt writes to the first of them.
    """

    relation: Any
    identifier: tuple[Column, ...]
    columns: tuple[Column, ...]
    signature: str
    checkpoint: Column | None = None
    order: tuple[Column, ...] = ()
    current: tuple[Column, ...] = ()
    valid_to_current: str | None = None


def find_source(sync: Sync, session: Session) -> Source:
    """Look the sync's model up; raises InvalidProject where it or a column of the mapping is missing."""
    relation = session.relation_of(sync.model)
    types = session.columns(relation)
    if not types:
        raise InvalidProject([sync.written.finding(_no_table(sync.model, relation, session))])
    found = find_columns(sync, types)
    named = {found[name] for name in sync.named}
    rest = () if sync.columns is not None else (name for name in types if name not in named)

    def column(key: str, alias: str = "") -> Column:
        name = found.get(key, key)
        kind = kind_of(types[name], session.adapter_type, exact_decimals=sync.mapping.decimals == "text")
        return Column(key, name, types[name], alias, kind, sync.timezone)

    columns = tuple(column(name, f"c{at}") for at, name in enumerate(sorted((*sync.named, *rest)), start=1))
    given, snapshot = sync.mapping.checkpoint, sync.current
    source = Source(
        relation,
        tuple(map(column, sync.identifier)),
        columns,
        _signature(columns),
        column(given.column) if given else None,
        order=tuple(map(column, sync.mapping.order_by or ())),
        current=tuple(map(column, snapshot.columns if snapshot else ())),
        valid_to_current=snapshot.valid_to_current if snapshot else None,
    )
    if faults := list(_unordered(sync, source)):
        name = sync.mapping.name
        place = sync.written.path_of(name)
        raise InvalidProject([sync.written.finding(fault, mapping=name, prefix=place) for fault in faults])
    return source


def _unordered(sync: Sync, source: Source) -> Iterator[Fault]:
    """Check that the columns of the checkpoint and of `order_by` have an order."""
    given, checkpoint = sync.mapping.checkpoint, source.checkpoint
    if given and checkpoint and (reason := misfit(checkpoint.kind, given.lag)):
        yield Fault(NO_ORDER, ("checkpoint",), f"{given.column} is of the type {checkpoint.data_type}: {reason}")
    for one in source.order:
        if reason := unordered(one.kind):
            yield Fault(NO_ORDER, ("order_by",), f"{one.key} is of the type {one.data_type}: {reason}")


def _no_table(model: Model, relation: Any, session: Session) -> Fault:
    """Say which relation is not there, where it was looked for, and what stands there in its place."""
    beside = sorted(session.names_beside(relation))
    more = ", …" if len(beside) > SHOWN_RELATIONS else ""
    there = f"the schema {relation.schema} holds {', '.join(beside[:SHOWN_RELATIONS])}{more}"
    found = (
        (near_name(relation.identifier, beside).lstrip() or there) if beside else f"no schema {relation.schema} there"
    )
    reason = f"{relation} is not in {session.place}: {found.removesuffix('?')}"
    fix = (
        f"Build it there (dbt build --select {model.name.partition('.v')[0]}), or name the target that dbt ran on with "
        "--target."
    )
    return Fault(NO_TABLE, (), reason, fix)


def _signature(columns: tuple[Column, ...]) -> str:
    text = "\x1f".join(f"{column.key}\x1e{column.kind}" for column in columns)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
