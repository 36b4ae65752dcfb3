"""segconn.yml: destinations, state schema, consent, budgets, prices and alerts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.findings import NO_SETTINGS, NOT_RENDERED, Fault, Finding, InvalidProject
from dbt_segconn.project.jinja import Jinja
from dbt_segconn.project.spec_integrations import Integrations
from dbt_segconn.project.strict_model import (
    DURATION_SCHEMA,
    ENDPOINTS,
    URL_SCHEMA,
    WEBHOOK_SCHEMA,
    Strict,
    check_endpoint,
    check_http,
    check_plain,
    duration_in,
    read,
)
from dbt_segconn.project.yaml_file import compose, entries, get, load_yaml, position

FILE_NAME = "segconn.yml"

# https://segment.com/docs/connections/oauth/
TOKEN_URLS = {
    "us-west-2": "https://oauth2.segment.io/token",
    "eu-west-1": "https://oauth2.eu1.segmentapis.com/token",
}
# https://www.rfc-editor.org/rfc/rfc7518#section-3.3 : RS256 needs a key of this size or larger
RSA_BITS = 2048


def _not_blank(key: SecretStr) -> SecretStr:
    if not key.get_secret_value().strip():
        raise ValueError("must not be empty. Set it to the write key of an HTTP API source, with env_var()")
    return key


def _is_rsa_key(key: SecretStr) -> SecretStr:
    """Return a private key with line ends. Check it if the extra `oauth` is installed, which a run requires."""
    pem = key.get_secret_value().replace("\\n", "\n")  # environment variables often hold it on one line
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        return SecretStr(pem)
    try:
        loaded = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, RSAPrivateKey):
        raise ValueError(  # noqa: TRY004  pydantic reports ValueError to the user
            "must be an RSA private key: PEM text without a passphrase, starting with -----BEGIN PRIVATE KEY----- "
            "or -----BEGIN RSA PRIVATE KEY-----"
        )
    if loaded.key_size < RSA_BITS:
        raise ValueError(f"must be an RSA key of at least {RSA_BITS} bits, not {loaded.key_size}")
    return SecretStr(pem)


def _unlimited(value: Any) -> Any:
    return math.inf if value == "unlimited" else value


def _as_off(value: Any) -> Any:
    return "off" if value is False else value  # YAML 1.1 reads the word off as false


# JSON Schema of _unlimited(), for editors
_RATE = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "unlimited"}]}


class OAuthSettings(Strict):
    """An OAuth application of Segment, used in addition to the write key: requests carry a bearer token."""

    client_id: Annotated[str, Field(min_length=1)]
    """Id of the OAuth application."""
    key_id: Annotated[str, Field(min_length=1)]
    """Segment's id of the public key that belongs to `private_key`."""
    private_key: Annotated[SecretStr, AfterValidator(_is_rsa_key)]
    """RSA private key of at least 2048 bits, as PEM text without a passphrase; `\\n` may replace line ends. Take it
    from the environment: "{{ env_var('SEGMENT_PRIVATE_KEY') }}"."""
    scope: Annotated[str, Field(min_length=1)] = "tracking_api:write"
    """Scope that the access token requests."""
    token_url: Annotated[str, AfterValidator(check_plain), WithJsonSchema(URL_SCHEMA)] | None = None
    """URL of the token endpoint. Default: the region's."""


