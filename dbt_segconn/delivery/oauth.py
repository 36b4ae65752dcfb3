"""Access tokens of a destination: one for all its senders, renewed before it expires.

https://segment.com/docs/connections/oauth/ : client credentials, by an assertion signed with RS256.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from dbt_segconn.delivery.answers import Answer, Confirmed, Lost, Throttled, Unknown, classify, meaning_of
from dbt_segconn.delivery.connection import Connection, Reply, Unanswered
from dbt_segconn.errors import ConfigurationError

# Segment takes assertions that are valid for 60 seconds at most; like its SDKs, we begin a little in the past
ASSERTION_SECONDS = 60
BACKDATED_SECONDS = 5
REFUSED_APPLICATION = frozenset({400, 401, 403, 415})
# A clock that is wrong by less does not matter to an assertion
SKEW_SECONDS = 3
# A token is renewed after this share of its life, as Segment's SDKs do; one that cannot be renewed now is
# used as long as it is good, and asked for again so much later
RENEWED_AFTER = 0.5
RENEWED_AGAIN_SECONDS = 30.0
# So long before its end a token is not used any more: it has to arrive, too
SPARE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class OAuth:
    """An OAuth application of Segment: `private_key` is PEM text, `token_url` the whole URL of its tokens."""

    client_id: str
    key_id: str
    private_key: str = field(repr=False)
    token_url: str
    scope: str


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, used until then."""

    text: str = field(repr=False)
    renewed_at: float
    used_until: float

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that authorize a request."""
        return {"Authorization": f"Bearer {self.text}"}


def check_installed() -> None:
    """Raise ConfigurationError where what OAuth needs is not installed."""
    try:
        import cryptography  # noqa: F401
        import jwt  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "a destination of segconn.yml has `oauth`, which needs more packages: pip install 'dbt-segconn[oauth]'"
        ) from None


class Tokens:
    """The tokens of one destination, shared by its senders. `clock` counts seconds, `now` is Unix time."""

    def __init__(
        self, oauth: OAuth, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._oauth = oauth
        self._clock = clock
        self._now = now
        self._skew = 0.0  # seconds that Segment's clock is ahead of ours
        self._token: Token | None = None
        self._asked = 0
        self._answer: Answer = Unknown("no access token yet")
        self._guard = threading.Lock()

    def get(self) -> Token | Answer:
        """Return a token that is good now, or why there is none, to be dealt with as if a batch had met it."""
        token, asked = self._token, self._asked
        if token and self._clock() < token.renewed_at:
            return token
        usable = token if token and self._clock() < token.used_until else None
        if isinstance(self._answer, Lost):  # asking again would not help
            return usable or self._answer
        if not self._guard.acquire(blocking=usable is None):
            return usable or self._answer  # another sender is renewing it
        try:
            if self._asked == asked:  # else another sender has asked while this one was waiting
                self._ask(usable)
            return self._token or self._answer
        finally:
            self._guard.release()

    def drop(self, token: Token) -> None:
        """Use a token no more that the API has refused."""
        with self._guard:
            if self._token and self._token.text == token.text:
                self._token = None

    def _ask(self, usable: Token | None) -> None:
        """Ask for a new token; where there is none, go on with the old one while it is good."""
        answer = self._request()
        if isinstance(answer, Token):
            self._token, self._answer = answer, Unknown("its access token was refused meanwhile")
        else:
            self._answer = answer
            self._token = usable and replace(usable, renewed_at=self._clock() + RENEWED_AGAIN_SECONDS)
        self._asked += 1

    def _request(self) -> Token | Answer:
        """Ask once, and once more where the clock had to be put right first."""
        connection = Connection(self._oauth.token_url, {"Content-Type": "application/x-www-form-urlencoded"})
        try:
            reply = connection.post(self._form())
            if reply.status in {400, 401} and self._correct_clock(reply.headers.get("Date")):
                reply = connection.post(self._form())
        except Unanswered as error:
            return self._explained(meaning_of(error))
        finally:
            connection.close()
        answer = classify(reply.status, reply.headers)
        if isinstance(answer, Confirmed):
            return self._token_of(reply)
        return self._explained(answer, reply.status)

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
        """Take the server's time for right; says whether that makes a difference to an assertion."""
        try:
            server: datetime = parsedate_to_datetime(date or "")
        except (ValueError, TypeError, OverflowError):
            return False
        before, self._skew = self._skew, server.timestamp() - self._now()
        return abs(self._skew - before) > SKEW_SECONDS

    def _token_of(self, reply: Reply) -> Token | Answer:
        try:
            given: Any = reply.json()
            text, seconds = given["access_token"], float(given["expires_in"])
        except (ValueError, TypeError, LookupError):
            text, seconds = None, 0.0
        if not isinstance(text, str) or not text:
            return self._explained(Unknown("no access token in the answer"))
        now = self._clock()
        return Token(text, now + seconds * RENEWED_AFTER, now + max(seconds - SPARE_SECONDS, seconds * RENEWED_AFTER))

    def _explained(self, answer: Answer, status: int | None = None) -> Answer:
        """Say that it is the token that could not be had, and what to check; never what was sent or answered."""
        place = f"no access token from {self._oauth.token_url}"
        if isinstance(answer, Throttled):
            return answer
        if isinstance(answer, Unknown):
            return replace(answer, reason=f"{place}: {answer.reason}")
        if status is None and isinstance(answer, Lost):
            return Lost(f"{place}: {answer.reason}")
        if status not in REFUSED_APPLICATION:
            return Lost(f"{place}: it answered with HTTP status {status}; is `token_url` or `region` right?")
        return Lost(
            f"{place}: it refused the OAuth application with HTTP status {status}. Check `client_id`, `key_id`, "
            "`scope` and `region` in segconn.yml, that `private_key` belongs to this `key_id`, that the application "
            "has not been revoked in Segment, and this machine's clock"
        )
