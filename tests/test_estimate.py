"""What a run would send and cost, told before it does: the numbers are those of the run itself."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING

ORDERS = {
    "name": "orders",
    "action": "track",
    "sync_mode": "added_or_updated",
    "fields": {"event_name": "Ordered", "user_id": "$email", "properties": {"plan": "$plan"}},
}


def estimate(shop, *options):
    result = shop.segconn("estimate", "--format", "json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def tables(shop):
    return shop.query("select table_schema, table_name from information_schema.tables order by all")


def test_it_counts_what_a_run_then_sends_and_writes_nothing(shop, api):
    shop.settings(events_per_second=2, gzip=False)
    fields = {**ORDERS["fields"], "user_id": "$customer_id"}
    shop.manifest(MAPPING, {**ORDERS, "sync_mode": ["added", "updated", "deleted"], "fields": fields})
    shop.table(ADA, BOB, EVE)
    before = tables(shop)
    told = estimate(shop)
    assert tables(shop) == before
    assert api.tried == []
    assert [one["calls"] for one in told["mappings"]] == [
        {"added": 3, "updated": 0},
        {"added": 3, "updated": 0, "deleted": 0},
    ]
    assert told["total"] | {"calls": 6, "users": {"named": 3, "new": 3}, "seconds": 3.0, "requests": 2} == told["total"]
    shop.settings()
    shop.segconn("run", "--all")
    assert 0 <= sum(api.sizes) - told["total"]["bytes"] <= 6, "a line feed may follow each call"
    assert len(api.sizes) == told["total"]["requests"]
    again = estimate(shop)["total"]
    assert (again["calls"], again["bytes"], again["calls_this_month"]) == (0, 0, 6)


def test_users_are_new_whom_no_record_names_that_was_sent(shop, monkeypatch):
    shop.columns = ("customer_id", "email", "plan")
    shop.manifest(ORDERS)
    shop.resync(ADA, BOB)
    shop.table(ADA, BOB, ("c3", "ada@example.com", "x"), ("c4", "new@example.com", "x"), ("c5", "new@example.com", "y"))
    (one,) = estimate(shop)["mappings"]
    assert one["calls"] == {"added": 3, "updated": 0}
    assert one["users"] == {"named": 2, "new": 1}
    fields = {**ORDERS["fields"], "user_id": "$plan", "anonymous_id": "$email"}
    shop.manifest({**ORDERS, "fields": fields})
    shop.table(("c6", "anon-1", None), ("c7", "anon-2", "x"), ("c8", "anon-1", ""), ("c9", "anon-3", "x"))
    assert estimate(shop)["mappings"][0]["users"] == {"named": 2, "new": 2}, "an anonymous one and x"
    fields = {**ORDERS["fields"], "user_id": "user-${email}"}
    shop.manifest({**ORDERS, "fields": fields})
    shop.more_settings = {"pricing": {"mtus": {"price": 1}, "api_calls": {"price": 1}}}
    shop.settings()
    told = estimate(shop)
    assert (told["mappings"][0]["users"], told["total"]["users"]) == (None, None)
    assert [cost["what"] for cost in told["costs"]] == ["API calls"], "the cost of unknown users is no zero"
    monkeypatch.setenv("COLUMNS", "200")
    shown = shop.segconn("estimate").output
    assert "its user ids are not plain columns" in shown
    (total,) = (line for line in shown.splitlines() if line.strip().startswith("total"))
    assert total.split().count("?") == 2


def test_users_of_deleted_records_are_counted(shop):
    fields = {**ORDERS["fields"], "user_id": "$customer_id"}
    shop.manifest({**ORDERS, "sync_mode": ["added", "deleted"], "fields": fields})
    shop.resync(ADA, BOB, EVE)
    shop.table(ADA)
    (one,) = estimate(shop)["mappings"]
    assert (one["calls"]["deleted"], one["users"]) == (2, {"named": 2, "new": 0})


def test_large_models_are_measured_on_a_sample_that_is_spread_over_all(shop):
    shop.manifest(MAPPING)
    with shop.connect() as connection:
        connection.execute(
            "create table main.customers as select 'c' || lpad(n::varchar, 6, '0') as customer_id, "
            "repeat('x', 1 + n // 100) as email, 'pro' as plan from range(30000) as t(n)"
        )
    (one,) = estimate(shop)["mappings"]
    size = one["size"]
    assert 900 <= size["measured"] <= 1000
    exact = sum(len(f'"traits":{{"email":"{"x" * (1 + n // 100)}","plan":"pro"}}') for n in range(30000))
    assert 30000 * 100 < size["bytes"] - exact < 30000 * 200, "what is not traits is some 150 bytes"
    assert size["requests"] == pytest.approx(size["bytes"] / 475_000, rel=0.05)
    text = shop.segconn("estimate").output
    assert "extrapolated from" in text
    assert "30.0 s" not in text, "the shop has no rate limit"
    assert "no limit" in text


def test_what_is_not_sent_is_told_apart(shop, api):
    shop.columns = ("customer_id", "email", "plan", "ads_ok")
    shop.more_settings = {"consent": {"without_value": "skip"}}
    shop.settings()
    shop.manifest({**MAPPING, "guards": {"max_records": 1}}, consent={"Ads": "ads_ok"})
    rows = [(*ADA, "true"), (*BOB, None), (*EVE, "false"), (None, "", "", "true"), ("", "no id", "", "true")]
    shop.table(*rows)
    (one,) = estimate(shop)["mappings"]
    assert one | {"held_back": 1, "unidentified": 1, "left_out": 0} == one
    assert one["calls"]["added"] == 3
    assert (one["size"]["measured"], one["size"]["discarded"]) == (2, 1)
    assert one["objections"] == ["3 records are to be sent, more than max_records 1"]
    text = shop.segconn("estimate").output
    assert "1 of 3 sampled calls would be discarded:\n" in text
    assert "  1: Either `Anonymous ID` or `User ID` must be defined.\n" in text
    assert one["size"]["reasons"] == {"Either `Anonymous ID` or `User ID` must be defined.": 1}
    assert "1 record held back" in text
    shop.manifest({**MAPPING, "first_sync": "baseline"}, consent={"Ads": "ads_ok"})
    (one,) = estimate(shop)["mappings"]
    assert (sum(one["calls"].values()), one["left_out"], one["users"]) == (0, 4, {"named": 0, "new": 0})


def test_an_unfinished_sync_is_said(shop, api):
    shop.manifest(MAPPING)
    api.faults = [401]
    shop.resync(ADA, BOB)
    assert estimate(shop)["mappings"][0]["unfinished"] == 2
    assert "an interrupted sync has 2 calls left" in shop.segconn("estimate").output


def test_money_is_what_goes_beyond_the_plan_and_the_budget_is_told(shop, api):
    pricing = {"mtus": {"included": 1, "price": 12, "per": 1000}, "api_calls": {"included": 3, "price": 0.5}}
    shop.more_settings = {"pricing": {"currency": "EUR", **pricing}, "budget": {"max_calls_per_month": 4}}
    shop.settings()
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    shop.table(("c1", "new@example.com", ""), BOB, EVE, ("c4", "", ""), ("c5", "", ""))
    told = estimate(shop)
    mtus, calls = told["costs"]
    assert (mtus["units"], mtus["beyond"], mtus["money"], mtus["currency"]) == (3, 2, 0.024, "EUR")
    assert (calls["units"], calls["before"], calls["beyond"], calls["money"]) == (4, 2, 3, 1.5)
    text = shop.segconn("estimate").output
    assert "API calls: 4 after 2 this month, 3 of them beyond the included amount: 1.50 EUR" in text
    assert "Budget: 4 calls after 2 this month are more than budget.max_calls_per_month 4" in text


def test_disabled_mappings_and_projects_without_any_have_nothing_to_estimate(shop):
    shop.manifest({**MAPPING, "enabled": False})
    shop.table(ADA)
    assert "No mapping to estimate." in shop.segconn("estimate").output
