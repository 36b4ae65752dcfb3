"""Alerts: each webhook is told of a change once. A failed POST does not change the run."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import pytest
import yaml
from standing import ADA, BOB, EVE, MAPPING, Api, serving

import dbt_segconn
from dbt_segconn.delivery import tracking_api
from dbt_segconn.engine import alerts
from dbt_segconn.state.tables import State

PATH = "/services/T0/B0/hookS3cret"
TOKEN = "Bearer tokenS3cret"
ROUTING_KEY = "routingS3cret0123456789abcdefghi"
GUARDED = {**MAPPING, "guards": {"max_records": 0}}


class Webhook(Api):
    """Keeps what was posted to it."""

    def __init__(self):
        super().__init__()
        self.posted = []
        self.tokens = []

    def take(self, raw, headers):
        self.posted.append(json.loads(raw))
        assert headers["Content-Type"] == "application/json"
        assert headers.get("Authorization") in {None, TOKEN}
        self.tokens.append(headers.get("Authorization"))
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


@pytest.fixture
def later(monkeypatch):
    """Set the warehouse's clock forward."""
    now, ahead = State.now, []
    monkeypatch.setattr(State, "now", lambda state: now(state) + sum(ahead, timedelta()))
    return lambda **some: ahead.append(timedelta(**some))


@pytest.fixture
def told(shop, webhook):
    """Sync, and return what the webhook is told of it: (event, problem) of each mapping."""

    def run(mapping, *options):
        webhook.posted.clear()
        shop.manifest(*(mapping if isinstance(mapping, list) else [mapping]))
        shop.segconn("run", "--all", *options)
        return [(one["event"], one["problem"]) for posted in webhook.posted for one in posted["results"]]

    return run


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
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    for name, status, rate in (("customers.guarded", "blocked", 0), ("customers.picky", "partial", 66.67)):
        one = told.pop(name)
        assert (one.pop("file"), one.pop("delivery_rate")) == ("models/customers.yml", rate)
        assert one["status"] == status
        assert one.pop("advice")
        assert (one.pop("event"), one.pop("problem")) == ("started", status)
        assert abs(datetime.fromisoformat(one.pop("since")[:19]) - now) < timedelta(minutes=5)
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
    shop.write("profiles.yml", {"other": {}})
    assert shop.segconn("run", "--all").exit_code == 2
    (posted,) = webhook.posted
    assert "dbt cannot open the target" in posted["text" if form == "slack" else "error"]


def test_names_do_not_speak_slacks_language(shop, alert, webhook):
    alert({})
    shop.manifest({**MAPPING, "name": "<!channel> & `x`", "guards": {"max_records": 1}})
    shop.resync(ADA, BOB)
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
    shop.manifest({**MAPPING, "guards": {"max_records": 1}})
    started = time.monotonic()
    result = shop.resync(ADA, BOB, options=("--log-format", "json"))
    assert time.monotonic() - started < 60
    lines = [json.loads(line) for line in result.output.splitlines()]
    warnings = [one for one in lines if one["info"]["name"] == "Warning"]
    assert [one["info"]["level"] for one in warnings] == ["warn", "warn"]
    assert "no answer in" in warnings[0]["info"]["msg"]


def test_a_run_from_python_alerts_as_well(shop, alert, api, webhook):
    alert({})
    shop.table(ADA, EVE)
    api.faults = [401]
    assert not dbt_segconn.run(project_dir=shop.dir, all=True).success
    assert "*failed*" in text(webhook)


# --- Once for each change -------------------------------------------------------------------------


def test_alert_once_per_change_of_status(shop, alert, told, later):
    shop.table(ADA)
    alert({"format": "json", "remind_after": "12 hours"})
    assert told(GUARDED) == [("started", "blocked")]
    assert told(GUARDED) == []
    later(hours=11)
    assert told(GUARDED) == []
    later(hours=2)
    assert told(GUARDED) == [("reminder", "blocked")]
    assert told(GUARDED) == []
    assert told({**MAPPING, "fields": {"user_id": "$nothing"}}) == []  # no run began
    assert told(MAPPING) == [("recovered", "blocked")]
    assert told(MAPPING) == []
    shop.table(ADA, ("c4", "dan@example.com", None))
    assert told({**MAPPING, "fields": {"user_id": "$plan"}}) == [("started", "partial")]


