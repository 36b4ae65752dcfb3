"""Calls → Segment's Tracking API: checked, batched, sent at the permitted rate, each confirmed or rejected."""

from dbt_segconn.delivery.destination import Destination, DestinationConfig
from dbt_segconn.delivery.sender import Delivery, Discard, Order, Progress
from dbt_segconn.delivery.tracking_api import Canceled, Request, Stop

__all__ = [
    "Canceled",
    "Delivery",
    "Destination",
    "DestinationConfig",
    "Discard",
    "Order",
    "Progress",
    "Request",
    "Stop",
]
