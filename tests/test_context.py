"""Every command uses dbt's project, profile, target, vars and folders."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from standing import ADA, BOB, MAPPING, PROGRAM

NAME = "customers.identify_customers"


@pytest.fixture
def targets(shop):
    """The shop with targets dev and prod. Default: two schemas of one database."""

    def write(default="dev", **outputs):
        both = outputs or {name: {"type": "duckdb", "path": "shop.duckdb", "schema": name} for name in ("dev", "prod")}
        shop.write("profiles.yml", {"shop": {"target": default, "outputs": both}})
        return shop

    return write


def users(api):
    return sorted(call["userId"] for call in api.calls())


def test_settings_can_use_target(targets, api):
    shop = targets()
    shop.settings(enabled="{{ target.name == 'prod' }}")
    shop.state = {"schema": "segconn_{{ target.name }}"}
    shop.settings(enabled="{{ target.name == 'prod' }}")
    shop.rows(ADA)
    shop.dbt("build", "--target", "prod")
    result = shop.segconn("run")
    assert "OK synced" in result.output, result.output
    assert "target prod of profile shop (the last dbt invocation)" in result.output
    assert users(api) == ["c1"]
    assert [row["schema_name"] for row in shop.query(STATE_SCHEMAS)] == ["segconn_prod"]
    shop.dbt("build")
    assert "the destination app is disabled" in shop.segconn("run").output


STATE_SCHEMAS = (
    "select distinct schema_name from duckdb_schemas() where schema_name like 'segconn%' and database_name = 'shop'"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "x{{ tarrget.name }}",
            "x{{ tarrget.name }} cannot be rendered: 'tarrget' is not defined (did you mean 'target'?)",
        ),
        ("x{{ target.nmae }}", "target has no 'nmae' (did you mean 'name'?)"),
        ("{{ env_var(WK) }}", "'WK' is not defined"),
        ("{{ 1 / 0 }}", "{{ 1 / 0 }} cannot be rendered: it raises ZeroDivisionError"),
        ("{{ env_var('WK') | as_number }}", "{{ env_var('WK') | as_number }} cannot be rendered: it raises"),
        ("{{ 'a-secret' ~ nothing }}", "{{ '…' ~ nothing }} cannot be rendered: 'nothing' is not defined"),
    ],
)
def test_undefined_jinja_name_is_a_finding(shop, text, words):
    shop.manifest(MAPPING)
    shop.state = {"schema": text}
    shop.settings()
    result = shop.segconn("validate")
    assert result.exit_code == 1
    assert "segconn.yml:7:3: error SEG103: state.schema: " in result.output
    assert words in result.output
    assert "a-secret" not in result.output


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("s_{{ project_name }}", "s_shop"),
        ("s_{{ modules.datetime.date(2026, 1, 2).year }}", "s_2026"),
        ('{{ fromjson(\'{"a": "s_json"}\').a }}', "s_json"),
        ("s_{{ target.type }}_{{ target.schema }}_{{ target.get('threads') }}", "s_duckdb_main_1"),
        ("s{{ invocation_id[:0] }}_{{ 1 if run_started_at.year > 2000 else 0 }}", "s_1"),
        ("s_{{ not_there | default('d') }}", "s_d"),
    ],
)
def test_jinja_has_dbts_names(shop, text, schema):
    shop.manifest(MAPPING)
    shop.state = {"schema": text}
    shop.settings()
    assert shop.segconn("sources").exit_code == 0
    shop.table(ADA)
    assert shop.segconn("run", "--all").exit_code == 0
    assert shop.query(f"select count(*) as n from {schema}.syncs") == [{"n": 1}]


def test_vars_of_project_and_invocation(shop, api):
    project = {"name": "shop", "profile": "shop", "models": {"+materialized": "table"}}
    shop.write("dbt_project.yml", {**project, "vars": {"kept": "k", "rate": 1, "shop": {"kept": "of_shop"}}})
    shop.state = {"schema": "{{ var('kept') }}_{{ var('env', 'dev') }}"}
    shop.settings(events_per_second="{{ var('rate') | as_number }}")
    shop.rows(ADA)
    shop.dbt("build", "--vars", "{rate: 50, env: prod}")
    assert shop.segconn("run").exit_code == 0
    assert shop.query("select count(*) as n from of_shop_prod.syncs") == [{"n": 1}]
    assert shop.segconn("status", "--vars", "{env: other}").output.count("never synced") == 1


@pytest.mark.parametrize("in_folder", [False, True])
def test_target_path_is_rendered_as_by_dbt(targets, api, in_folder):
    shop = targets()
    project = {"name": "shop", "profile": "shop", "target-path": "target/{{ target.name }}"}
    shop.rows(BOB)
    shop.dbt("build")  # writes to target/, which is stale from now on
    shop.write("dbt_project.yml", project)
    shop.rows(ADA)
    shop.dbt("build", *(["--target", "prod"] if in_folder else []))
    result = shop.segconn("run")
    assert result.exit_code == 0, result.output
    assert f"target {'prod' if in_folder else 'dev'} of profile shop" in result.output
    assert users(api) == ["c1"]


REFUSED = "dbt built the models on another target: the manifest has customers as shop.dev.customers, and target prod"


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "run --all",
        "retry",
        "preview",
        "estimate",
        "status",
        "status --orphans",
        "validate --online",
        "diff --state target --online",
        "suggest customers --online",
        f"send-test {NAME} --record c1",
        f"baseline {NAME}",
        f"reset {NAME} --yes",
        f"adopt customers.gone {NAME}",
        "report --html -",
    ],
)
def test_results_of_other_target_rejected(two_built, command):
    shop, api = two_built
    result = shop.segconn(*command.split(), "--target", "prod")
    assert result.exit_code == 2, result.output
    assert REFUSED in result.output
    assert "--target dev fits the manifest" in result.output
    assert api.received == []


@pytest.fixture(scope="module")
def _built(tmp_path_factory):
    """A project with targets prod and dev, built in this order, with `dbt parse` in between."""
    from standing import new_shop

    shop = new_shop(tmp_path_factory.mktemp("two"), "http://127.0.0.1:9")
    outputs = {name: {"type": "duckdb", "path": "shop.duckdb", "schema": name} for name in ("dev", "prod")}
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": outputs}})
    shop.rows(ADA)
    shop.dbt("build", "--target", "prod")
    shop.dbt("build")
    shop.dbt("parse")
    return shop


@pytest.fixture
def two_built(_built, api, monkeypatch):
    monkeypatch.setenv("WK", "a-write-key")
    for name in ("DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(_built.dir)
    _built.endpoint = api.url
    _built.settings()
    return _built, api


def test_environment_sets_target(two_built, monkeypatch):
    shop, _ = two_built
    monkeypatch.setenv("DBT_TARGET", "prod")
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert REFUSED in result.output
    assert "(the target is DBT_TARGET)" in result.output


@pytest.mark.parametrize("written", ["dbt_project.yml", "customers.yml", "customers.sql"])
def test_relation_names_follow_the_target(targets, api, written):
    """The manifest has the names of target dev. dbt's default macro keeps a custom database."""
    shop = targets()
    macro = "{% macro generate_schema_name(custom, node) %}{{ custom or target.schema }}{% endmacro %}"
    shop.write("macros/generate_schema_name.sql", macro)
    shop.rows(ADA)
    if written == "dbt_project.yml":
        shop.write(written, {"name": "shop", "profile": "shop", "models": {"+schema": "{{ target.name }}_marts"}})
    elif written == "customers.yml":
        text = (shop.dir / "models/customers.yml").read_text()
        shop.write(
            "models/customers.yml", text.replace("  config:\n", "  config:\n    schema: '{{ target.name }}_marts'\n")
        )
    else:
        sql = (shop.dir / "models/customers.sql").read_text()
        shop.write("models/customers.sql", "{{ config(schema=target.name ~ '_marts') }}" + sql)
    shop.dbt("build")
    result = shop.segconn("preview", "--target", "prod")
    assert result.exit_code == 2, result.output
    assert "has customers as shop.dev_marts.customers, and target prod of profile shop names it shop.prod_marts" in (
        result.output
    )
    assert shop.segconn("run").exit_code == 0
    assert users(api) == ["c1"]