def test_changed_problem_alerts_again(shop, alert, api, told):
    shop.table(ADA)
    alert({"format": "json"})
    assert told(GUARDED) == [("started", "blocked")]
    api.faults = [401]
    assert told(MAPPING) == [("started", "failed")]
    alert({"format": "json", "when": ["blocked"]})  # the same webhook: what it was told is known
    api.faults = [401]
    assert told(MAPPING) == []
    assert told(MAPPING) == [("recovered", "failed")]


def test_recovery_and_reminder_read_well(shop, alert, webhook, later):
    shop.table(ADA)
    alert({"remind_after": "1 hour"})
    for mapping in (GUARDED, GUARDED, MAPPING):
        shop.manifest(mapping)
        shop.segconn("run", "--all")
        later(hours=2)
    first, reminder, recovered = (one["text"] for one in webhook.posted)
    assert "1 of 1 sync needs a look\n• *blocked*" in first
    assert "1 of 1 sync needs a look\n• *still blocked*" in reminder
    assert ", since 20" in reminder
    assert recovered.startswith(
        "*dbt-segconn* in `shop`: 1 recovered\n• *recovered* `customers.identify_customers` to `app`"
    )
    assert ", blocked since 20" in recovered
    assert recovered.count("\n") == 1


def test_stale_mapping_is_alerted(shop, alert, webhook, told, later):
    other = {**MAPPING, "name": "other"}
    shop.table(ADA)
    alert({"format": "json", "stale_after": "2 days"})
    assert told([MAPPING, other], "--mapping", "identify_customers") == []
    later(days=1, hours=23)
    assert told([MAPPING, other], "--mapping", "identify_customers") == []
    later(hours=2)
    # the time of a mapping without any sync begins with the first run that sees it
    assert told([MAPPING, other], "--mapping", "identify_customers") == [("started", "stale")]
    (one,) = webhook.posted[0]["results"]
    assert (one["name"], one["status"], one["counts"]["confirmed"]) == ("customers.other", "skipped", 0)
    assert told([MAPPING, other], "--mapping", "identify_customers") == []
    later(days=3)
    found = told([MAPPING, other], "--mapping", "other")
    assert sorted(found) == [("recovered", "stale"), ("started", "stale")]
    assert told([MAPPING, other]) == [("recovered", "stale")]


def test_recovery_without_alert_is_found_later(shop, alert, told):
    shop.table(ADA)
    alert({"format": "json"})
    assert told(GUARDED) == [("started", "blocked")]
    shop.settings()
    assert told(MAPPING) == []  # no alerts, or a crash before them
    alert({"format": "json"})
    assert told(MAPPING, "--select", "nothing") == [("recovered", "blocked")]


def test_crash_before_save_repeats_alert(shop, alert, webhook, told, monkeypatch):
    shop.table(ADA)
    shop.manifest(GUARDED)
    alert({"format": "json"})
    append = State.append

    def dies(state, relation, rows):
        if relation.identifier == "alerts":
            raise KeyboardInterrupt
        append(state, relation, rows)

    monkeypatch.setattr(State, "append", dies)
    with pytest.raises(KeyboardInterrupt):
        dbt_segconn.run(project_dir=shop.dir, all=True)
    assert len(webhook.posted) == 1
    monkeypatch.setattr(State, "append", append)
    assert told(GUARDED) == [("started", "blocked")]
    assert told(GUARDED) == []


def test_refused_alert_is_sent_again(shop, alert, webhook, told):
    shop.table(ADA)
    alert({"format": "json"})
    webhook.faults = [503]
    assert told(GUARDED) == [("started", "blocked")]
    assert told(GUARDED) == [("started", "blocked")]
    assert told(GUARDED) == []


def test_unreadable_alert_state_alerts_each_run(shop, alert, webhook, told):
    shop.table(ADA)
    alert({"format": "json", "stale_after": "1 day"})
    assert told(GUARDED) == [("started", "blocked")]
    shop.query("create or replace table segconn.alerts (x int)")
    assert told(GUARDED) == [("started", "blocked")]
    webhook.posted.clear()
    result = shop.segconn("run", "--all")
    assert "the state of alerts cannot be read, so each run alerts on failures again" in result.output
    assert len(webhook.posted) == 1
    assert "ERROR=1" in result.output


