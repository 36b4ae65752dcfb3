"""segconn.yml: the destinations and where their state is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.findings import NO_SETTINGS, NOT_RENDERED, Fault, Finding, InvalidProject
from dbt_segconn.project.jinja import Jinja
from dbt_segconn.project.strict_model import Strict, read
from dbt_segconn.project.urls import ENDPOINTS, URL_SCHEMA, WEBHOOK_SCHEMA, check_endpoint, check_http, check_plain
from dbt_segconn.project.yaml_file import Position, compose, entries, get, load_yaml, position

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
        raise ValueError("is empty. Set it to the write key of an HTTP API source, by env_var() rather than as text")
    return key


def _is_rsa_key(key: SecretStr) -> SecretStr:
    """Check a private key as far as what is installed can; the run itself needs the extra `oauth`."""
    pem = key.get_secret_value().replace("\\n", "\n")  # as many keep it in the environment, on one line
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
        raise ValueError(  # noqa: TRY004  what pydantic takes for a problem of the user's
            "is not an RSA private key: PEM text without a passphrase, beginning with -----BEGIN PRIVATE KEY----- "
            "or -----BEGIN RSA PRIVATE KEY-----"
        )
    if loaded.key_size < RSA_BITS:
        raise ValueError(f"has {loaded.key_size} bits; Segment needs an RSA key of {RSA_BITS} bits or more")
    return SecretStr(pem)


def _unlimited(value: Any) -> Any:
    return math.inf if value == "unlimited" else value


# What the validator above says, for editors
_RATE = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "unlimited"}]}


class OAuthSettings(Strict):
    """An OAuth application of Segment, which stands beside the write key: its calls carry a bearer token."""

    client_id: Annotated[str, Field(min_length=1)]
    """Id of the OAuth application."""
    key_id: Annotated[str, Field(min_length=1)]
    """Id that Segment gave the public key of `private_key`."""
    private_key: Annotated[SecretStr, AfterValidator(_is_rsa_key)]
    """RSA private key as PEM text; take it from the environment: "{{ env_var('SEGMENT_PRIVATE_KEY') }}"."""
    scope: Annotated[str, Field(min_length=1)] = "tracking_api:write"
    """What the token is asked for."""
    token_url: Annotated[str | None, AfterValidator(check_plain), WithJsonSchema(URL_SCHEMA)] = None
    """URL that overrides the region's token endpoint."""


class DestinationSettings(Strict):
    """A Segment source reached by a write key."""

    write_key: Annotated[SecretStr, AfterValidator(_not_blank), WithJsonSchema({"type": "string", "pattern": r"\S"})]
    """Write key of an HTTP API source; take it from the environment: "{{ env_var('SEGMENT_WRITE_KEY') }}"."""
    region: Literal["us-west-2", "eu-west-1"] = "us-west-2"
    """Where the Segment workspace lives; the wrong region gives no error and no data."""
    endpoint: Annotated[str | None, AfterValidator(check_endpoint), WithJsonSchema(URL_SCHEMA)] = None
    """Base URL that overrides the region's, such as a proxy or the local debugger."""
    enabled: bool = True
    """Whether mappings deliver to it; a disabled destination's mappings are listed as skipped."""
    events_per_second: Annotated[float, BeforeValidator(_unlimited), Field(gt=0), WithJsonSchema(_RATE)] = 1000
    """Most events a second, or `unlimited`; Segment's limit for a workspace is 1,000 unless they raised yours."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 12
    """Requests in flight at once."""
    gzip: bool = False
    """Compress requests: less traffic, more CPU."""
    oauth: OAuthSettings | None = None
    """Where the source asks for OAuth; needs the extra dbt-segconn[oauth]."""

    @property
    def base_url(self) -> str:
        """The URL under which /v1/batch stands."""
        return (self.endpoint or ENDPOINTS[self.region]).rstrip("/")

    @property
    def token_url(self) -> str:
        """The URL that gives access tokens."""
        return (self.oauth and self.oauth.token_url) or TOKEN_URLS[self.region]


class StateSettings(Strict):
    """Where records, outboxes and the history of syncs are kept."""

    database: str | None = None
    """Database of the state schema; the target's where left out."""
    schema_: Annotated[str, Field(alias="schema", min_length=1)] = "segconn"
    """Schema of the state tables, created when missing."""


class ConsentSettings(Strict):
    """What holds for the consent of all records."""

    required: bool = False
    """Whether each mapping has to name consent columns, by itself or by its model, or to say `consent: not_needed`."""
    without_value: Literal["send", "skip"] = "send"
    """Whether records are sent that say nothing of any category: with every preference withheld, or not at all."""


Count = Annotated[int, Field(ge=0)]


class BudgetSettings(Strict):
    """Calls that may be made, by all mappings of this state schema together; what would pass it is blocked."""

    max_calls_per_run: Count | None = None
    """Most calls of one run."""
    max_calls_per_month: Count | None = None
    """Most calls of a calendar month in UTC, as the history of syncs counts them."""


