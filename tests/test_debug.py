"""`dbt-segconn debug`: every cause that keeps a run from working is named, with what to do."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import open_files
import pytest
from click.testing import CliRunner
from standing import ADA, MAPPING, WRITE_KEY, Api, serving

from dbt_segconn.commands import debug as debug_command
from dbt_segconn.commands import main
from dbt_segconn.delivery import answers as probes
from dbt_segconn.project import settings
from dbt_segconn.web.debugger import running


def debug(shop, *options):
    result = shop.segconn("debug", *options)
    return result.exit_code, result.output


def tables(shop):
    return shop.query(
        "select schema_name from duckdb_schemas() where not internal union all select table_name from duckdb_tables() "
        "order by all"
    )


def test_schema_of_probe_is_dropped_without_cascade(shop, monkeypatch):
    """A table that another session makes in it stays."""
    shop.manifest(MAPPING)
    shop.table(ADA)
    use = debug_command._use

    def use_and_add(session, probe):
        use(session, probe)
        other = probe.incorporate(path={"identifier": "of_a_user"})
        session.run("segconn_create_table", relation=other, columns={"word": "text"})

    monkeypatch.setattr(debug_command, "_use", use_and_add)
    assert "is not empty, so it was not dropped" in debug(shop)[1]
    assert [one for one in tables(shop) if "of_a_user" in one.values()]


@pytest.fixture
def ready(shop):
    shop.manifest(MAPPING)
    shop.table(ADA)
    return shop


def test_all_is_well_with_a_debugger_and_nothing_is_left_behind(shop):
    shop.rows(ADA)
    shop.dbt("run")
    before = tables(shop)
    with running(write_keys=[WRITE_KEY]) as local:
        shop.settings(endpoint=local.url)
        code, text = debug(shop)
    assert code == 0, text
    for line in (
        f"OK     project: {shop.dir}/dbt_project.yml",
        "OK     settings: segconn.yml, destinations: app",
        "OK     mappings: 1, enabled: 1",
        f"OK     dbt's results: {shop.dir}/target/run_results.json (`dbt run`, ",
        "1 model refreshed, 0 failed tests",
        "OK     target: dev (the last dbt invocation, the default of the profile)",
        f"OK     warehouse: DuckDB file {shop.dir}/shop.duckdb, by target dev",
        "OK     connection: answers in",
        "OK     rights: may create the schema",
        "OK     models: those of 1 mapping exist",
        f"OK     destination app: write key: {local.url} has this key",
        "?      destination app: region: cannot be checked with `endpoint`",
        f"OK     destination app: endpoint and clock: {local.url} can be reached",
        "ERROR=0 UNKNOWN=1",
    ):
        assert line in text
    assert tables(shop) == before
    profiles = (shop.dir / "profiles.yml").read_text()
    shop.write("profiles.yml", f"{profiles}    other:\n      type: duckdb\n      path: other.duckdb\n")
    text = debug(shop, "--target", "other")[1]
    assert "OK     target: other (--target)" in text
    assert "ERROR  warehouse: dbt built the models on another target: the manifest has customers as shop.main" in text
    shop.segconn("run")
    before = tables(shop)
    assert "OK     rights: may create, write, read and drop tables in" in debug(shop)[1]
    assert tables(shop) == before


def test_a_wrong_write_key_and_a_host_that_does_not_tell(ready, api):
    with running(write_keys=["another"]) as local:
        ready.settings(endpoint=local.url)
        code, text = debug(ready)
    assert code == 1
    assert re.search(
        r"ERROR  destination app: write key: .* has no such key \(HTTP status 404\)\n +Copy the key from", text
    )
    ready.settings()
    code, text = debug(ready)
    assert code == 0, text
    assert "?      destination app: write key: http" in text
    assert "does not check write keys (HTTP status 404)" in text
    assert api.tried == [], "no call was sent"


@contextmanager
def segment(monkeypatch, api):
    """Put a stand-in where Segment's own hosts are."""
    with serving(api) as url:
        monkeypatch.setattr(probes, "SETTINGS_HOST", url)
        monkeypatch.setattr(settings, "ENDPOINTS", {"us-west-2": url, "eu-west-1": url})
        yield url


class Cdn(Api):
    """Segment's settings endpoint for one key; `host` is where its source takes calls."""

    host = "events.eu1.segmentapis.com/v1"

    def answer(self, path):
        if path == f"/v1/projects/{WRITE_KEY}/settings":
            return 200, json.dumps({"integrations": {"Segment.io": {"apiHost": self.host}}}).encode()
        return 403 if path.startswith("/v1/") else 404, b"nothing here"


