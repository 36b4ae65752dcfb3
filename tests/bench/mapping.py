"""How fast a mapping is beside a hand-written function that builds the same call.

usage: python tests/bench/mapping.py
An identify mapping of ten fields, through the public doors; the median of five rounds each, in turn.
"""

from __future__ import annotations

import statistics
import time

from dbt_segconn.actions import compile_action
from dbt_segconn.mapping.compiler import expand

ROUNDS, CALLS = 5, 200_000
TRAITS = {
    "name": "full_name",
    "email": "email",
    "createdAt": "signup_date",
    "ltv": "lifetime_value",
    "subscribed": "is_subscribed",
    "phone": "phone",
    "plan": "plan",
    "orders": "order_count",
}
RECORD = {
    "customer_id": 12345,
    "full_name": "Ada Lovelace",
    "email": "ada@example.com",
    "updated_at": "2024-01-01T00:00:00.000Z",
    "signup_date": "2018-01-01",
    "lifetime_value": 123.45,
    "is_subscribed": True,
    "phone": None,
    "plan": "pro",
    "order_count": 17,
}
EVENT = {"type": "track", "event": "new", "messageId": "m", "receivedAt": "x", "properties": RECORD, "context": {}}


def by_hand(payload):
    record = payload["properties"]
    return {
        "userId": str(record["customer_id"]),
        "timestamp": record["updated_at"],
        "context": {"consent": {}},
        "traits": {
            "name": record["full_name"],
            "email": record["email"],
            "createdAt": record["signup_date"],
            "ltv": record["lifetime_value"],
            "subscribed": record["is_subscribed"],
            "phone": record["phone"],
            "plan": record["plan"],
            "orders": record["order_count"],
        },
        "type": "identify",
    }


def seconds(function):
    started = time.perf_counter()
    for _ in range(CALLS):
        function(EVENT)
    return time.perf_counter() - started


def main():
    columns = {name: f"${column}" for name, column in TRAITS.items()}
    fields = expand({"user_id": "$customer_id", "timestamp": "$updated_at", "traits": columns})
    mapped = compile_action("identify", fields)
    assert mapped(EVENT) == by_hand(EVENT)
    rounds = [(seconds(by_hand), seconds(mapped)) for _ in range(ROUNDS)]
    hand, compiled = (statistics.median(one) / CALLS * 1e6 for one in zip(*rounds, strict=True))
    print(f"by hand    {hand:5.2f} microseconds a call")
    print(f"a mapping  {compiled:5.2f}  {hand / compiled:4.0%} of the speed by hand")


if __name__ == "__main__":
    main()
