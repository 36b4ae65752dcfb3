"""`validate` and `run` list all errors of a project with position and fix; nothing is sent."""

from __future__ import annotations

import json
import re
import time

import pytest
from standing import ADA, BOB, MAPPING, WRITE_KEY


def findings(shop, *mappings, code=1, **meta):
    shop.manifest(*(mappings or [MAPPING]), **meta)
    result = shop.segconn("validate")
    assert result.exit_code == code, result.output
    return result.output


def test_valid_project_needs_no_warehouse(shop):
    assert "No findings: 1 mapping on 1 model." in findings(shop, code=0)
    assert not (shop.dir / "shop.duckdb").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("", "the whole file: must be a mapping, not empty"),
        ("destinations:\n", "destinations: must be a mapping, not empty"),
        ("destinations: {}\n", "destinations: "),
        ("destination: {a: {write_key: x}}\n", "destination: unknown key. Did you mean 'destinations'?"),
        ("destinations: {a: {wriet_key: x}}\n", "destinations.a.wriet_key: unknown key. Did you mean 'write_key'?"),
        ("destinations: {a: {wriet_key: x}}\n", "destinations.a.write_key: is missing"),
        ("destinations: {a: {write_key: ' '}}\n", "destinations.a.write_key: must not be empty"),
        ("destinations: {a: {write_key: [x]}}\n", "destinations.a.write_key: must be text, not a list"),
        (
            "destinations: {a: {write_key: x, region: mars}}\n",
            "destinations.a.region: must be 'us-west-2' or 'eu-west-1'",
        ),
        ("destinations: {a: {write_key: x, endpoint: ftp://x}}\n", "destinations.a.endpoint: must start with https://"),
        ("destinations: {a: {write_key: x, endpoint: 'http://[bad'}}\n", "destinations.a.endpoint: is not a valid URL"),
        ("destinations: {a: {write_key: x, endpoint: 'http://:80'}}\n", "destinations.a.endpoint: is not a valid URL"),
        ("destinations: {a: {write_key: x, events_per_second: fast}}\n", "events_per_second: must be a number"),
        (
            "destinations: {a: {write_key: x, concurrency: 0}}\n",
            "concurrency: must be greater than or equal to 1, not 0",
        ),
        ("destinations: {a: {write_key: x, enabled: perhaps}}\n", "enabled: must be true or false, not text"),
        ("destinations: {a: {write_key: x}}\nstate: {schema: [s]}\n", "state.schema: must be text, not a list"),
        ("destinations: {a: {write_key: x}}\nstat: {}\n", "stat: unknown key. Did you mean 'state'?"),
        (
            "destinations: {a: {write_key: x, write_key: y}}\n",
            "segconn.yml:1:34: error SEG101: not valid YAML: the key 'write_key' appears twice",
        ),
        ("destinations:\n  a: [\n", "segconn.yml:"),
        ("destinations: {a: {write_key: \"{{ env_var('NOPE') }}\"}}\n", "the environment variable NOPE is not set"),
        ("destinations: {a: {write_key: \"{{ var('nope') }}\"}}\n", "the variable nope is not set"),
        ('destinations: {a: {write_key: "{{ nope( }}"}}\n', "destinations.a.write_key: {{ nope( }} cannot be rendered"),
    ],
)
def test_invalid_settings_are_found(shop, settings, words):
    shop.write("segconn.yml", settings)
    assert words in findings(shop)


def test_wrong_endpoint_is_rejected(shop, api):
    added = ["/v1", "/v1/", "/v1/batch", "/v1/import", "/V1/identify", "/proxy/v1//batch/"]
    wrong = {f"https://proxy.example.com{path}": "the client adds /v1/batch" for path in added}
    wrong |= {"https://api.segment.io/batch": "must not end in /batch", "https://api.segment.io ": "is not a valid URL"}
    secrets = {"http://user:s3cretPw@host": "must not contain credentials", "https://s3cretPw@host/v1": "credentials"}
    secrets |= {
        "http://host/p?token=s3cretPw": "a query",
        "http://host/p#s3cretPw": "a fragment",
        "http://host?": "query",
    }
    oauth = {"client_id": "a", "key_id": "b", "private_key": "x"}
    shop.manifest(MAPPING)
    for url, words in {**wrong, **secrets}.items():
        shop.settings(endpoint=url, oauth={**oauth, "token_url": url})
        for command in ("validate", "preview", "debug"):
            output = shop.segconn(command).output
            assert words in output.partition("app.endpoint: ")[2].partition("\n")[0], (url, command, output)
            assert "s3cretPw" not in output
        if url in secrets:
            assert words in output.partition("app.oauth.token_url: ")[2].partition("\n")[0], (url, output)
    assert shop.segconn("run").exit_code == 2
    for url in ("https://api.segment.io/", "http://[::1]:8123", "https://host/v1/segment", "https://host/v10"):
        shop.settings(endpoint=url)
        assert shop.segconn("validate").exit_code == 0, url
    assert api.tried == []