def test_duckdb_files_of_same_name_are_distinguished(targets, api):
    files = {name: {"type": "duckdb", "path": f"{name}/shop.duckdb"} for name in ("dev", "prod")}
    shop = targets(**files)
    for name in files:
        (shop.dir / name).mkdir()
    shop.rows(BOB)
    shop.dbt("build", "--target", "prod")
    shop.rows(ADA)
    shop.dbt("build")
    result = shop.segconn("run", "--target", "prod")
    assert result.exit_code == 2, "the relations have the same names"
    assert f"dbt's results are of target dev of profile shop (DuckDB file {shop.dir}/dev/shop.duckdb" in result.output
    assert api.received == []
    assert shop.segconn("run").exit_code == 0
    assert users(api) == ["c1"]


def test_other_role_of_same_place_accepted(targets, api):
    output = {"type": "duckdb", "path": "shop.duckdb", "schema": "dev"}
    shop = targets(dev=output, dev_reader={**output, "threads": 2})
    shop.rows(ADA)
    shop.dbt("build")
    assert shop.segconn("run", "--target", "dev_reader").exit_code == 0
    assert users(api) == ["c1"]


def test_commands_follow_last_dbt_command(targets, api):
    shop = targets()
    shop.rows(ADA)
    shop.dbt("build", "--target", "prod")
    assert shop.segconn("run").exit_code == 0
    shop.state = {"schema": "segconn"}
    for command in ("status", "status --history", f"baseline {NAME}", f"reset {NAME} --yes", "report --html -"):
        result = shop.segconn(*command.split())
        assert result.exit_code == 0, result.output
    assert "OK     target: prod (the last dbt invocation)" in shop.segconn("debug").output
    assert "ada@example.com" in shop.segconn("preview").output, "prod's records have been reset"
    assert {row["relation"] for row in shop.query("select relation from segconn.syncs")} == {
        '"shop"."prod"."customers"'
    }


