"""Checks of `records`, `order_by` and `unique_identifier` for snapshots."""

from __future__ import annotations

from collections.abc import Iterator

from dbt_segconn.project.artifacts import Model, Snapshot
from dbt_segconn.project.findings import NOT_A_SNAPSHOT, ORDER_MISSING, SNAPSHOT_KEY, Fault
from dbt_segconn.project.meta import MappingMeta


def snapshot_faults(model: Model, identifier: tuple[str, ...], meta: MappingMeta) -> Iterator[Fault]:
    """Check `records` and `order_by` of a mapping against its model."""
    snapshot = model.snapshot
    if snapshot is None:
        if meta.records == "current":
            reason = f"must be all, not current: {model.resource_type} {model.name} is not a snapshot"
            yield Fault(NOT_A_SNAPSHOT, ("records",), reason, "Remove `records`, or map a snapshot.")
        return
    if meta.records == "current":
        yield from _current(snapshot, identifier)
    else:
        yield from _versions(snapshot, identifier, meta)


def _current(snapshot: Snapshot, identifier: tuple[str, ...]) -> Iterator[Fault]:
    key = ", ".join(snapshot.unique_key)
    if not identifier:
        fix = "Set unique_identifier to the column with the key of the entity."
        yield Fault(SNAPSHOT_KEY, ("records",), "the snapshot's unique_key must be columns, not an expression", fix)
    elif _folded(identifier) == {snapshot.scd_id.casefold()}:
        reason = (
            f"{snapshot.scd_id} identifies versions. With records: current, a changed row would be a deleted record"
        )
        fix = f"Remove unique_identifier, which defaults to the snapshot's key ({key})." if key else ""
        yield Fault(SNAPSHOT_KEY, ("records",), reason, fix or "Set unique_identifier to the key of the entity.")


def _versions(snapshot: Snapshot, identifier: tuple[str, ...], meta: MappingMeta) -> Iterator[Fault]:
    current = "`records: current` to send only the current rows"
    if identifier and _folded(identifier) <= _folded(snapshot.unique_key):
        reason = f"{' and '.join(identifier)} is the snapshot's unique_key, so a changed record has several rows"
        fix = f"Write {current}, or remove unique_identifier. Its default is {snapshot.scd_id}, one record per version."
        yield Fault(SNAPSHOT_KEY, ("records",), reason, fix)
    elif not meta.order_by:
        reason = "is missing: a snapshot has several versions of a row, and the newest must be sent last"
        fix = f"Write `order_by: {snapshot.valid_from}`, or {current}."
        yield Fault(ORDER_MISSING, ("order_by",), reason, fix)


def _folded(names: tuple[str, ...]) -> set[str]:
    return {name.casefold() for name in names}