def test_segment_tells_whether_it_knows_the_key_and_where_the_source_is(ready, monkeypatch):
    cdn = Cdn()
    with segment(monkeypatch, cdn):
        ready.settings(endpoint=None)
        code, text = debug(ready)
        assert code == 1
        assert "ERROR  destination app: region: the source is in eu-west-1, segconn.yml has us-west-2" in text
        assert "Set `region: eu-west-1`" in text
        ready.settings(endpoint=None, region="eu-west-1")
        assert "OK     destination app: region: the source is in eu-west-1" in debug(ready)[1]
        cdn.host = "somewhere.example.com"
        assert "?      destination app: region:" in debug(ready)[1]
        ready.settings(endpoint=None, write_key="wrong-4f3Kkey")
        code, text = debug(ready)
        assert code == 1
        assert "has no such key (HTTP status 403)" in text


@pytest.mark.parametrize(
    ("seconds", "label", "words"),
    [(30, "WARN", "30 s behind"), (-30, "WARN", "30 s ahead of"), (600, "ERROR", "600 s behind")],
)
def test_a_clock_that_is_wrong_is_told_with_what_it_does(ready, api, seconds, label, words):
    api.clock_ahead = seconds
    code, text = debug(ready)
    assert code == (1 if label == "ERROR" else 0)
    (line,) = [line for line in text.splitlines() if "this machine's clock is" in line]
    assert line.startswith(label)
    told = int(re.search(r"clock is (\d+) s", line)[1])
    assert abs(told - abs(seconds)) <= 2
    assert words.partition(" s ")[2] in line
    assert "Segment corrects timestamps by the sender's clock" in text


def test_who_cannot_be_reached_is_named(ready):
    ready.settings(endpoint="http://127.0.0.1:9")
    code, text = debug(ready)
    assert code == 1
    assert "?      destination app: write key: http://127.0.0.1:9 cannot be reached: connection refused" in text
    assert (
        "ERROR  destination app: endpoint and clock: http://127.0.0.1:9 cannot be reached: connection refused" in text
    )


def test_an_oauth_application_is_tried_and_its_key_is_not_shown(ready, api):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    host = Api()
    host.take = lambda _raw, _headers: host.faults.pop(0)
    host.faults = [(200, {}, b'{"access_token": "token-7Hk2secret", "expires_in": 3600}'), (401, {}, b"{}")]
    with serving(host) as url:
        oauth = {"client_id": "client", "key_id": "kid", "private_key": key.decode(), "token_url": url}
        ready.settings(oauth=oauth)
        assert f"OK     destination app: OAuth: {url} issues an access token" in debug(ready)[1]
        code, text = debug(ready)
    assert code == 1
    assert "the OAuth application was rejected with HTTP status 401" in text
    assert "token-7Hk2secret" not in text


def test_what_is_wrong_with_the_files_is_told_as_far_as_it_goes(shop, tmp_path):
    shop.settings(regoin="us-west-2")
    code, text = debug(shop)
    assert code == 1
    assert "ERROR  settings: segconn.yml:6: destinations.app.regoin: unknown key" in text
    assert "manifest.json: not found" in text
    assert "?      warehouse: not checked" in text
    shop.settings()
    shop.manifest({**MAPPING, "action": "trakc"})
    code, text = debug(shop)
    assert "ERROR  mappings: 1 error\n       `dbt-segconn validate` lists them." in text
    shop.manifest(MAPPING)
    code, text = debug(shop)
    assert "ERROR  warehouse: target dev: its DuckDB file" in text
    assert "WARN   dbt's results: a run would not start" in text
    shop.write("profiles.yml", {"other": {}})
    code, text = debug(shop)
    assert code == 1
    assert "ERROR  warehouse: dbt cannot open the target" in text
    result = CliRunner().invoke(main, ["debug", "--project-dir", str(tmp_path), "--format", "json"])
    assert result.exit_code == 1
    assert [one["status"] for one in json.loads(result.output)] == ["ok", "error"]


def test_denied_tables_are_reported(ready):
    open_files.close()  # an open file stays writable
    ready.write(
        "profiles.yml",
        {
            "shop": {
                "target": "dev",
                "outputs": {
                    "dev": {
                        "type": "duckdb",
                        "path": "shop.duckdb",
                        "config_options": {"access_mode": "read_only"},
                    }
                },
            }
        },
    )
    code, text = debug(ready)
    assert code == 1
    assert "ERROR  rights: the state tables of" in text
    assert "OK     models:" in text


def test_disabled_destination_is_not_asked(ready):
    ready.settings(enabled=False)
    assert "?      destination app: is disabled: not checked" in debug(ready)[1]
