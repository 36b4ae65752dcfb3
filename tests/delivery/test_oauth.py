"""OAuth: a real token host that verifies what it is asked with, and an API that takes its tokens alone."""

from __future__ import annotations

import json
import sys
import threading
import time
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from leaks import locals_of
from standing import ADA, BOB, MAPPING, WRITE_KEY, Api, serving

from dbt_segconn.delivery import Delivery, Destination, DestinationConfig, tracking_api
from dbt_segconn.delivery.answers import Unknown
from dbt_segconn.delivery.destination import RENEWED_AGAIN_SECONDS, OAuth, Tokens
from dbt_segconn.errors import DeliveryError


def pem(key, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


KEY = rsa.generate_private_key(65537, 2048)
CLIENT, KEY_ID, SCOPE = "client-8Gt", "kid-44", "tracking_api:write"


class TokenHost(Api):
    """Gives tokens for assertions that the public key verifies, each used once; `valid` are those to be taken."""

    def __init__(self):
        super().__init__()
        self.lifetime = 3600.0
        self.given: list[str] = []
        self.valid: dict[str, float] = {}
        self.objections: list[str] = []
        self._used: set[str] = set()

    def take(self, raw, headers):
        with self.guard:
            fault = self.faults.pop(0) if self.faults else None
            self.sizes.append(len(raw))
            if fault:
                return fault
            try:
                self.check(parse_qs(raw.decode(), strict_parsing=True), headers)
            except (AssertionError, jwt.InvalidTokenError) as error:
                self.objections.append(repr(error))
                return 400, {}, b'{"error":"invalid_request"}'
            token = f"token-{len(self.given)}-Vq2secret"
            self.given.append(token)
            self.valid[token] = time.monotonic() + self.lifetime
        answer = {"access_token": token, "expires_in": self.lifetime, "scope": SCOPE, "token_type": "Bearer"}
        return 200, {}, json.dumps(answer).encode()

    def check(self, form, headers):
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert "Authorization" not in headers
        assert form["grant_type"] == ["client_credentials"]
        assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
        assert form["scope"] == [SCOPE]
        (assertion,) = form["client_assertion"]
        assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}
        claims = jwt.decode(
            assertion,
            KEY.public_key(),
            ["RS256"],
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False},
        )
        now = time.time() + self.clock_ahead
        assert claims["sub"] == claims["iss"] == CLIENT
        assert claims["aud"] + "/token" == self.url
        assert claims["iat"] <= now < claims["exp"] <= claims["iat"] + 60
        assert claims["jti"] not in self._used
        self._used.add(claims["jti"])


@pytest.fixture
def host(api):
    """A token host whose tokens the API asks for, with the write key in the body."""
    host = TokenHost()
    take = api.take

    def authorized(raw, headers):
        kind, _, token = headers["Authorization"].partition(" ")
        if json.loads(raw).get("writeKey") != WRITE_KEY or kind != "Bearer":
            return 403
        if host.valid.get(token, 0) < time.monotonic():
            api.sizes.append(len(raw))
            return 401
        return take(raw, headers)

    api.take = authorized
    with serving(host) as url:
        host.url = f"{url}/token"
        yield host


def oauth(host):
    return OAuth(CLIENT, KEY_ID, pem(KEY), host.url, SCOPE)


@pytest.fixture
def secure(shop, host, monkeypatch):
    """The shop, with an OAuth application beside its write key."""
    monkeypatch.setenv("PRIVATE_KEY", pem(KEY))
    monkeypatch.setattr(tracking_api, "BACKOFF_SECONDS", 0.001)
    shop.settings(oauth=settings(host))
    shop.manifest(MAPPING)
    return shop


def settings(host, **changes):
    return {
        "client_id": CLIENT,
        "key_id": KEY_ID,
        "private_key": "{{ env_var('PRIVATE_KEY') }}",
        "token_url": host.url,
        **changes,
    }


# --- Through the command line ---------------------------------------------------------------------


