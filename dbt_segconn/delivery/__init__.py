"""Calls → Segment's Tracking API: checked, batched, at the allowed rate, each confirmed or refused."""

from dbt_segconn.delivery.attempts import Canceled, Stop
from dbt_segconn.delivery.destination import Destination, Target
from dbt_segconn.delivery.sender import Delivery, Order, Progress, Refusal

__all__ = ["Canceled", "Delivery", "Destination", "Order", "Progress", "Refusal", "Stop", "Target"]
