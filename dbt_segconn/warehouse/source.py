"""The model of a sync in the warehouse: its relation and the columns that the sync reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dbt_segconn.project.artifacts import Model
from dbt_segconn.project.findings import NO_ORDER, NO_TABLE, Fault, InvalidProject
from dbt_segconn.project.mappings import Mapping, find_columns
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.values import Column, misfit, unordered, value_type_of

SHOWN_RELATIONS = 10


@dataclass(frozen=True, slots=True)
class Source:
    """The relation and columns that a sync reads.

    Equal signatures mean equal columns. A signature has three hashes: of names, of value types, and of the data types
    of JSON columns. Equal JSON may have different texts in different data types.

    `checkpoint` is the column of the mapping's checkpoint, if any. `order` are the columns of `order_by`. `current` are
    the columns that mark the current rows of a snapshot; `valid_to_current` is dbt's SQL for the first of them.
    """

    relation: Any
    identifier: tuple[Column, ...]
    columns: tuple[Column, ...]
    signature: str
    checkpoint: Column | None = None
    order: tuple[Column, ...] = ()
    current: tuple[Column, ...] = ()
    valid_to_current: str | None = None

    @property
    def names(self) -> str:
        """The part of the signature that checksums cover: the hash of names."""
        return self.signature.partition("-")[0]


def find_source(mapping: Mapping, session: Session) -> Source:
    """Return the source of a mapping. Raises InvalidProject if the relation or a column is missing."""
    relation = session.relation_of(mapping.model)
    types = session.columns(relation)
    if not types:
        raise InvalidProject([mapping.positions.finding(_no_table(mapping.model, relation, session))])
    found = find_columns(mapping, types)
    named = {found[name] for name in mapping.named}
    rest = () if mapping.columns is not None else (name for name in types if name not in named)

    def column(key: str, alias: str = "") -> Column:
        name = found.get(key, key)
        value_type = value_type_of(types[name], session.adapter_type, exact_decimals=mapping.meta.decimals == "text")
        return Column(key, name, types[name], alias, value_type, mapping.timezone)

    columns = tuple(column(name, f"c{at}") for at, name in enumerate(sorted((*mapping.named, *rest)), start=1))
    checkpoint, snapshot = mapping.meta.checkpoint, mapping.current
    source = Source(
        relation,
        tuple(map(column, mapping.identifier)),
        columns,
        _signature(columns),
        column(checkpoint.column) if checkpoint else None,
        order=tuple(map(column, mapping.meta.order_by or ())),
        current=tuple(map(column, snapshot.columns if snapshot else ())),
        valid_to_current=snapshot.valid_to_current if snapshot else None,
    )
    if faults := list(_unordered(mapping, source)):
        name = mapping.meta.name
        place = mapping.positions.path_of(name)
        raise InvalidProject([mapping.positions.finding(fault, mapping=name, prefix=place) for fault in faults])
    return source


def _unordered(mapping: Mapping, source: Source) -> Iterator[Fault]:
    """Yield the columns of the checkpoint and of `order_by` that have no order."""
    setting, checkpoint = mapping.meta.checkpoint, source.checkpoint
    if setting and checkpoint and (reason := misfit(checkpoint.value_type, setting.lag)):
        yield Fault(NO_ORDER, ("checkpoint",), f"{setting.column} is of the type {checkpoint.data_type}: {reason}")
    for one in source.order:
        if reason := unordered(one.value_type):
            yield Fault(NO_ORDER, ("order_by",), f"{one.key} is of the type {one.data_type}: {reason}")


def _no_table(model: Model, relation: Any, session: Session) -> Fault:
    """Return the fault of a missing relation, with the target and the relations that exist there."""
    beside = sorted(session.names_beside(relation))
    more = ", …" if len(beside) > SHOWN_RELATIONS else ""
    there = f"the schema {relation.schema} has {', '.join(beside[:SHOWN_RELATIONS])}{more}"
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
    """Hash the columns' names, value types, and the data types of JSON columns: three parts, joined by hyphens."""
    names = (column.key for column in columns)
    value_types = (column.value_type for column in columns)
    nested = (f"{column.key}\x1e{_nested(column.data_type)}" for column in columns if column.value_type == "json")
    return "-".join(hashlib.sha256("\x1f".join(part).encode()).hexdigest()[:8] for part in (names, value_types, nested))


def _nested(data_type: str) -> str:
    """Return the name of a JSON data type without the fields of a struct, which change as columns do."""
    name = "json" if data_type == "jsonb" else data_type.lower()
    return re.split(r"[(<]", name)[0] if re.match(r"(struct|map|object|row|union|record)\b", name) else name