def test_a_sync_is_delivered_by_a_token_with_the_write_key_in_the_body(secure, api, host):
    secure.settings(oauth=settings(host), gzip=True)
    result = secure.resync(ADA, BOB)
    assert result.exit_code == 0, result.output + "".join(host.objections)
    assert len(api.accepted) == 2
    assert [body["writeKey"] for body in api.bodies] == [WRITE_KEY]
    assert api.headers[0]["Authorization"] == f"Bearer {host.given[0]}"
    assert len(host.given) == 1


def test_a_private_key_on_one_line_is_read(secure, api, monkeypatch):
    monkeypatch.setenv("PRIVATE_KEY", pem(KEY).replace("\n", "\\n"))
    assert secure.resync(ADA).exit_code == 0
    assert len(api.accepted) == 1


def test_a_revoked_application_is_told_with_what_to_check_and_the_next_run_goes_on(secure, api, host):
    host.faults = [(401, {}, b'{"error":"unauthorized_client"}')]
    result = secure.resync(ADA)
    assert result.exit_code == 1
    assert "the OAuth application was rejected with HTTP status 401. Check `client_id`, `key_id`" in result.output
    assert "unauthorized_client" not in result.output
    assert (len(host.sizes), api.received) == (1, [])
    assert secure.segconn("run", "--all").exit_code == 0
    assert len(api.accepted) == 1


def test_a_clock_that_is_wrong_by_an_hour_is_put_right_by_the_hosts(secure, api, host):
    host.clock_ahead = 3600
    assert secure.resync(ADA).exit_code == 0
    assert (len(host.sizes), len(host.given)) == (2, 1)


@pytest.mark.parametrize("fault", [503, "reset", (200, {}, b"<html>"), (200, {}, b'{"access_token": 3}')])
def test_a_passing_fault_of_the_token_host_loses_nothing(secure, api, host, fault):
    host.faults = [fault, fault]
    assert secure.resync(ADA).exit_code == 0
    assert (len(host.sizes), len(api.accepted)) == (3, 1)


def test_a_pause_that_the_token_host_asks_for_is_kept(secure, api, host):
    host.faults = [(429, {"Retry-After": "1"})]
    started = []
    take = host.take
    host.take = lambda raw, headers: started.append(time.monotonic()) or take(raw, headers)
    result = secure.resync(ADA)
    assert "asks for a pause of 1 s" in result.output
    assert started[1] - started[0] >= 1
    assert len(api.accepted) == 1


def test_a_token_url_that_nobody_answers_or_that_is_wrong_is_named(secure, host):
    secure.settings(oauth=settings(host, token_url="http://127.0.0.1:9/token"))
    assert "no access token from http://127.0.0.1:9/token: connection refused, 5 times" in secure.resync(ADA).output
    secure.settings(oauth=settings(host))
    host.faults = [404]
    again = secure.segconn("run", "--all")
    assert "unexpected HTTP status 404; check `token_url` and `region` in segconn.yml" in again.output


def test_without_the_extra_a_run_says_how_to_install_it_before_anything_is_sent(secure, api, host, monkeypatch):
    secure.table(ADA)
    for module in ("jwt", "cryptography", "cryptography.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    result = secure.segconn("run", "--all")
    assert result.exit_code == 2
    assert "pip install 'dbt-segconn[oauth]'" in result.output
    assert (host.sizes, api.sizes) == ([], [])
    assert secure.segconn("validate").exit_code == 0
    secure.settings(oauth=settings(host), enabled=False)
    assert secure.segconn("run", "--all").exit_code == 0


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("nonsense", "must be an RSA private key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "must be an RSA private key"),
        (pem(KEY, b"passphrase"), "without a passphrase"),
        (pem(rsa.generate_private_key(65537, 1024)), "must be an RSA key of at least 2048 bits, not 1024"),
    ],
    ids=["nonsense", "elliptic", "passphrase", "short"],
)
def test_a_key_of_the_wrong_kind_is_found_in_the_files(secure, monkeypatch, key, words):
    monkeypatch.setenv("PRIVATE_KEY", key)
    secure.manifest()
    result = secure.segconn("validate")
    assert result.exit_code == 1
    assert "destinations.app.oauth.private_key: " in result.output
    assert words in result.output
    assert (key[30:60] or key) not in result.output


