"""segconn.yml → destinations."""

from __future__ import annotations

import math

from dbt_segconn.delivery.destination import Destination, Target
from dbt_segconn.delivery.oauth import OAuth, check_installed
from dbt_segconn.project.settings import DestinationSettings, Settings


def build_destinations(settings: Settings) -> dict[str, Destination]:
    """Build one destination for all syncs that share it: they share its rate limit, too."""
    return {name: build_destination(name, one) for name, one in settings.destinations.items()}


def build_destination(name: str, settings: DestinationSettings) -> Destination:
    """Build a destination as segconn.yml describes it."""
    return Destination(build_target(name, settings))


def build_target(name: str, settings: DestinationSettings) -> Target:
    """Say where calls go, and how, as segconn.yml describes it."""
    is_unlimited = math.isinf(settings.events_per_second)
    return Target(
        name=name,
        write_key=settings.write_key.get_secret_value(),
        endpoint=settings.base_url,
        concurrency=settings.concurrency,
        events_per_second=None if is_unlimited else settings.events_per_second,
        gzip=settings.gzip,
        oauth=_oauth(settings),
    )


def _oauth(destination: DestinationSettings) -> OAuth | None:
    given = destination.oauth
    if given is None or not destination.enabled:
        return None
    check_installed()
    return OAuth(
        client_id=given.client_id,
        key_id=given.key_id,
        private_key=given.private_key.get_secret_value(),
        token_url=destination.token_url,
        scope=given.scope,
    )