class DestinationSettings(Strict):
    """A Segment source reached by a write key."""

    # SecretStr shows stars in messages, logs and stack traces
    write_key: Annotated[SecretStr, AfterValidator(_not_blank), WithJsonSchema({"type": "string", "pattern": r"\S"})]
    """Write key of an HTTP API source; take it from the environment: "{{ env_var('SEGMENT_WRITE_KEY') }}"."""
    region: Literal["us-west-2", "eu-west-1"] = "us-west-2"
    """Region of the Segment workspace. The wrong region gives no error and no data."""
    endpoint: Annotated[str, AfterValidator(check_endpoint), WithJsonSchema(URL_SCHEMA)] | None = None
    """Base URL of a proxy or of the local debugger, without /v1/batch, credentials, query or fragment. Default: the
    region's."""
    enabled: bool = True
    """Whether mappings deliver to this destination. A run lists the mappings of a disabled destination as skipped."""
    events_per_second: Annotated[float, BeforeValidator(_unlimited), Field(gt=0), WithJsonSchema(_RATE)] = 1000
    """Maximum calls per second, or `unlimited`. Segment limits a workspace to 1,000 unless it raised your limit."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 12
    """Maximum requests in flight."""
    gzip: bool = False
    """Compress requests: less traffic, more CPU time."""
    deny: tuple[str, ...] = ()
    """Labels of columns that must not reach this destination as plain values, such as `[pii, sensitivity=high]`: keys
    of a column's `meta`, also with a value, its tags, and its classifiers in dbt 2. `@hash` lets a column pass."""
    integrations: Integrations | None = None
    """Segment destinations that receive the calls: the Spec's `integrations`, such as `{All: false, Amplitude: true}`.
    Names are case-sensitive."""
    oauth: OAuthSettings | None = None
    """OAuth application, for a source that requires OAuth. Needs the extra dbt-segconn[oauth]."""
    tracking_plan: Annotated[str, Field(min_length=1)] | None = None
    """File or folder of the tracking plan, relative to the project. Needs the extra dbt-segconn[tracking-plan]."""
    violations: Annotated[Literal["discard", "warn", "off"], BeforeValidator(_as_off)] = "warn"
    """What happens to calls that violate the tracking plan: `discard` them, `warn` and send them, or `off`."""

    @model_validator(mode="after")
    def _check_violations(self) -> DestinationSettings:
        # Without a tracking plan, no call would be checked
        if self.tracking_plan is None and self.violations != "off" and "violations" in self.model_fields_set:
            raise ValueError(
                f"`violations: {self.violations}` needs a `tracking_plan`. Name its file, or remove the key"
            )
        return self

    @property
    def base_url(self) -> str:
        """Base URL, to which the client adds /v1/batch."""
        return (self.endpoint or ENDPOINTS[self.region]).rstrip("/")

    @property
    def token_url(self) -> str:
        """URL of the token endpoint."""
        return (self.oauth and self.oauth.token_url) or TOKEN_URLS[self.region]


def _as_days(value: Any) -> timedelta:
    found = _DAYS.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if not found:
        raise ValueError("must be a number of days or weeks, such as `90 days`")
    return timedelta(**{f"{found[2]}s": int(found[1])})


_DAYS = re.compile(r"([1-9]\d{0,3}) ?(day|week)s?")
Days = Annotated[
    timedelta,
    BeforeValidator(_as_days),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9]\d{0,3} ?([Dd]ay|[Ww]eek)s?$"}),
]


class DeliverySettings(Strict):
    """The delivery log: a row for each confirmed call."""

    keep: Days
    """How long a row is kept: `90 days`, `12 weeks`. Each run deletes older rows."""


class StateSettings(Strict):
    """Schema of the state: records, outboxes and the history of syncs."""

    database: str | None = None
    """Database of the state schema. Default: the target's."""
    schema_: Annotated[str, Field(alias="schema", min_length=1)] = "segconn"
    """Schema of the state tables. A run creates it if it is missing."""
    deliveries: DeliverySettings | None = None
    """Delivery log in the table `deliveries`. Default: none is written."""


class ConsentSettings(Strict):
    """Rules for the consent of all records."""

    required: bool = False
    """Whether each mapping must have consent columns, its own or its model's, or `consent: not_needed`."""
    without_value: Literal["send", "skip"] = "send"
    """What happens to records without a clear value in any category: `send` them with all preferences withheld, or
    `skip` them."""


Count = Annotated[int, Field(ge=0)]


class BudgetSettings(Strict):
    """Maximum calls of all mappings that share the state schema. A sync that would exceed them is blocked."""

    max_calls_per_run: Count | None = None
    """Maximum calls of one run, all its mappings together. Default: no limit."""
    max_calls_per_month: Count | None = None
    """Maximum calls of a calendar month in UTC, counted by the history of syncs. Default: no limit."""


class Price(Strict):
    """What a Segment plan includes each month, and the price of more."""

    included: Count = 0
    """Number that your Segment plan includes each month."""
    price: Annotated[float, Field(ge=0)]
    """Price of `per` more."""
    per: Annotated[int, Field(ge=1)] = 1
    """Number of users or calls for `price`, such as 1000."""

    def beyond(self, units: int, before: int) -> int:
        """Return how many of the units exceed the included amount, after `before` units of this month."""
        return max(0, before + units - self.included) - max(0, before - self.included)

    def of(self, units: int) -> float:
        """Return the price of units beyond the included amount."""
        return units / self.per * self.price