class Price(Strict):
    """What a plan includes each month, and what is paid beyond it."""

    included: Count = 0
    """How much of it the plan includes each month."""
    price: Annotated[float, Field(ge=0)]
    """Price of `per` more of it."""
    per: Annotated[int, Field(ge=1)] = 1
    """How many are paid together, such as 1000."""


class PricingSettings(Strict):
    """What a Segment plan bills, by which `estimate` tells money."""

    currency: Annotated[str, Field(min_length=1)] = "USD"
    """Currency of the prices."""
    mtus: Price | None = None
    """Monthly tracked users; `included` is what your other sources leave over."""
    api_calls: Price | None = None
    """API calls; `included` is what your other sources leave over."""


def _is_webhook(url: SecretStr) -> SecretStr:
    check_http(url.get_secret_value())
    return url


class AlertSettings(Strict):
    """A webhook that hears of syncs which did not go well."""

    url: Annotated[SecretStr, AfterValidator(_is_webhook), WithJsonSchema(WEBHOOK_SCHEMA)]
    """URL of the webhook, which is a secret: "{{ env_var('SLACK_WEBHOOK') }}"."""
    format: Literal["slack", "json"] = "slack"
    """A message for an incoming webhook of Slack's, or the facts as JSON."""
    when: tuple[Literal["failed", "partial", "blocked"], ...] = ("failed", "partial", "blocked")
    """Statuses to hear of; a sync that dbt's failure kept back counts as failed."""
    delivery_rate_below: Annotated[float | None, Field(gt=0, le=100)] = None
    """Hear also of syncs that confirmed less than this percentage of the records that they were to send."""
    mappings: tuple[str, ...] = ()
    """Only these mappings, by `model.mapping` or by the mapping's name alone; all of them where left out."""

    @model_validator(mode="before")
    @classmethod
    def _no_on(cls, given: Any) -> Any:
        if isinstance(given, dict) and True in given:
            raise ValueError("YAML reads the key `on` as true. Write `when: [failed, partial, blocked]`")
        return given


class Settings(Strict):
    """The whole of segconn.yml."""

    destinations: Annotated[dict[str, DestinationSettings], Field(min_length=1)]
    """Destinations by the name that mappings use."""
    state: StateSettings = StateSettings()
    """Where state is kept."""
    consent: ConsentSettings = ConsentSettings()
    """What holds for the consent of all records."""
    budget: BudgetSettings = BudgetSettings()
    """Calls that may be made, by a run and by a month."""
    pricing: PricingSettings | None = None
    """What your Segment plan bills, for `estimate`."""
    alerts: tuple[AlertSettings, ...] = ()
    """Webhooks that hear of syncs which did not go well."""


def read_settings(project_dir: Path, jinja: Jinja) -> Settings:
    """Read segconn.yml beside dbt_project.yml, rendered with dbt's own Jinja.

    Raises InvalidProject with every problem found.
    """
    found = _read(project_dir / FILE_NAME, jinja)
    if isinstance(found, Settings):
        return found
    raise InvalidProject(found)  # here and not below: no local of a traceback holds a key as text


def _read(path: Path, jinja: Jinja) -> Settings | tuple[Finding, ...]:
    """Return the settings, or what is wrong with them."""
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
    unknown = {fault.path for fault in unrendered}  # whether what they would be is right, nobody can say
    faults = [*unrendered, *(fault for fault in faults if fault.path not in unknown)]
    return _placed(faults, text)


def findings_in_settings(project_dir: Path, faults: Iterable[Fault]) -> tuple[Finding, ...]:
    """Put faults that were found by looking at more than segconn.yml in their places there."""
    return _placed(faults, _text(project_dir / FILE_NAME))


def written_state(project_dir: Path) -> StateSettings:
    """Return where the state is kept as segconn.yml says it, before Jinja: dbt renders it alike in its own YAML."""
    node = get(compose(_text(project_dir / FILE_NAME)), "state")
    return StateSettings(
        **{name: value.value for name, _, value in entries(node) if isinstance(value, yaml.ScalarNode)}
    )


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
        message, fix = f"cannot be read: {error}", ""
    raise InvalidProject([Finding(NO_SETTINGS, message, fix, FILE_NAME)])


def _placed(faults: Iterable[Fault], text: str) -> tuple[Finding, ...]:
    node = compose(text)
    return tuple(_finding(fault, position(node, fault.path) if node else None) for fault in faults)


def _finding(fault: Fault, where: Position | None) -> Finding:
    path = fault.path or ("the whole file",)
    line, column = (where.line, where.column) if where else (None, None)
    return Finding(fault.rule, fault.message, fault.fix, FILE_NAME, line, column, path=path)


def _render(value: Any, path: tuple[str, ...], jinja: Jinja, faults: list[Fault]) -> Any:
    """Render every text in the tree, as dbt renders profiles.yml; what fails is added to `faults`."""
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
