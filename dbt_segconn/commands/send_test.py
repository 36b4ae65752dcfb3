"""The command `send-test`: deliver one call and change no state."""

from __future__ import annotations

import sys
from collections import abc
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.main import FAILED, OK, command
from dbt_segconn.commands.options import as_options, complete_mapping, project_options
from dbt_segconn.commands.terminal.output import say, write
from dbt_segconn.errors import ConfigurationError, SegconnError

if TYPE_CHECKING:
    from dbt_segconn.delivery import Destination
    from dbt_segconn.delivery.answers import Answer
    from dbt_segconn.delivery.batches import Batch
    from dbt_segconn.engine.opening import Options
    from dbt_segconn.inspection.preview import OpenedProject, Shown
    from dbt_segconn.project.mappings import Mapping
    from dbt_segconn.project.settings import DestinationSettings
    from dbt_segconn.warehouse.session import Row


@command(group="Before a run", name="send-test")
@project_options
@click.argument("mapping", shell_complete=complete_mapping)
@click.option("--record", required=True, metavar="ID", help="Identifier of the record, changed or not.")
def send_test(*, mapping: str, record: str, **params: Any) -> None:
    """Deliver the call of one record of MAPPING as a test. Change no state.

    The call has a separate messageId, so Segment does not confuse it with a call of a run. It is a real call:
    destinations behind the source receive it, and Segment bills it.

    \b
    Example:
      dbt-segconn send-test customers.identify_customers --record c-1042

    Exit codes: 0 accepted, 1 not accepted, 2 no such mapping or record.
    """
    from dbt_segconn.commands.terminal.tables import as_text
    from dbt_segconn.delivery import Destination
    from dbt_segconn.delivery.answers import Confirmed
    from dbt_segconn.delivery.destination import build_config
    from dbt_segconn.state.tables import new_sync_id

    name, settings, shown, is_change = _find(as_options(**params), mapping, record)
    if shown.call is None:
        raise SegconnError(f"the record {record!r} would be discarded: {str(shown.discard).removesuffix('.')}.")
    # a mapping may set messageId: with the same id as in a sync, Segment would drop the sync's call as a duplicate
    call = {**shown.call, "messageId": f"test-{new_sync_id()}"}
    # the same code as a run from here on, with its limits and its answers
    destination = Destination(build_config(name, settings))
    answer = _post(destination, _batch(record, call))
    is_confirmed = isinstance(answer, Confirmed)
    write(as_text(call))
    what = "a change that a run would also send" if is_change else "unchanged, sent as updated"
    of_record = f"{shown.mapping}, record {shown.record_id} ({shown.change_type}: {what})"
    say(f"{'Sent' if is_confirmed else 'Tried to send'} this call of {of_record}")
    say(f"to the destination {name} at {destination.config.endpoint}: {_describe(answer)}.")
    if is_confirmed:
        say("Accepted does not mean delivered: check the call in the source's debugger in Segment.")
    say("No state was changed: the next run sends the same calls as without this test.")
    sys.exit(OK if is_confirmed else FAILED)


def _find(options: Options, name: str, record_id: str) -> tuple[str, DestinationSettings, Shown, bool]:
    """Return the destination with its settings, the record with its call, and whether a run would also send it now.

    Raises ConfigurationError if the mapping or the record does not exist or must not be sent.
    """
    from dbt_segconn.inspection.preview import opened_read_only, show
    from dbt_segconn.project.meta import find_mapping
    from dbt_segconn.state.tables import new_sync_id

    with opened_read_only(replace(options, all=True, mappings=[name])) as look:
        # a test may also send a record of a mapping that a run would skip
        mapping = find_mapping(name, [*look.choice.chosen, *(skip.mapping for skip in look.choice.skipped)])
        settings = look.project.settings.destinations[mapping.destination]
        if not settings.enabled:
            raise ConfigurationError(
                f"segconn.yml: the destination {mapping.destination} is disabled: nothing is sent."
            )
        change, is_change = _find_change(look, mapping, record_id)
        shown = show(mapping, change, look.call_maker(mapping, new_sync_id()))
        return mapping.destination, settings, shown, is_change


def _find_change(look: OpenedProject, mapping: Mapping, record_id: str) -> tuple[Row, bool]:
    """Return the record's change and True; without a change, the record of the model as updated, and False."""
    from dbt_segconn.project.meta import CHANGE_TYPES

    tables, source = look.tables(mapping), look.sources[mapping.id]
    if changes := tables.preview(mapping, source, CHANGE_TYPES, 1, [record_id]):
        return changes[0], True
    if found := tables.find(mapping, source, record_id):
        return (found[0], "updated", *found[2:]), False
    if tables.find(mapping, source, record_id, also_silent=True):
        raise ConfigurationError(
            f"the record {record_id!r} has no consent value, and segconn.yml skips such records "
            "(consent.without_value). It is not sent."
        )
    raise ConfigurationError(
        f"{mapping.name} has no record {record_id!r}, or several with this identifier. --record must be a value of "
        f"{'|'.join(mapping.identifier)}."
    )


def _batch(record_id: str, call: abc.Mapping[str, Any]) -> Batch:
    from dbt_segconn.delivery.batches import Batcher

    discards: list[str] = []
    batcher = Batcher(lambda _number, reason: discards.append(reason))
    batches = [*batcher.add([1], [dict(call)]), *batcher.flush()]  # checks the limits, as for a call of a run
    if discards:
        raise SegconnError(f"the record {record_id!r} would be discarded: {discards[0]}.")
    return batches[0]


def _post(destination: Destination, batch: Batch) -> Answer:
    from dbt_segconn.delivery.tracking_api import TrackingApiClient

    try:
        client = TrackingApiClient(destination.config, destination.tokens)
    except ValueError:  # its text and its stack trace may contain the write key
        client = None
    if client is None:
        raise ConfigurationError(
            f"destination {destination.config.name}: its endpoint, its write key or the proxy of the environment is "
            "not valid."
        )
    # one attempt: a test shows the first answer
    with closing(client):
        return client.post(batch.body(datetime.now(timezone.utc)))


def _describe(answer: Answer) -> str:
    from dbt_segconn.delivery.answers import Confirmed, Throttled

    if isinstance(answer, Confirmed):
        return "the call was accepted (HTTP status 2xx)"
    if isinstance(answer, Throttled):
        wait = "later" if answer.seconds is None else f"in {answer.seconds:.0f} seconds"
        return f"rate limit reached (HTTP status 429), the call was not accepted; try again {wait}"
    return answer.reason