class PricingSettings(Strict):
    """Prices of your Segment plan, from which `estimate` computes the costs of a run."""

    currency: Annotated[str, Field(min_length=1)] = "USD"
    """Currency of the prices."""
    mtus: Price | None = None
    """Monthly tracked users. `included` is the number left by your other sources."""
    api_calls: Price | None = None
    """API calls. `included` is the number left by your other sources."""


def _is_webhook(url: SecretStr) -> SecretStr:
    # Webhooks carry their token in the path or query, so only the form is checked
    check_http(url.get_secret_value())
    return url


def _as_duration(value: Any) -> timedelta:
    duration = value if isinstance(value, timedelta) else duration_in(value)
    if not duration:
        raise ValueError("must be a duration such as `30 minutes`, `12 hours` or `2 days`")
    return duration


Duration = Annotated[timedelta, BeforeValidator(_as_duration), WithJsonSchema(DURATION_SCHEMA)]


def _is_integration_key(key: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9A-Za-z]{32}", key.get_secret_value()):
        raise ValueError("must be the integration key of a service in PagerDuty: 32 letters and digits")
    return key


# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
# Headers of the request itself
_OWN_HEADERS = frozenset({"content-type", "content-length", "host", "transfer-encoding", "connection"})


def _check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not re.fullmatch(_HEADER_NAME, name):
            raise ValueError(f"must have names of HTTP headers, not {name!a}")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"must not contain {name}, which dbt-segconn sets itself. Remove it")
        # A line break in a value would begin another header
        if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value.get_secret_value()):
            raise ValueError(f"must have values of printable ASCII characters; the value of {name} is not, or is empty")
    return headers


class AlertSettings(Strict):
    """A webhook that is notified of mappings with problems."""

    model_config = ConfigDict(
        json_schema_extra={
            # For editors, the rules of _check_format()
            "if": {"properties": {"format": {"const": "pagerduty"}}, "required": ["format"]},
            "then": {"required": ["routing_key"]},
            "else": {"properties": {"routing_key": False, "severity": False}},
        }
    )

    url: Annotated[SecretStr, AfterValidator(_is_webhook), WithJsonSchema(WEBHOOK_SCHEMA)]
    """URL of the webhook. It is a secret, so take it from the environment: "{{ env_var('SLACK_WEBHOOK') }}"."""
    format: Literal["slack", "json", "pagerduty"] = "slack"
    """`slack` sends a message for an incoming webhook of Slack; `json` sends the results as JSON, with advice;
    `pagerduty` sends events of version 2 to the URL of PagerDuty, https://events.pagerduty.com/v2/enqueue ."""
    headers: Annotated[
        dict[str, SecretStr],
        AfterValidator(_check_headers),
        WithJsonSchema(
            {
                "type": "object",
                "propertyNames": {"pattern": _HEADER_NAME},
                "additionalProperties": {"type": "string", "minLength": 1},
            }
        ),
    ] = {}  # noqa: RUF012  a field of a frozen model
    """HTTP headers to send along. Their values are secrets, so take them from the environment."""
    routing_key: (
        Annotated[SecretStr, AfterValidator(_is_integration_key), WithJsonSchema({"type": "string", "minLength": 32})]
        | None
    ) = None
    """Integration key of a service in PagerDuty; a secret. Required for `format: pagerduty`, and only for it."""
    severity: Literal["critical", "error", "warning", "info"] = "error"
    """Severity of the events for PagerDuty."""
    when: tuple[Literal["failed", "partial", "blocked"], ...] = ("failed", "partial", "blocked")
    """Statuses that cause an alert. A mapping that was skipped because dbt failed counts as failed."""
    stale_after: Duration | None = None
    """Also alert on mappings that have had no successful or partial sync for so long, such as `2 days`."""
    # As text, because the reference prints the default
    remind_after: Duration = Field(default="1 day", validate_default=True)
    """A mapping that still has the same problem is alerted again after so long."""
    delivery_rate_below: Annotated[float | None, Field(gt=0, le=100)] = None
    """Also alert on syncs that confirmed a smaller percentage of the records to send."""
    mappings: tuple[str, ...] = ()
    """Only these mappings, by `mapping`, `model.mapping` or `package.model.mapping`. Default: all."""

    @model_validator(mode="before")
    @classmethod
    def _check_on(cls, value: Any) -> Any:
        # Without this, the error would be an unknown key `True`, which is not in the file
        if isinstance(value, dict) and True in value:
            raise ValueError("YAML reads the key `on` as true. Write `when: [failed, partial, blocked]`")
        return value

    @model_validator(mode="after")
    def _check_format(self) -> AlertSettings:
        if self.format == "pagerduty" and self.routing_key is None:
            raise ValueError("`format: pagerduty` needs a `routing_key`. Read it from the environment")
        for key in ("routing_key", "severity"):
            if self.format != "pagerduty" and key in self.model_fields_set:
                raise ValueError(f"`{key}` is only for `format: pagerduty`. Remove it, or set the format")
        return self


