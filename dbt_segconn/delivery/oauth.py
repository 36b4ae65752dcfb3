"""OAuth access tokens: one per destination, shared by all its senders and renewed before it expires.

https://segment.com/docs/connections/oauth/ : client credentials with an assertion signed by RS256.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from dbt_segconn.delivery.answers import (
    Answer,
    Confirmed,
    Throttled,
    Unknown,
    Unusable,
    classify,
    classify_error,
    http_date,
)
from dbt_segconn.delivery.connection import Connection, NoResponseError, Response
from dbt_segconn.errors import ConfigurationError

# Segment accepts assertions that are valid for up to 60 seconds; its SDKs also backdate them a little
ASSERTION_SECONDS = 60
BACKDATED_SECONDS = 5
APPLICATION_REJECTED = frozenset({400, 401, 403, 415})
# An assertion tolerates a smaller clock skew
SKEW_SECONDS = 3
# Renew a token at this fraction of its lifetime, like Segment's SDKs; retry a failed renewal after this many seconds
RENEWED_AFTER = 0.5
RENEWED_AGAIN_SECONDS = 30.0
# Do not send a token shortly before it expires: the request takes time to arrive
SPARE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class OAuth:
    """An OAuth application of Segment: `private_key` is PEM text, `token_url` the full URL for tokens."""

    client_id: str
    key_id: str
    private_key: str = field(repr=False)
    token_url: str
    scope: str


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, with the times (of the clock) to renew it and to stop using it."""

    text: str = field(repr=False)
    renewed_at: float
    used_until: float

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that authorize a request."""
        return {"Authorization": f"Bearer {self.text}"}


def check_installed() -> None:
    """Raise ConfigurationError if the packages for OAuth are not installed."""
    try:
        import cryptography  # noqa: F401
        import jwt  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "segconn.yml: `oauth` of a destination needs more packages: pip install 'dbt-segconn[oauth]'"
        ) from None


class Tokens:
    """The tokens of one destination, shared by its senders. `clock` counts seconds, `now` is Unix time."""

    def __init__(
        self, oauth: OAuth, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._oauth = oauth
        self._clock = clock
        self._now = now
        self._skew = 0.0  # seconds by which Segment's clock is ahead
        self._token: Token | None = None
        self._renewals = 0
        self._answer: Answer = Unknown("no access token yet")
        self._guard = threading.Lock()

    def get(self) -> Token | Answer:
        """Return a valid token, or the failed answer to the request for one."""
        token, renewals = self._token, self._renewals
        if token and self._clock() < token.renewed_at:
            return token
        usable = token if token and self._clock() < token.used_until else None
        if isinstance(self._answer, Unusable):  # another request would fail, too
            return usable or self._answer
        # with a usable token, senders go on while one of them renews it
        if not self._guard.acquire(blocking=usable is None):
            return usable or self._answer  # another sender is renewing it
        try:
            if self._renewals == renewals:  # else another sender renewed it while this one waited
                self._renew(usable)
            return self._token or self._answer
        finally:
            self._guard.release()

    def discard(self, token: Token) -> None:
        """Stop using a token that the API rejected."""
        with self._guard:
            if self._token and self._token.text == token.text:
                self._token = None

    def _renew(self, usable: Token | None) -> None:
        """Request a new token; on failure, keep the old one while it is usable."""
        answer = self._request()
        if isinstance(answer, Token):
            self._token, self._answer = answer, Unknown("the access token was rejected")
        else:
            self._answer = answer
            self._token = usable and replace(usable, renewed_at=self._clock() + RENEWED_AGAIN_SECONDS)
        self._renewals += 1

    def _request(self) -> Token | Answer:
        """Send one request, and a second one if the clock skew had to be corrected."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            with closing(Connection(self._oauth.token_url, headers)) as connection:
                response = connection.post(self._form())
                if response.status in {400, 401} and self._correct_clock(response.headers.get("Date")):
                    response = connection.post(self._form())
        except NoResponseError as error:
            return self._explained(classify_error(error))
        answer = classify(response.status, response.headers)
        if isinstance(answer, Confirmed):
            return self._token_of(response)
        return self._explained(answer, response.status)

    def _form(self) -> bytes:
        return urlencode(
            {
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._assertion(),
                "scope": self._oauth.scope,
            }
        ).encode()

    def _assertion(self) -> str:
        import jwt

        issued_at = int(self._now() + self._skew) - BACKDATED_SECONDS
        # `iss` is optional in Segment's document; its SDKs send the client id. `aud` is the server without a path
        claims = {
            "iss": self._oauth.client_id,
            "sub": self._oauth.client_id,
            "aud": self._oauth.token_url.removesuffix("/token"),
            "iat": issued_at,
            "exp": issued_at + ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._oauth.private_key, algorithm="RS256", headers={"kid": self._oauth.key_id})

    def _correct_clock(self, date: str | None) -> bool:
        """Set the skew from the server's time; return whether it changed enough to matter."""
        server = http_date(date)
        if server is None:
            return False
        before, self._skew = self._skew, server.timestamp() - self._now()
        return abs(self._skew - before) > SKEW_SECONDS

    def _token_of(self, response: Response) -> Token | Answer:
        try:
            body: Any = response.json()
            text, seconds = body["access_token"], float(body["expires_in"])
        except (ValueError, TypeError, LookupError):
            text, seconds = None, 0.0
        if not isinstance(text, str) or not text:
            return self._explained(Unknown("no access token in the answer"))
        now = self._clock()
        return Token(text, now + seconds * RENEWED_AFTER, now + max(seconds - SPARE_SECONDS, seconds * RENEWED_AFTER))

    def _explained(self, answer: Answer, status: int | None = None) -> Answer:
        """Add the URL and what to check to a failed answer; no text that was sent or received: it may be secret."""
        place = f"no access token from {self._oauth.token_url}"
        if isinstance(answer, Throttled):
            return answer
        if isinstance(answer, Unknown):
            return replace(answer, reason=f"{place}: {answer.reason}")
        if status is None and isinstance(answer, Unusable):
            return Unusable(f"{place}: {answer.reason}")
        if status not in APPLICATION_REJECTED:
            return Unusable(f"{place}: unexpected HTTP status {status}; check `token_url` and `region` in segconn.yml")
        return Unusable(
            f"{place}: the OAuth application was rejected with HTTP status {status}. Check `client_id`, `key_id`, "
            "`scope` and `region` in segconn.yml, that `private_key` belongs to this `key_id`, that the application "
            "is not revoked in Segment, and the clock of this machine"
        )