def test_missing_settings_show_an_example(shop):
    (shop.dir / "segconn.yml").unlink()
    assert "segconn.yml: error SEG102: not found. Create it beside dbt_project.yml" in findings(shop)


def test_vars_option_reaches_settings(shop):
    shop.manifest(MAPPING)
    shop.write("segconn.yml", {"destinations": {"app": {"write_key": "{{ var('key') }}"}}})
    assert shop.segconn("validate", "--vars", "{key: abc}").exit_code == 0
    assert shop.segconn("validate", "--vars", "[1]").exit_code == 2
    assert shop.segconn("validate", "--vars", "{").exit_code == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": "identfy"}, "action: 'identfy' is not an action. Did you mean 'identify'?"),
        ({"action": 3}, "action: must be text, not a number"),
        ({"destination": "ap"}, "destination: 'ap' is not in segconn.yml. Did you mean 'app'?"),
        ({"sync_mode": "deletes"}, "sync_mode: must be one of added, updated, added_or_updated, deleted"),
        ({"sync_mode": ["added", "gone"]}, "sync_mode: must be one of"),
        ({"first_sync": "never"}, "first_sync: must be 'send' or 'baseline'"),
        ({"guards": {"max_rows": 3}}, "guards.max_rows: unknown key."),
        (
            {"guards": {"max_deleted_percent": 300}},
            "guards.max_deleted_percent: must be less than or equal to 100, not 300",
        ),
        ({"field": {}}, "field: unknown key. Did you mean 'fields'?"),
        ({"fields": ["x"]}, "fields: must be a mapping, not a list"),
        ({"checkpoint": "seen_at"}, "checkpoint: must be a mapping, not text. Keys: column, lag"),
        ({"fields": {"usr_id": "$customer_id"}}, "fields.usr_id: identify has no such field. Did you mean 'user_id'?"),
        (
            {"fields": {"user_id": {"@path": 3}}},
            'fields.user_id."@path": should be a string or a mapping directive but it is a number.',
        ),
        ({"fields": {"user_id": {"@pth": "x"}}}, "fields.user_id: has an invalid directive: @pth."),
        ({"fields": {"user_id": "$customer id"}}, "fields.user_id: has $customer inside a text: write ${customer}"),
        ({"name": ""}, "name: must have at least 1 character"),
    ],
)
def test_invalid_mappings_are_found(shop, change, words):
    output = findings(shop, {**MAPPING, **change})
    assert words in output
    assert re.match(r"models/customers\.yml:\d+:\d+: error SEG\d{3}: model customers, mapping ", output)


def test_all_problems_are_listed_together(shop):
    broken = {**MAPPING, "action": "x", "destination": "y", "fields": {"user_id": "$a b"}}
    assert "6 errors in 2 mappings on 1 model." in findings(shop, broken, {**broken, "name": "other"})


def test_broken_yaml_of_a_model_is_found(shop):
    shop.manifest(MAPPING)
    shop.write("models/customers.yml", "models:\n  - name: customers\n   config: x\n")
    result = shop.segconn("validate")
    assert result.exit_code == 1
    assert "models/customers.yml:3:" in result.output
    assert "SEG101" in result.output
    assert "dbt-segconn docs SEG101" in result.output, "the first error, not a warning before it"
    tested = shop.segconn("test")
    assert (tested.exit_code, "error SEG101" in tested.output) == (1, True), tested.output
    (shop.dir / "models/customers.yml").write_bytes(b"models: []  # \xff")
    result = shop.segconn("validate")
    assert (result.exit_code, "the file is not text in UTF-8" in result.output) == (1, True), result.output


def test_run_lists_all_configuration_errors(shop):
    shop.manifest({**MAPPING, "action": "x"})
    shop.settings(regoin="us-west-2")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert "Fix these 2 problems first:" in result.output
    assert "destinations.app.regoin: unknown key" in result.output
    assert "Actions: identify, track, group, page, screen." in result.output