def test_headers_are_sent_and_kept_secret(shop, alert, webhook, monkeypatch):
    monkeypatch.setenv("TOKEN", TOKEN)
    shop.manifest(GUARDED)
    alert({"headers": {"Authorization": "{{ env_var('TOKEN') }}"}})
    shop.watch.use_key("tokenS3cret")
    webhook.faults = [500]
    assert "HTTP status 500" in shop.resync(ADA).output
    assert webhook.tokens == [TOKEN]


def test_pagerduty_opens_and_closes_incidents(shop, alert, webhook, monkeypatch):
    monkeypatch.setenv("ROUTING_KEY", ROUTING_KEY)
    alert({"format": "pagerduty", "routing_key": "{{ env_var('ROUTING_KEY') }}", "severity": "critical"})
    shop.table(ADA)

    def events(code, *mappings):
        webhook.posted.clear()
        shop.manifest(*mappings)
        assert shop.segconn("run", "--all").exit_code == code
        assert {one["routing_key"] for one in webhook.posted} == {ROUTING_KEY}
        return [(one["event_action"], one["dedup_key"]) for one in webhook.posted]

    other = {**GUARDED, "name": "other"}
    run_key, *triggers = events(1, GUARDED, other)
    assert run_key == ("resolve", "dbt-segconn/run/dev/shop")
    payload = webhook.posted[1]["payload"]
    assert payload["summary"].startswith("customers.identify_customers to app: blocked: ")
    assert (payload["severity"], payload["source"]) == ("critical", "shop, target dev")
    assert payload["custom_details"]["counts"]["to_send"] == 1
    assert [action for action, _ in triggers] == ["trigger", "trigger"]
    first, second = (key for _, key in triggers)
    assert first != second
    assert events(1, MAPPING, other)[1:] == [("resolve", first)]
    webhook.faults = [202, 429]
    shop.write("profiles.yml", {"shop": {"outputs": {"dev": {"type": "duckdb", "path": "gone/shop.duckdb"}}}})
    assert events(2, MAPPING, other) == [("trigger", "dbt-segconn/run/dev/shop")]


def test_events_not_taken_come_again(shop, alert, webhook, monkeypatch):
    monkeypatch.setenv("ROUTING_KEY", ROUTING_KEY)
    alert({"format": "pagerduty", "routing_key": "{{ env_var('ROUTING_KEY') }}"})
    shop.manifest(GUARDED, {**GUARDED, "name": "other"})
    webhook.faults = [202, 202, 429]
    output = shop.resync(ADA).output
    assert "alert 1 (pagerduty, 127.0.0.1) was not delivered (2 of 3 events were): HTTP status 429" in output
    (late,) = (one["payload"]["component"] for one in webhook.posted[2:])
    webhook.posted.clear()
    shop.segconn("run", "--all")
    assert [one["payload"]["component"] for one in webhook.posted[1:]] == [late]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{on: [failed]}", "alerts.0: YAML reads the key `on` as true. Write `when: [failed, partial, blocked]`"),
        ("{url: ftp://x/hookS3cret}", "alerts.0.url: must start with https://"),
        ("{url: 'http://[x/hookS3cret'}", "alerts.0.url: is not a valid URL"),
        ("{format: xml}", "alerts.0.format: must be 'slack', 'json' or 'pagerduty'"),
        ("{when: [lost]}", "alerts.0.when.0: must be 'failed', 'partial' or 'blocked'"),
        ("{url: http://x, delivery_rate_below: 0}", "alerts.0.delivery_rate_below: must be greater than 0"),
        ("{url: http://x, mapping: [a]}", "alerts.0.mapping: unknown key. Did you mean 'mappings'?"),
        ("{url: http://x, stale_after: 3}", "alerts.0.stale_after: must be a duration such as `30 minutes`"),
        ("{url: http://x, remind_after: 0 days}", "alerts.0.remind_after: must be a duration such as"),
        ("{url: http://x, headers: {a b: x}}", "alerts.0.headers: must have names of HTTP headers, not 'a b'"),
        ("{url: http://x, headers: {host: x}}", "alerts.0.headers: must not contain host, which dbt-segconn sets"),
        ('{url: http://x, headers: {a: "hookS3cret\\n"}}', "the value of a is not, or is empty"),
        ("{url: http://x, routing_key: x}", "alerts.0.routing_key: must be the integration key of a service"),
        ("{url: http://x, severity: info}", "alerts.0: `severity` is only for `format: pagerduty`"),
        ("{url: http://x, format: pagerduty}", "alerts.0: `format: pagerduty` needs a `routing_key`"),
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
