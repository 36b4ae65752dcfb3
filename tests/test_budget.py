"""The budget: a run or a month of too many calls is blocked before anything is sent."""

from __future__ import annotations

import json
import threading
from datetime import datetime

import pytest
from standing import ADA, BOB, EVE, MAPPING

from dbt_segconn.engine.guards import Budget
from dbt_segconn.project.settings import BudgetSettings

NOW = datetime(2026, 11, 24, 23, 0)  # noqa: DTZ001  as the warehouse's clock has it
NAME = "customers.identify_customers"
OTHER = {**MAPPING, "name": "other", "fields": {"user_id": "other-${customer_id}"}}


@pytest.fixture
def budgeted(shop):
    def give(**budget):
        shop.more_settings = {"budget": budget}
        shop.settings()
        return shop

    shop.manifest(MAPPING)
    return give


def test_a_run_of_too_many_calls_is_blocked_and_let_through_on_request(budgeted, api):
    shop = budgeted(max_calls_per_run=1)
    result = shop.resync(ADA, BOB)
    assert result.exit_code == 1
    assert "BLOCKED by its guards" in result.output
    assert "2 calls are to be sent in this run, more than budget.max_calls_per_run 1. Nothing was sent" in result.output
    assert api.received == []
    assert shop.query("select status from segconn.syncs") == [{"status": "blocked"}]
    assert shop.resync(ADA, BOB, options=("--allow-guarded", NAME)).exit_code == 0
    assert len(api.received) == 2
    assert shop.resync(ADA, ("c2", "new@example.com", "free")).exit_code == 0, "one call is within the budget"


def test_a_month_counts_what_the_history_knows_of_all_mappings(budgeted, api):
    shop = budgeted(max_calls_per_month=3)
    shop.resync(ADA, BOB)
    shop.manifest(MAPPING, OTHER)
    result = shop.resync(ADA, BOB)
    assert "2 calls are to be sent after 2 in " in result.output
    assert "more than budget.max_calls_per_month 3" in result.output
    assert len(api.received) == 2
    with shop.connect() as connection:
        connection.execute("update segconn.sync_history set finished_at = finished_at - interval 40 days")
    assert shop.resync(ADA, BOB).exit_code == 0, "in another month"


def test_what_an_earlier_run_has_left_counts_and_is_never_blocked(budgeted, api):
    shop = budgeted(max_calls_per_run=2, max_calls_per_month=100)
    api.faults = [401]
    assert shop.resync(ADA, BOB).exit_code == 1
    result = shop.resync(ADA, BOB, EVE)
    assert [call["userId"] for call in api.calls()] == ["c1", "c2"]
    assert "1 call is to be sent after 2 in this run" in result.output
    assert shop.segconn("run", "--all").exit_code == 0
    assert len(api.received) == 3


def test_mappings_of_a_run_share_budget(budgeted, api):
    shop = budgeted(max_calls_per_run=3)
    shop.manifest(MAPPING, OTHER)
    result = shop.resync(ADA, BOB, options=("--threads", "2"))
    assert result.exit_code == 1
    assert len(api.received) == 2
    artifact = json.loads((shop.dir / "target/segconn/run_results.json").read_text())
    assert sorted(one["status"] for one in artifact["results"]) == ["blocked", "success"]


def test_threads_share_the_rate_limit():
    budget = Budget(BudgetSettings(max_calls_per_run=1000, max_calls_per_month=900))
    taken, ready = [], threading.Barrier(8)

    def work():
        ready.wait()
        reasons = [budget.take(1, NOW, lambda _since: 0) for _ in range(200)]
        taken.extend(reason for reason in reasons if reason is None)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 900


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("budget: {max_calls_per_rnu: 3}", "budget.max_calls_per_rnu: unknown key. Did you mean 'max_calls_per_run'?"),
        ("budget: {max_calls_per_month: -1}", "budget.max_calls_per_month: must be greater than or equal to 0"),
        ("pricing: {mtus: {per: 1000}}", "pricing.mtus.price: is missing"),
        ("pricing: {api_calls: {price: much}}", "pricing.api_calls.price: must be a number, not text"),
        ("consent: {without_value: drop}", "consent.without_value: must be 'send' or 'skip'"),
    ],
)
def test_wrong_settings_have_their_line(shop, wrong, line):
    shop.manifest(MAPPING)
    settings = (shop.dir / "segconn.yml").read_text()
    shop.write("segconn.yml", f"{wrong}\n{settings}")
    result = shop.segconn("validate")
    assert result.exit_code == 1
    assert line in result.output
    assert "segconn.yml:1" in result.output