def test_folders_start_at_working_directory(shop, api, monkeypatch):
    shop.rows(ADA)
    above = shop.dir.parent
    monkeypatch.chdir(above)
    (above / "profiles").mkdir()
    (shop.dir / "profiles.yml").rename(above / "profiles/profiles.yml")
    dbt = ["--project-dir", "shop", "--profiles-dir", "profiles"]
    subprocess.run([PROGRAM.replace("dbt-segconn", "dbt"), "--quiet", "build", *dbt], check=True, capture_output=True)
    assert (above / "shop.duckdb").exists(), "as in dbt"
    command = [sys.executable, "-m", "dbt_segconn", "run"]
    done = subprocess.run([*command, *dbt], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert users(api) == ["c1"]
    monkeypatch.setenv("DBT_PROFILES_DIR", "profiles")
    assert shop.segconn("status").exit_code == 0
    monkeypatch.chdir(shop.dir)
    monkeypatch.setenv("DBT_PROFILES_DIR", "../profiles")
    result = shop.segconn("status")
    assert result.exit_code == 2
    assert f"its DuckDB file {shop.dir}/shop.duckdb does not exist" in result.output
    assert not (shop.dir / "shop.duckdb").exists()


def from_elsewhere(shop, **args):
    """Change dbt's results to those of another machine, such as a job of the dbt platform."""
    import json

    path = shop.dir / "target/run_results.json"
    results = json.loads(path.read_text())
    results["args"].update({"profile": "user", "target": "default", "profiles_dir": "/tmp/jobs/1", **args})
    path.write_text(json.dumps(results))


def test_option_overrides_recorded_profile(targets, api):
    shop = targets()
    shop.rows(ADA)
    shop.dbt("build", "--target", "prod")
    from_elsewhere(shop)
    assert shop.segconn("run", "--target", "dev").exit_code == 2
    result = shop.segconn("run", "--profile", "shop", "--target", "prod")
    assert result.exit_code == 0, result.output
    assert users(api) == ["c1"]
    assert "target prod of profile shop (the only output that fits" in shop.segconn("run").output


def test_ambiguous_target_must_be_set(targets, api):
    files = {name: {"type": "duckdb", "path": f"{name}/shop.duckdb"} for name in ("dev", "prod")}
    shop = targets(**files)
    for name in files:
        (shop.dir / name).mkdir()
    shop.rows(ADA)
    shop.dbt("build", "--target", "prod")
    from_elsewhere(shop)
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert (
        "2 outputs of profile shop may be it: dev, prod. Set --target to the target that dbt ran on: " in result.output
    )
    assert api.received == []
    assert shop.segconn("run", "--target", "prod").exit_code == 0
    assert shop.segconn("validate").exit_code == 0, "which opens nothing"


def test_project_file_is_read_as_by_dbt(shop):
    shop.manifest(MAPPING)
    shop.write("dbt_project.yml", "name: shop\nprofile: nothing\nprofile: shop\n")
    assert shop.segconn("validate").exit_code == 0
    (shop.dir / "dbt_project.yml").write_bytes(b"name: shop\nprofile: sh\xf6p\n")
    result = shop.segconn("validate")
    assert result.exit_code == 2
    assert (
        "dbt_project.yml: must be UTF-8, but byte 0xf6 at position 22 is not. Save the file as UTF-8." in result.output
    )
    shop.write("dbt_project.yml", "name: [\n")
    assert "dbt_project.yml:2: not valid YAML" in shop.segconn("validate").output


def test_unquoted_relation_names_are_found(shop, api):
    shop.write(
        "dbt_project.yml", {"name": "shop", "profile": "shop", "quoting": {"identifier": False, "schema": False}}
    )
    sql = "{{ config(schema='Marketing', alias='CustAlias') }} select 'c1' as customer_id, 'a' as email, 'p' as plan"
    shop.write("models/customers.sql", sql)
    shop.dbt("build")
    assert shop.segconn("run").exit_code == 0
    assert users(api) == ["c1"]
    assert [row["relation"] for row in shop.query("select relation from segconn.syncs")] == [
        '"shop".main_Marketing.CustAlias'
    ]


def test_in_memory_database_is_rejected(shop):
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": {"dev": {"type": "duckdb"}}}})
    shop.rows(ADA)
    shop.dbt("build")
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "target dev is DuckDB in memory" in result.output


def test_failing_macro_is_named(targets):
    shop = targets()
    macro = "{% macro generate_schema_name(custom, node) %}{{ env_var('PR_NUMBER') }}{% endmacro %}"
    shop.write("macros/generate_schema_name.sql", macro)
    shop.rows(ADA)
    os.environ["PR_NUMBER"] = "pr_7"
    try:
        shop.dbt("build")
        assert shop.segconn("run").exit_code == 0
    finally:
        del os.environ["PR_NUMBER"]
    result = shop.segconn("run")
    assert result.exit_code == 2
    assert "the project's macro generate_schema_name fails on target dev" in result.output
    assert "PR_NUMBER" in result.output


def test_package_names_its_models_by_its_vars(targets, api):
    """A package's naming macro sees the default that the package sets, and --vars before it."""
    shop = targets()
    macro = "{% macro generate_schema_name(custom, node) %}{{ target.name }}_{{ var('area') }}{% endmacro %}"
    shop.write("dbt_packages/kit/dbt_project.yml", {"name": "kit", "version": "1.0.0", "vars": {"area": "package"}})
    shop.write("dbt_packages/kit/macros/names.sql", macro)
    shop.rows(ADA)
    shop.mappings(MAPPING)
    (shop.dir / "models").rename(shop.dir / "dbt_packages/kit/models")
    shop.dbt("build")
    result = shop.segconn("preview", "--target", "prod")
    assert "has customers as shop.dev_package.customers, and target prod of profile shop names it" in result.output
    assert "shop.prod_package.customers" in result.output
    result = shop.segconn("run", "--vars", "{area: elsewhere}")
    assert "of profile shop names it shop.dev_elsewhere.customers" in result.output
    assert shop.segconn("run").exit_code == 0
    assert users(api) == ["c1"]
