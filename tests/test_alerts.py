"""Alerts: one POST to each webhook whose conditions hold. A failed POST does not change the run."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from standing import ADA, BOB, EVE, MAPPING, Api, serving

import dbt_segconn
from dbt_segconn.delivery import tracking_api
from dbt_segconn.engine import alerts

PATH = "/services/T0/B0/hookS3cret"


class Webhook(Api):
    """Keeps what was posted to it."""

    def __init__(self):
        super().__init__()
        self.posted = []

    def take(self, raw, headers):
        self.posted.append(json.loads(raw))
        assert headers["Content-Type"] == "application/json"
        assert "Authorization" not in headers
        return self.faults.pop(0) if self.faults else (200, {}, b"ok")


@pytest.fixture
def webhook():
    webhook = Webhook()
    with serving(webhook) as url:
        webhook.url = url + PATH
        yield webhook


@pytest.fixture
def alert(shop, webhook, monkeypatch):
    """Give the project alerts, each by its settings beside the URL."""
    monkeypatch.setenv("HOOK", webhook.url)
    monkeypatch.setattr(tracking_api, "BACKOFF_SECONDS", 0.001)
    shop.manifest(MAPPING)

    def add(*given):
        settings = yaml.safe_load((shop.dir / "segconn.yml").read_text())
        shop.write("segconn.yml", {**settings, "alerts": [{"url": "{{ env_var('HOOK') }}", **one} for one in given]})

    return add


def text(webhook):
    (posted,) = webhook.posted
    assert list(posted) == ["text"]
    return posted["text"]


def test_successful_run_sends_no_alert(shop, alert, webhook):
    alert({}, {"format": "json", "delivery_rate_below": 100})
    assert shop.resync(ADA, BOB).exit_code == 0
    assert webhook.posted == []


def test_a_failed_sync_is_told_to_slack_with_what_to_do(shop, alert, api, webhook):
    alert({})
    api.faults = [401]
    result = shop.resync(ADA, BOB)
    assert result.exit_code == 1
    heading, sync, message, advice = text(webhook).splitlines()
    assert heading == "*dbt-segconn* in `shop`: 1 of 1 sync needs a look"
    assert sync.startswith(
        "• *failed* `customers.identify_customers` to `app`, `models/customers.yml`: 0 of 2 confirmed"
    )
    assert "the write key was rejected with HTTP status 401" in message
    assert "run again" in advice
    assert "was not delivered" not in result.output.replace("What is not delivered", "")


def test_discards_and_guards_are_told_as_json_with_the_facts_of_the_artifact(shop, alert, webhook):
    alert({"format": "json"})
    guarded = {**MAPPING, "name": "guarded", "guards": {"max_records": 1}}
    picky = {**MAPPING, "name": "picky", "fields": {"user_id": "$plan"}}
    shop.manifest(MAPPING, guarded, picky)
    result = shop.resync(ADA, BOB, ("c4", "dan@example.com", None))
    (posted,) = webhook.posted
    artifact = result.artifact(shop.dir)
    told = {one["name"]: one for one in posted["results"]}
    for name, status, rate in (("customers.guarded", "blocked", 0), ("customers.picky", "partial", 66.67)):
        one = told.pop(name)
        assert (one.pop("file"), one.pop("delivery_rate")) == ("models/customers.yml", rate)
        assert one["status"] == status
        assert one.pop("advice")
        assert one in artifact["results"]
    assert told == {}
    assert posted["metadata"] == artifact["metadata"]
    assert (posted["project"], posted["success"], posted["error"]) == ("shop", False, None)


def test_alerts_filter_status_and_mapping(shop, alert, webhook):
    guarded = {**MAPPING, "name": "guarded", "guards": {"max_records": 1}}
    picky = {**MAPPING, "name": "picky", "fields": {"user_id": "$plan"}}
    shop.manifest(guarded, picky)
    alert(
        {"format": "json", "when": ["failed"]},
        {"format": "json", "when": ["blocked"]},
        {"format": "json", "mappings": ["picky"]},
        {"format": "json", "mappings": ["customers.guarded"], "when": ["partial"]},
        {"format": "json", "when": [], "delivery_rate_below": 50},
        {"format": "json", "when": [], "delivery_rate_below": 90},
    )
    shop.resync(ADA, BOB, ("c4", "dan@example.com", None))
    told = sorted(tuple(one["name"].split(".")[1] for one in posted["results"]) for posted in webhook.posted)
    assert told == [("guarded",), ("guarded",), ("guarded", "picky"), ("picky",)]


def test_unbuilt_model_is_reported(shop, alert, webhook):
    alert({})
    shop.rows(ADA)
    shop.write("models/customers.sql", "select * from nowhere")
    shop.dbt("run")
    assert shop.segconn("run").exit_code == 1
    assert "• *skipped* `customers.identify_customers`" in text(webhook)
    assert "dbt failed to build the model" in text(webhook)
    assert "confirmed" not in text(webhook)


@pytest.mark.parametrize("form", ["slack", "json"])
def test_a_run_that_cannot_get_to_its_syncs_is_told(shop, alert, webhook, form):
    alert({"format": form}, {"format": form, "when": ["partial"]})
    shop.rows(ADA)
    shop.dbt("run")
    shop.write("profiles.yml", {"other": {}})
    assert shop.segconn("run").exit_code == 2
    (posted,) = webhook.posted
    assert "dbt cannot open the target" in posted["text" if form == "slack" else "error"]


def test_names_do_not_speak_slacks_language(shop, alert, webhook):
    alert({})
    shop.rows(ADA, BOB)
    shop.mappings({**MAPPING, "name": "<!channel> & `x`", "guards": {"max_records": 1}})
    shop.dbt("run")
    shop.segconn("run")
    assert "`customers.&lt;!channel&gt; &amp; 'x'`" in text(webhook)
    assert "<" not in text(webhook)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (404, "HTTP status 404"),
        ((302, {"Location": "/elsewhere"}), "HTTP status 302"),
        ("reset", "the connection broke"),
    ],
)
def test_a_failing_webhook_changes_nothing_and_is_named_without_its_path(shop, alert, webhook, fault, reason):
    alert({}, {"format": "json"})
    webhook.faults = [fault, fault]
    shop.mappings(MAPPING, tests=False)
    result = shop.resync(ADA, BOB, BOB)
    assert result.exit_code == 1
    assert f"alert 1 (slack, 127.0.0.1) was not delivered: {reason}" in result.output
    assert f"alert 2 (json, 127.0.0.1) was not delivered: {reason}" in result.output
    assert len(webhook.posted) == 2
    assert "hookS3cret" not in result.output
    assert "PARTIAL=1" in result.output
    assert result.artifact(shop.dir)["results"][0]["status"] == "partial"


def test_path_of_webhook_is_never_logged(shop, alert, webhook, caplog):
    alert({})
    webhook.faults = [(200, {"X-Cut\r\nno colon here\r\nX-More": "1"}, b"ok")]  # urllib3 warns, with the URL
    shop.mappings(MAPPING, tests=False)
    with caplog.at_level("DEBUG"):
        assert shop.resync(ADA, BOB, BOB).exit_code == 1
    assert len(webhook.posted) == 1
    assert "hookS3cret" not in caplog.text
    assert "no colon here" not in caplog.text


def test_a_slow_webhook_is_waited_for_no_longer_than_it_may_take(shop, alert, webhook, monkeypatch):
    monkeypatch.setattr(alerts, "TIMEOUT_SECONDS", 1.0)
    alert({}, {"format": "json"})
    webhook.delay = 120
    shop.rows(ADA, BOB)
    shop.mappings({**MAPPING, "guards": {"max_records": 1}})
    shop.dbt("run")
    started = time.monotonic()
    result = shop.segconn("run", "--log-format", "json")
    assert time.monotonic() - started < 60
    lines = [json.loads(line) for line in result.output.splitlines()]
    warnings = [one for one in lines if one["info"]["name"] == "Warning"]
    assert [one["info"]["level"] for one in warnings] == ["warn", "warn"]
    assert "no answer in" in warnings[0]["info"]["msg"]


def test_a_run_from_python_alerts_as_well(shop, alert, api, webhook):
    alert({})
    shop.rows(ADA, EVE)
    shop.dbt("run")
    api.faults = [401]
    assert not dbt_segconn.run(project_dir=shop.dir).success
    assert "*failed*" in text(webhook)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{on: [failed]}", "alerts.0: YAML reads the key `on` as true. Write `when: [failed, partial, blocked]`"),
        ("{url: ftp://x/hookS3cret}", "alerts.0.url: must start with https://"),
        ("{url: 'http://[x/hookS3cret'}", "alerts.0.url: is not a valid URL"),
        ("{format: xml}", "alerts.0.format: must be 'slack' or 'json'"),
        ("{when: [lost]}", "alerts.0.when.0: must be 'failed', 'partial' or 'blocked'"),
        ("{url: http://x, delivery_rate_below: 0}", "alerts.0.delivery_rate_below: must be greater than 0"),
        ("{url: http://x, mapping: [a]}", "alerts.0.mapping: unknown key. Did you mean 'mappings'?"),
        ("{url: http://x, mappings: [identify]}", "alerts.0.mappings.0: no mapping is named 'identify'."),
    ],
)
def test_what_is_wrong_with_an_alert_is_told_with_its_place(shop, given, words):
    shop.manifest(MAPPING)
    shop.write("segconn.yml", f"destinations: {{app: {{write_key: x}}}}\nalerts: [{given}]\n")
    result = shop.segconn("validate")
    assert result.exit_code == 1
    assert words in result.output
    assert "hookS3cret" not in result.output