class Settings(Strict):
    """All keys of segconn.yml."""

    destinations: Annotated[dict[str, DestinationSettings], Field(min_length=1)]
    """Destinations, by the name that mappings use."""
    state: StateSettings = StateSettings()
    """Schema of the state tables."""
    consent: ConsentSettings = ConsentSettings()
    """Rules for the consent of all records."""
    budget: BudgetSettings = BudgetSettings()
    """Maximum calls of a run and of a month."""
    pricing: PricingSettings | None = None
    """Prices of your Segment plan, for `estimate`."""
    alerts: tuple[AlertSettings, ...] = ()
    """Webhooks that are notified of syncs with problems."""


def read_settings(project_dir: Path, jinja: Jinja) -> Settings:
    """Read segconn.yml, beside dbt_project.yml, and render its Jinja.

    Raises InvalidProject with all problems.
    """
    found = _read(project_dir / FILE_NAME, jinja)
    if isinstance(found, Settings):
        return found
    raise InvalidProject(found)  # raised here, because locals below hold keys as text


def _read(path: Path, jinja: Jinja) -> Settings | tuple[Finding, ...]:
    """Return the settings, or their findings."""
    try:
        text = _text(path)
        raw = load_yaml(text, FILE_NAME)
    except InvalidProject as error:
        return error.findings
    unrendered: list[Fault] = []
    rendered = _render(raw, (), jinja, unrendered)
    settings, faults = read(Settings, rendered)
    if settings is not None and not unrendered:
        return settings
    unknown = {fault.path for fault in unrendered}  # a value that was not rendered cannot be validated
    faults = [*unrendered, *(fault for fault in faults if fault.path not in unknown)]
    return tuple(_findings(faults, text))


def findings_in_settings(project_dir: Path, faults: Iterable[Fault]) -> tuple[Finding, ...]:
    """Return faults as findings with their position in segconn.yml."""
    return tuple(_findings(faults, _text(project_dir / FILE_NAME)))


def unrendered_state(project_dir: Path) -> StateSettings:
    """Return the state settings before Jinja, to copy them into a YAML file that dbt renders."""
    node = get(compose(_text(project_dir / FILE_NAME)), "state")
    texts = {name: value.value for name, _, value in entries(node) if isinstance(value, yaml.ScalarNode)}
    return StateSettings(**texts)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = "not found"
        fix = (
            f"Create it beside dbt_project.yml in {path.parent} with at least one destination:\n"
            "  destinations:\n    app:\n      write_key: \"{{ env_var('SEGMENT_WRITE_KEY') }}\""
        )
    except (OSError, UnicodeDecodeError) as error:
        message, fix = f"cannot be read: {error}", "Check the file's permissions and save it as UTF-8."
    raise InvalidProject([Fault(NO_SETTINGS, (), message, fix).found_in(FILE_NAME)])


def _findings(faults: Iterable[Fault], text: str) -> Iterator[Finding]:
    node = compose(text)
    for fault in faults:
        where = position(node, fault.path) if node else None
        yield replace(fault, path=fault.path or ("the whole file",)).found_in(FILE_NAME, where)


def _render(value: Any, path: tuple[str, ...], jinja: Jinja, faults: list[Fault]) -> Any:
    """Render all texts of a tree, as dbt renders profiles.yml. Errors are added to `faults`."""
    if isinstance(value, dict):
        return {key: _render(one, (*path, str(key)), jinja, faults) for key, one in value.items()}
    if isinstance(value, list):
        return [_render(one, (*path, str(at)), jinja, faults) for at, one in enumerate(value)]
    if not isinstance(value, str) or "{" not in value:
        return value
    try:
        return jinja.render(value)
    except ConfigurationError as error:
        faults.append(Fault(NOT_RENDERED, path, str(error).removesuffix(".")))
        return ""
