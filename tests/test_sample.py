"""The sample project delivers what its README says, on both days."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from click.testing import CliRunner
from forked import run_dbt

from dbt_segconn.commands import main

SAMPLE = Path(__file__).parents[1] / "sample_project"


def test_the_sample_project_delivers_all_five_actions_on_both_days(tmp_path, api, monkeypatch):
    project = tmp_path / "sample"
    shutil.copytree(SAMPLE, project, ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setenv("SEGMENT_ENDPOINT", api.url)
    monkeypatch.setenv("SAMPLE_SHOP_DUCKDB", str(project / "shop.duckdb"))

    def day(number):
        api.forget()
        code, printed = run_dbt(project, "build", "--vars", f"{{day: {number}}}")
        assert code == 0, printed
        assert "deprecat" not in printed.lower()
        result = CliRunner().invoke(main, ["run", "--project-dir", str(project)])
        assert result.exit_code == 0, result.output
        assert "SKIP customers.identify_for_app" in result.output
        return Counter(call.get("event") or call["type"] for call in api.calls())

    assert day(1) == {"identify": 37, "group": 8, "Order Completed": 54, "page": 70, "screen": 46}
    validated = CliRunner().invoke(main, ["validate", "--warnings-as-errors", "--project-dir", str(project)])
    assert validated.exit_code == 0, validated.output
    again = day(2)
    assert set(again) == {
        "identify",
        "group",
        "Order Completed",
        "page",
        "screen",
        "Profile Changed",
        "Customer Deleted",
        "Plan Changed",
    }
    assert again["Customer Deleted"] == 2
    assert again["Profile Changed"] == 3
    products = next(call for call in api.calls("track") if call["event"] == "Order Completed")["properties"]["products"]
    assert products[0].keys() == {"product_id", "name", "price", "quantity"}
    identify = api.calls("identify")[0]
    assert identify["context"]["consent"]["categoryPreferences"].keys() == {"Marketing", "Advertising"}
