"""One request to the Tracking API → an answer."""

from __future__ import annotations

import base64
import gzip
import json

from dbt_segconn.delivery.answers import Answer, Lost, Unauthorized, classify, meaning_of
from dbt_segconn.delivery.connection import Connection, Unanswered
from dbt_segconn.delivery.destination import Target
from dbt_segconn.delivery.oauth import Token, Tokens


class TrackingApi:
    """A connection of one thread to a destination, by https://api.segment.io/v1/batch or its like.

    With `tokens`, a bearer token stands in the header and the write key in the body, as Segment's SDKs have
    it. Raises ValueError for a write key that cannot be sent.
    """

    def __init__(self, target: Target, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._gzip = target.gzip
        headers = {"Content-Type": "application/json"}
        if target.gzip:
            headers["Content-Encoding"] = "gzip"
        if not tokens:
            headers["Authorization"] = f"Basic {base64.b64encode(f'{target.write_key}:'.encode()).decode()}"
        # some bytes more than a batch has counted, far below the 25 KB that it leaves to Segment's limit
        self._opening = f'{{"writeKey":{json.dumps(target.write_key, ensure_ascii=False)},'.encode() if tokens else b"{"
        self._connection = Connection(f"{target.endpoint}/v1/batch", headers)

    def post(self, body: bytes) -> Answer:
        """Send one batch: a JSON object."""
        data = self._opening + body[1:] if self._tokens else body
        if self._gzip:
            data = gzip.compress(data, compresslevel=5)
        return self._authorized(data, self._tokens) if self._tokens else self._send(data)

    def _authorized(self, data: bytes, tokens: Tokens) -> Answer:
        """Send it with a token, and with another one where that token should have been good and is not."""
        for _ in range(2):
            token = tokens.get()
            if not isinstance(token, Token):
                return token
            answer = self._send(data, token)
            if not isinstance(answer, Unauthorized):
                return answer
            tokens.drop(token)
        return Lost(
            "it refused two access tokens, the second of them new; is the OAuth application in Segment connected to "
            "the source of this write key, with the `scope` of segconn.yml?"
        )

    def _send(self, data: bytes, token: Token | None = None) -> Answer:
        try:
            reply = self._connection.post(data, token.headers if token else None)
        except Unanswered as error:
            return meaning_of(error)
        return classify(reply.status, reply.headers)

    def abort(self) -> None:
        """End the request under way, and all later ones, from another thread."""
        self._connection.abort()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
