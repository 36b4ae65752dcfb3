"""Segment's documented limits, checked before sending: Segment answers 200 to a call above a limit, then drops it.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import re
from typing import Any

# "32KB per event", "500KB per batch": a KB is counted as 1,000 bytes, before compression
CALL_BYTES = 32_000
# Segment rejects a request above 500 KB; its SDKs limit a batch to this size
BATCH_BYTES = 475_000
BATCH_CALLS = 2_500
MESSAGE_ID_CHARACTERS = 100
PROPERTIES = 10_000
# Segment silently drops a call with more traits or properties
MAPPED_MEMBERS = 300

_ISO_8601 = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"T([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)([.,]\d+)?)?(Z|[+-]\d{2}:?\d{2})",
    re.ASCII,
)
# call type → its required field: Segment drops a call without it
_REQUIRED = {"track": "event", "group": "groupId"}

TOO_LARGE = f"the call is larger than Segment's limit of {CALL_BYTES:,} bytes"
NOT_UTF8 = "a text in the call is not valid UTF-8"
NOT_JSON = "a value in the call has no JSON form or is nested too deeply"


def violation(call: dict[str, Any]) -> str | None:
    """Return the limit that a call violates, except its size; None for a valid call."""
    if not call.get("userId") and not call.get("anonymousId"):
        return "the call has neither userId nor anonymousId"
    required = _REQUIRED.get(call["type"])
    if required and not call.get(required):
        return f"the {call['type']} call has no {required}"
    message_id = call.get("messageId")
    if not message_id or len(message_id) > MESSAGE_ID_CHARACTERS:
        return f"the messageId is empty or longer than {MESSAGE_ID_CHARACTERS} characters"
    timestamp = call.get("timestamp")
    if timestamp is not None and not (isinstance(timestamp, str) and _ISO_8601.fullmatch(timestamp)):
        return "the timestamp is not ISO-8601 with a time zone, such as 2026-01-02T03:04:05Z"
    if len(call.get("traits") or ()) > PROPERTIES or len(call.get("properties") or ()) > PROPERTIES:
        return f"the call has more than {PROPERTIES:,} traits or properties"
    return None