def test_identifier_defaults_to_primary_key(shop, api):
    shop.mappings(MAPPING, unique_identifier=None)
    assert shop.sync(ADA).exit_code == 0
    shop.mappings(MAPPING, unique_identifier=None, tests=False)
    shop.dbt("parse")
    assert "unique_identifier: is missing" in shop.segconn("validate").output


def test_repeated_name_and_ephemeral_fail(shop):
    assert "two mappings of the model have this name" in findings(shop, MAPPING, MAPPING)
    shop.write("models/customers.sql", "{{ config(materialized='ephemeral') }} select 1 as customer_id")
    shop.dbt("parse")
    assert "an ephemeral model has no table to sync" in shop.segconn("validate").output


def test_required_partition_filter_is_found(shop):
    assert "partition" not in findings(shop, code=0)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["nodes"]["model.shop.customers"]["config"] |= {
        "partition_by": {"field": "day", "data_type": "date"},
        "require_partition_filter": True,
    }
    path.write_text(json.dumps(manifest))
    result = shop.segconn("validate")
    assert result.exit_code == 1
    assert "model customers: its table requires a filter on its partitions" in result.output


def test_template_rendered_by_dbt_is_found(shop):
    shop.rows(ADA)
    fields = {"user_id": "$customer_id", "traits": {"greeting": "Hello {{ email }}"}}
    shop.mappings({**MAPPING, "fields": fields})
    shop.dbt("parse")
    output = shop.segconn("validate").output
    assert "dbt rendered 'Hello {{ email }}' to 'Hello '" in output
    assert "${column}" in output


def test_two_destinations_need_a_choice(shop):
    one = {"write_key": "x", "endpoint": shop.endpoint}
    shop.write("segconn.yml", {"destinations": {"web": one, "app": one}})
    assert "destination: is missing. Destinations: web, app." in findings(shop)


def test_missing_column_stops_the_run(shop, api):
    shop.manifest(
        {**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"email": "$emial"}}},
        {**MAPPING, "name": "other"},
    )
    result = shop.resync(ADA)
    assert result.exit_code == 2
    assert "column 'emial' is not in main.customers. Did you mean 'email'?" in result.output
    assert api.received == []


def test_column_case_is_ignored_as_in_dbt(shop, api):
    shop.columns = ("CUSTOMER_ID", "Email", "plan")
    shop.mappings(MAPPING, tests=False)
    assert shop.sync(ADA, BOB).exit_code == 0
    assert api.calls()[0]["traits"]["email"] == "ada@example.com"


def test_missing_project_message_has_a_fix(shop, tmp_path):
    from click.testing import CliRunner

    from dbt_segconn.commands import main

    result = CliRunner().invoke(main, ["run", "--project-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "no dbt_project.yml here" in result.output


def test_missing_table_is_reported(shop):
    shop.manifest(MAPPING)
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert f"its DuckDB file {shop.dir / 'shop.duckdb'} does not exist" in result.output
    assert not (shop.dir / "shop.duckdb").exists()
    shop.connect().close()
    result = shop.segconn("run", "--all")
    assert '"shop"."main"."customers" is not in target dev (DuckDB file' in result.output
    assert "the schema main" in result.output or "no schema main there" in result.output


def test_broken_profile_is_reported(shop):
    shop.manifest(MAPPING)
    shop.write("profiles.yml", {"other": {}})
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert "dbt cannot open the target" in result.output


def test_help_does_not_import_dbt(shop):
    import subprocess
    import sys

    shop.write("segconn.yml", "")
    code = (
        "import sys; from dbt_segconn.commands import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit('dbt.cli' in sys.modules or 'dbt.adapters' in sys.modules)"
    )
    for arguments in (["--help"], ["run", "--help"], ["run", "--project-dir", str(shop.dir)]):
        started = time.monotonic()
        assert (
            subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False).returncode == 0
        )
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("action", ["group", ""])
def test_fields_of_actions_are_listed(shop, action):
    from click.testing import CliRunner

    from dbt_segconn.commands import main

    output = CliRunner().invoke(main, ["fields", *filter(None, [action])]).output
    assert "group_id (required)" in output
    assert ("event_name (required)" in output) is (not action)


def test_warehouse_errors_hide_secrets(shop, api):
    shop.manifest(MAPPING)
    shop.resync(ADA)
    import duckdb

    with duckdb.connect(str(shop.dir / "shop.duckdb")) as connection:
        connection.execute("alter table segconn.locks rename to kept")
        connection.execute("create view segconn.locks as select * from segconn.kept")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 1
    assert "the warehouse says: " in result.output
    assert "locks is not an table" in result.output
    assert WRITE_KEY not in result.output
