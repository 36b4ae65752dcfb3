"""The main job on artifacts that dbt 2 wrote: what a team has that builds with dbt 2 and syncs beside dbt-core."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
from click.testing import CliRunner
from forked import run_dbt
from selecting import CHANGES, METHODS, STATES, name_of, selected, write_project
from standing import ADA
from test_sample import SAMPLE

from dbt_segconn.commands import main

TABLES = ("--resource-types", "model", "seed", "snapshot")


@pytest.fixture(scope="module")
def built(dbt2, tmp_path_factory):
    """The sample project on its first day, as dbt 2 has built it; a test that writes takes a copy."""
    folder = tmp_path_factory.mktemp("dbt2") / "sample"
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("target", "logs"))
    code, printed = dbt2.run(folder, "build")
    assert code == 0, printed
    return folder


@pytest.fixture
def sample(built, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMENT_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("SAMPLE_SHOP_DUCKDB", raising=False)
    monkeypatch.chdir(shutil.copytree(built, tmp_path / "sample"))
    return tmp_path / "sample"


def segconn(project, *arguments):
    result = CliRunner().invoke(main, [*arguments, "--project-dir", str(project)])
    assert result.exit_code == 0, result.output
    return result.output


def test_both_days_of_dbt_2_arrive(dbt2, sample, api, monkeypatch):
    monkeypatch.setenv("SEGMENT_ENDPOINT", api.url)

    def arrived():
        api.forget()
        assert "OK=8 PARTIAL=0 ERROR=0 SKIP=1 TOTAL=9" in segconn(sample, "run")
        return Counter(call.get("event") or call["type"] for call in api.calls())

    assert arrived() == {"identify": 37, "group": 8, "Order Completed": 54, "page": 70, "screen": 46}
    code, printed = dbt2.run(sample, "build", "--vars", "{day: 2}")  # its DuckDB still reads the file
    assert code == 0, printed
    assert arrived() == {
        "identify": 12,
        "group": 4,
        "Order Completed": 6,
        "page": 10,
        "screen": 4,
        "Profile Changed": 3,
        "Customer Deleted": 2,
        "Plan Changed": 6,
    }
    api.forget()
    assert "was synced before" in segconn(sample, "run")
    assert api.calls() == []
    assert segconn(sample, "status").count("success") == 8


def test_files_of_dbt_2_suffice_to_author(sample):
    assert segconn(sample, "validate", "--warnings-as-errors") == "No findings: 9 mappings on 6 models.\n"
    assert segconn(sample, "diff", "--state", str(sample / "target")) == "No mapping changes.\n"
    segconn(sample, "schema")
    assert (sample / ".segconn/models.schema.json").exists()
    assert "user_id: $customer_id" in segconn(sample, "suggest", "stg_customers", "--online")


def test_what_would_be_sent_is_told_before(sample):
    forecast = json.loads(segconn(sample, "estimate", "--format", "json"))
    calls = {one["mapping"]: sum(one["calls"].values()) for one in forecast["mappings"]}
    assert calls["customers.identify_customers"] == 37
    assert calls["orders.order_completed"] == 54
    call = json.loads(segconn(sample, "preview", "--mapping", "group_accounts", "--record", "acc_01"))["call"]
    assert (call["type"], call["groupId"], call["traits"]["name"]) == ("group", "acc_01", "Northwind Ltd")


def test_dbt2_reads_exposures_and_sources(dbt2, sample):
    segconn(sample, "exposures", "--owner-email", "jo@example.com", "--output", str(sample / "models/segconn.yml"))
    segconn(sample, "sources")
    select = ["+exposure:segconn_customers_identify_customers", "source:segconn+"]
    names = ls(dbt2, sample, "--select", *select)
    assert {"customers", "stg_customers", "raw_customers", "segconn_delivery_rates"} <= names
    assert "accounts" not in names


def ls(dbt2, project, *options):
    """Return the names of the models, seeds and snapshots that `dbt ls` of dbt 2 selects."""
    printing = ("--output", "json", "--output-keys", "unique_id", "--target-path", "listed")
    code, printed = dbt2.run(project, "ls", *TABLES, *printing, *options)
    assert code == 0, printed
    return {name_of(json.loads(line)["unique_id"]) for line in printed.splitlines() if line.startswith("{")}


def ls_of_state(dbt2, project, *options):
    """Return what dbt 2 selects, but for new models in a method that has them for no other dbt."""
    names = ls(dbt2, project, *options)
    return names - {"fresh"} if "state:modified.macros" in options else names


def differences(project, expected):
    found = {options: selected(project, *options) for options in expected}
    return {options: (names, expected[options]) for options, names in found.items() if names != expected[options]}


@pytest.fixture(scope="module")
def kit(dbt2, tmp_path_factory):
    """The project of all methods, as dbt 2 has built it: one model fails, one is skipped, one fails its test."""
    folder = write_project(tmp_path_factory.mktemp("dbt2_selection") / "kit")
    dbt2.run(folder, "build")
    return folder


@pytest.fixture(scope="module")
def changed(dbt2, kit):
    folder = write_project(kit.parent / "changed", **CHANGES)
    dbt2.run(folder, "parse")
    return folder


def test_every_method_selects_as_dbt_2_does(dbt2, kit):
    selections = [("--select", *words.split()) for words in METHODS] + [("--selector", "night")]
    expected = {options: ls(dbt2, kit, *options) for options in selections}
    assert differences(kit, expected) == {}
    assert sum(map(bool, expected.values())) == len(selections) - 1  # all but what is nowhere


def test_state_and_result_select_as_dbt2(dbt2, kit, changed):
    selections = [("--select", words, "--state", str(kit / "target")) for words in STATES]
    expected = {options: ls_of_state(dbt2, changed, *options) for options in selections}
    assert differences(changed, expected) == {}
    by_words = {options[1]: names for options, names in expected.items()}
    assert by_words["state:new"] == {"fresh"}
    assert by_words["state:modified.macros"] == {"stg"}
    assert by_words["result:error+"] == {"broken", "after_broken"}
    assert by_words["1+result:fail"] == {"plans"}


@pytest.fixture(scope="module")
def kit_of_dbt_core(kit):
    folder = write_project(kit.parent / "kit_of_dbt_core")
    run_dbt(folder, "parse", "--profiles-dir", str(folder))
    return folder


def test_state_of_dbt_core_serves_dbt_2(dbt2, changed, kit, kit_of_dbt_core):
    state = ("--state", str(kit_of_dbt_core / "target"))
    expected = {
        ("--select", words, *state): ls_of_state(dbt2, changed, "--select", words, *state)
        for words in STATES
        if words.startswith("state:")
    }
    assert differences(changed, expected) == {}
    assert selected(kit, "--select", "state:modified", *state) == set()


def test_state_of_dbt_2_serves_dbt_core(kit, kit_of_dbt_core, changed):
    state = ("--state", str(kit / "target"))
    assert selected(kit_of_dbt_core, "--select", "1+state:modified", *state) == set()
    assert selected(kit_of_dbt_core, "--select", "result:error+", *state) == {"broken", "after_broken"}
    state = ("--state", str(changed / "target"))
    assert selected(kit_of_dbt_core, "--select", "state:modified.macros", *state) == {"stg"}


@pytest.fixture
def small(dbt2, shop):
    """The shop with two targets in one database, as dbt 2 has built it on prod."""
    outputs = {name: {"type": "duckdb", "path": "shop.duckdb", "schema": name} for name in ("dev", "prod")}
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": outputs}})
    shop.rows(ADA)
    shop.write("models/stg.sql", (shop.dir / "models/customers.sql").read_text())
    shop.write("models/customers.sql", "select * from {{ ref('stg') }}")
    shop.dbt2 = lambda *arguments: dbt2.run(shop.dir, *arguments)
    code, printed = shop.dbt2("build", "--target", "prod")
    assert code == 0, printed
    return shop


def test_only_target_that_fits_is_taken(small, api):
    result = small.segconn("run")
    assert result.exit_code == 0, result.output
    assert "target prod of profile shop (the only output that fits dbt's manifest)" in result.output
    assert [call["userId"] for call in api.calls()] == ["c1"]
    assert small.segconn("validate", "--warnings-as-errors").exit_code == 0, "columns have the meta of their model"
    result = small.segconn("status", "--target", "dev")
    assert result.exit_code == 2
    assert "--target prod fits the manifest" in result.output


def test_empty_build_is_seen_in_its_sql(small, api):
    small.dbt2("build", "--target", "prod", "--empty")
    for options in ((), ("--all",)):
        result = small.segconn("run", *options)
        assert result.exit_code == 2
        assert "dbt built model.shop.customers with --empty (see its compiled SQL)" in result.output
    assert api.received == []


def test_files_of_one_name_need_a_target(small, api):
    outputs = {name: {"type": "duckdb", "path": f"{name}/shop.duckdb"} for name in ("dev", "prod")}
    small.write("profiles.yml", {"shop": {"target": "dev", "outputs": outputs}})
    for name in outputs:
        (small.dir / name).mkdir()
    code, printed = small.dbt2("build", "--target", "prod")
    assert code == 0, printed
    result = small.segconn("run")
    assert result.exit_code == 2
    assert "2 outputs of profile shop may be it: dev, prod" in result.output
    assert small.segconn("run", "--target", "prod").exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c1"]


def test_failed_test_and_retry_of_dbt_2(small, api):
    small.write("models/stg.sql", "select 'c1' as customer_id, 'a' as email, 'p' as plan from range(2)")
    assert small.dbt2("build", "--target", "prod")[0] != 0
    result = small.segconn("run")
    assert result.exit_code == 1
    assert "the model failed its dbt tests: unique_customers_customer_id" in result.output
    small.table(ADA, name="prod.customers")
    small.dbt2("retry", "--target", "prod")
    assert small.segconn("run").exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c1"]
