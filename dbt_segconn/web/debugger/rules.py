"""What Segment refuses with 400, and what it answers 200 to and drops all the same.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

from typing import Any

import orjson

from dbt_segconn.web.debugger.arrival import SHARED, moment

BATCH_BYTES = 500 * 1000
# Segment says 32 KB; read generously, so that nothing is refused here that Segment might take
EVENT_BYTES = 32 * 1024
BATCH_EVENTS = 2_500
MESSAGE_ID_CHARACTERS = 100

TYPES = ("identify", "track", "group", "page", "screen", "alias")
TOO_LARGE = f"a call is larger than {EVENT_BYTES:,} bytes"
TOO_DEEP = "the body is nested too deeply"
TOO_MANY = f"more than {BATCH_EVENTS:,} calls in a batch"
_NEEDS = {"track": "event", "group": "groupId"}


def refusal(body: Any, call_type: str, size: int) -> str | None:
    """Say why a whole request of `size` bytes is answered with 400, or None where it is taken."""
    if not isinstance(body, dict):
        return "the body is no JSON object"
    if not _can_be_written(body):
        return TOO_DEEP
    if call_type != "batch":
        return TOO_LARGE if size > EVENT_BYTES else None
    batch = body.get("batch")
    if not isinstance(batch, list) or not all(isinstance(call, dict) for call in batch):
        return "`batch` is no list of objects"
    shared = {name: body[name] for name in SHARED if name in body}
    if size > EVENT_BYTES and any(len(orjson.dumps(one)) > EVENT_BYTES for one in (shared, *batch)):
        return TOO_LARGE
    return None


def _can_be_written(body: Any) -> bool:
    """Return whether JSON that was read can be written, which goes less deep."""
    try:
        orjson.dumps(body)
    except TypeError:
        return False
    return True


def drop_reason(call: dict[str, Any]) -> str | None:
    """Say why Segment would answer 200 and drop a call all the same."""
    call_type = call.get("type")
    if call_type not in TYPES:
        return f"type is not one of {', '.join(TYPES)}"
    if not call.get("userId") and not call.get("anonymousId"):
        return "neither userId nor anonymousId"
    needed = _NEEDS.get(call_type)
    if needed and not call.get(needed):
        return f"{call_type} without {needed}"
    if len(str(call.get("messageId") or "")) > MESSAGE_ID_CHARACTERS:
        return f"messageId longer than {MESSAGE_ID_CHARACTERS} characters"
    timestamp = call.get("timestamp")
    if timestamp is not None and moment(timestamp) is None:
        return "timestamp is not ISO-8601"
    return None