# --- Many senders, one token ----------------------------------------------------------------------


def deliver(api, call, host, count=20_000, **options):
    """Deliver this number of calls through 8 senders."""
    options |= {"events_per_second": None, "concurrency": 8, "oauth": oauth(host)}
    config = DestinationConfig("app", WRITE_KEY, api.url, **options)
    with Delivery(Destination(config, jitter=lambda low, _: low), start_after=0, stop=threading.Event()) as delivery:
        numbers = range(1, count + 1)
        delivery.send(numbers, [call(n) for n in numbers])
        delivery.finish()


def test_eight_senders_ask_for_one_token(api, call, host):
    host.delay = 0.2
    deliver(api, call, host)
    assert len(api.accepted) == 20_000
    assert (len(host.sizes), len(host.given)) == (1, 1)


def test_eight_senders_that_wait_for_a_token_share_its_failure(api, call, host):
    host.delay, host.faults = 0.3, [401]
    with pytest.raises(DeliveryError, match="the OAuth application was rejected"):
        deliver(api, call, host)
    assert len(host.sizes) == 1


def test_tokens_that_expire_in_the_middle_of_a_sync_are_renewed(api, call, host):
    host.lifetime, api.delay = 2.0, 0.4
    deliver(api, call, host, 100_000)
    assert len(api.accepted) == len(api.received) == 100_000
    assert len(host.given) >= 2


def test_a_token_that_the_api_refuses_is_replaced_once(api, call, host):
    take = api.take

    def revoking(raw, headers):
        if len(api.bodies) >= 2:
            host.valid.pop(host.given[0], None)
        return take(raw, headers)

    api.take = revoking
    deliver(api, call, host, 50_000)  # more batches than senders: some are sent after it was revoked
    assert len(api.accepted) == len(api.received) == 50_000
    assert len(host.given) == 2


def test_an_api_that_refuses_new_tokens_too_ends_the_delivery(api, call, host):
    api.take = lambda raw, _: api.sizes.append(len(raw)) or 401
    with pytest.raises(DeliveryError, match="two access tokens were rejected") as caught:
        deliver(api, call, host, 1)
    assert (len(api.sizes), len(host.given)) == (2, 2)
    assert not any(token in str(caught.value) for token in host.given)


# --- On a clock that a test moves -----------------------------------------------------------------


def test_a_token_is_renewed_ahead_of_its_expiry_and_used_on_while_that_fails(host):
    now = [0.0]
    tokens = Tokens(oauth(host), clock=lambda: now[0])
    first = tokens.get().text
    now[0] = 1799
    assert tokens.get().text == first
    now[0] = 1801
    host.faults = [503]
    assert tokens.get().text == first, "it is still good"
    now[0] += RENEWED_AGAIN_SECONDS - 1
    assert tokens.get().text == first
    assert len(host.sizes) == 2
    now[0] += 2
    assert tokens.get().text == host.given[1] != first
    host.faults = [503]
    now[0] += 3599
    assert tokens.get() == Unknown(f"no access token from {host.url}: HTTP status 503")


def test_nothing_of_it_is_shown():
    key = pem(KEY)
    application = OAuth(CLIENT, KEY_ID, key, "http://x/token", SCOPE)
    config = DestinationConfig("app", WRITE_KEY, "http://127.0.0.1:9", oauth=application)
    destination = Destination(config)
    assert key[30:60] not in repr([config, destination, destination.tokens, vars(destination)])


def test_a_bug_below_shows_no_key_and_no_token_in_the_locals_of_its_traceback(api, call, host, monkeypatch):
    monkeypatch.setattr("dbt_segconn.delivery.tracking_api.classify", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        deliver(api, call, host, 1, gzip=True)
    shown = "".join(locals_of(caught.value))
    assert "_authorized" in shown
    assert not [key for key in (WRITE_KEY, host.given[0], pem(KEY)[30:60]) if key in shown]
