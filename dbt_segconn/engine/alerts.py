"""Alerts: post the news of a run to each webhook, then save what was posted.

After a crash in between, or if a webhook does not answer, the next run posts the alert again. No alert is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from dbt_segconn.delivery.answers import classify_error
from dbt_segconn.delivery.connection import Connection, NoResponseError
from dbt_segconn.engine.alert_messages import SEEN, Body, Known, Place, bodies, error_body, news, outcomes, webhook_ids
from dbt_segconn.engine.gate import RunResult
from dbt_segconn.errors import SegconnError, message_of
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.project.settings import AlertSettings
from dbt_segconn.state.tables import AlertRow, State

# Seconds that each webhook has for all its requests. The syncs have ended, and the run waits only for this
TIMEOUT_SECONDS = 10.0

OpenState = Callable[[], AbstractContextManager[State]]


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerts of a run. A failing webhook never fails the run: `warn` receives a text without the URL, a secret."""

    settings: Sequence[AlertSettings]
    place: Place
    warn: Callable[[str], None]

    def send(
        self, run: RunResult, mappings: Sequence[Mapping], open_state: OpenState, now: Callable[[], datetime]
    ) -> None:
        """Post the news of a run to each webhook that it concerns, and save what the webhooks accepted.

        `mappings` are all enabled mappings of the project. `now` returns the time of the warehouse in UTC.
        """
        if not self.settings:
            return
        webhooks = webhook_ids(self.settings)
        known = self._read(webhooks, open_state, now)
        found = outcomes(run, mappings, known.now)
        rows: list[AlertRow] = []
        posts = []
        for alert, webhook in zip(self.settings, webhooks, strict=True):
            concerns = list(news(alert, webhook, found, known))
            rows += [one.row(webhook, known.now) for one in concerns if one.event == SEEN]
            posts.append(list(bodies(alert, [one for one in concerns if one.event != SEEN], run, self.place)))
        for webhook, accepted in zip(webhooks, self._post(posts), strict=True):
            rows += [one.row(webhook, known.now) for body in accepted for one in body.concerns]
        # saved without the earlier state, every problem would start now
        if rows and known.is_known:
            self._save(rows, open_state)

    def send_error(self, error: Exception) -> None:
        """Post the error that ended a run before its syncs, to each webhook for failures. No state is read or saved."""
        # the text of an unexpected exception may have values of rows
        what = str(error) if isinstance(error, SegconnError) else f"an unexpected {type(error).__name__}"
        self._post([[error_body(one, what, self.place)] if "failed" in one.when else [] for one in self.settings])

    def _read(self, webhooks: Sequence[str], open_state: OpenState, now: Callable[[], datetime]) -> Known:
        try:
            with open_state() as state:
                last_alerts = {(row.mapping_id, row.webhook): row for row in state.last_alerts(webhooks)}
                return Known(now(), last_alerts, state.last_ends())
        except Exception as error:  # noqa: BLE001  a failing warehouse is itself a reason for alerts
            self.warn(
                f"the state of alerts cannot be read, so each run alerts on failures again, and stale or recovered "
                f"mappings are not alerted: {message_of(error)}"
            )
            return Known(now(), {}, {}, is_known=False)

    def _save(self, rows: Sequence[AlertRow], open_state: OpenState) -> None:
        try:
            with open_state() as state:
                state.append(state.alerts, rows)
        except Exception as error:  # noqa: BLE001  what was posted stays posted
            self.warn(f"the state of alerts was not saved, so the next run repeats these alerts: {message_of(error)}")

    def _post(self, posts: Sequence[Sequence[Body]]) -> list[list[Body]]:
        """Post to all webhooks at the same time, in order for each, and wait TIMEOUT_SECONDS at most.

        Return the bodies that each webhook accepted.
        """
        accepted: list[list[Body]] = [[] for _ in posts]
        reasons: list[str | None] = [f"no answer in {TIMEOUT_SECONDS:.0f} seconds"] * len(posts)

        def post(at: int) -> None:
            reasons[at] = _post_in_order(self.settings[at], posts[at], accepted[at])

        # daemon threads: a webhook that answers one byte a second must not keep the process alive
        waiting = [at for at, many in enumerate(posts) if many]
        threads = [threading.Thread(target=post, args=(at,), name="segconn-alert", daemon=True) for at in waiting]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        final = [list(many) for many in accepted]  # copies: a thread that is late may still append
        for at in waiting:
            if reason := reasons[at]:
                alert, count = self.settings[at], len(posts[at])
                host = urlsplit(alert.url.get_secret_value()).hostname
                some = f" ({len(final[at])} of {count} events were)" if count > 1 else ""
                self.warn(f"alert {at + 1} ({alert.format}, {host}) was not delivered{some}: {reason}")
        return final


def _post_in_order(alert: AlertSettings, many: Sequence[Body], accepted: list[Body]) -> str | None:
    """Post each body once, and add it to `accepted` if the status is 2xx.

    Stop at the first failure and return its reason, without any part of the URL.
    """
    try:
        headers = {name: value.get_secret_value() for name, value in alert.headers.items()}
        headers["Content-Type"] = "application/json"
        url, timeout = alert.url.get_secret_value(), (TIMEOUT_SECONDS, TIMEOUT_SECONDS)
        with closing(Connection(url, headers, timeout=timeout)) as connection:
            for body in many:
                status = connection.post(body.content).status
                if not 200 <= status < 300:
                    return f"HTTP status {status}"
                accepted.append(body)
    except NoResponseError as error:
        return classify_error(error).reason
    except Exception as error:  # noqa: BLE001  an alert never ends a run
        return type(error).__name__
    return None
