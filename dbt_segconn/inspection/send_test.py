"""One call, delivered to be looked at downstream; no state moves."""

from __future__ import annotations

from collections import abc
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from dbt_segconn.delivery import Destination
from dbt_segconn.delivery.answers import Answer, Confirmed, Throttled
from dbt_segconn.delivery.batches import Batch, Batcher
from dbt_segconn.delivery.destination import build_config
from dbt_segconn.delivery.tracking_api import TrackingApiClient
from dbt_segconn.engine.opening import Options
from dbt_segconn.errors import ConfigurationError, SegconnError
from dbt_segconn.inspection.preview import Shown, show
from dbt_segconn.inspection.read_only_session import OpenedProject, opened_read_only
from dbt_segconn.project.mapping_names import find_mapping
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.meta import CHANGE_TYPES
from dbt_segconn.state.tables import new_sync_id
from dbt_segconn.warehouse.session import Row


@dataclass(frozen=True, slots=True)
class Sent:
    """One call that was tried, and what became of it; `is_change` says whether a run would send it now, too."""

    shown: Shown
    destination: str
    endpoint: str
    is_change: bool
    is_confirmed: bool
    answer: str


def send_test(options: Options, name: str, record_id: str) -> Sent:
    """Deliver the call of one record, changed or not, once, with a messageId that no sync has.

    Raises ConfigurationError where the mapping or the record is not there or must not be sent, and SegconnError
    where the record makes no call that Segment would take.
    """
    with opened_read_only(replace(options, all=True, mappings=[name])) as look:
        mapping = find_mapping(name, [*look.choice.chosen, *(skip.mapping for skip in look.choice.skipped)])
        settings = look.project.settings.destinations[mapping.destination]
        if not settings.enabled:
            raise ConfigurationError(
                f"segconn.yml: the destination {mapping.destination} is disabled: nothing is sent."
            )
        change, is_change = _change(look, mapping, record_id)
        shown = show(mapping, change, look.call_maker(mapping, new_sync_id()))
    if shown.call is None:
        raise SegconnError(f"the record {record_id!r} would be discarded: {str(shown.discard).removesuffix('.')}.")
    # a mapping that makes its own messageIds would make the one of the sync, whose call would then be dropped
    call = {**shown.call, "messageId": f"test-{new_sync_id()}"}
    destination = Destination(build_config(mapping.destination, settings))
    answer = _post(destination, _batch(record_id, call))
    is_confirmed = isinstance(answer, Confirmed)
    return Sent(
        replace(shown, call=call),
        mapping.destination,
        destination.config.endpoint,
        is_change,
        is_confirmed,
        _told(answer),
    )


def _change(look: OpenedProject, mapping: Mapping, record_id: str) -> tuple[Row, bool]:
    """Find the record among the changes of now, else in the model as it is, to be sent as updated."""
    tables, source = look.tables(mapping), look.sources[mapping.id]
    if changes := tables.preview(mapping, source, CHANGE_TYPES, 1, [record_id]):
        return changes[0], True
    if found := tables.find(mapping, source, record_id):
        return (found[0], "updated", *found[2:]), False
    if tables.find(mapping, source, record_id, also_silent=True):
        raise ConfigurationError(
            f"the record {record_id!r} says nothing of consent, and segconn.yml skips such records "
            "(consent.without_value). It is not sent."
        )
    raise ConfigurationError(
        f"{mapping.name} has no record {record_id!r}, or several of this identifier. --record takes a value of "
        f"{'|'.join(mapping.identifier)}."
    )


def _batch(record_id: str, call: abc.Mapping[str, Any]) -> Batch:
    discarded: list[str] = []
    batcher = Batcher(lambda _number, reason: discarded.append(reason))
    batches = [*batcher.add([1], [dict(call)]), *batcher.flush()]
    if discarded:
        raise SegconnError(f"the record {record_id!r} would be discarded: {discarded[0]}.")
    return batches[0]


def _post(destination: Destination, batch: Batch) -> Answer:
    try:
        client = TrackingApiClient(destination.config, destination.tokens)
    except ValueError:  # whose text and traceback may hold the write key
        client = None
    if client is None:
        raise ConfigurationError(
            f"destination {destination.config.name}: its endpoint, its write key or the proxy of the environment is "
            "not valid."
        )
    with closing(client):
        return client.post(batch.body(datetime.now(timezone.utc)))


def _told(answer: Answer) -> str:
    if isinstance(answer, Confirmed):
        return "it took the call (HTTP status 2xx)"
    if isinstance(answer, Throttled):
        seconds = "a while" if answer.seconds is None else f"{answer.seconds:.0f} seconds"
        return f"it asks to wait for {seconds} (HTTP status 429); the call was not taken"
    return answer.reason
