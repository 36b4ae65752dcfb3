"""Runs with the results of the dbt platform, against a stand-in for its Administrative API."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from standing import ADA, BOB, MAPPING

from dbt_segconn.integrations import dbt_platform

TOKEN = "dbtc_7Hq2secretKw"
ACCOUNT = "4711"


class Platform:
    """Jobs and runs of one account. `faults` are statuses for the next requests."""

    def __init__(self):
        self.runs = {}
        self.artifacts = {}  # (run, step, name) → bytes
        self.faults = []
        self.pending = {}  # run → how often it is still running
        self.asked = []

    def add(self, run, status=10, steps=("Invoke dbt with `dbt build`",), retrying=None):
        names = ("Clone git repository", "Invoke dbt with `dbt deps`", *steps, "Invoke dbt with `dbt docs generate`")
        self.runs[run] = {
            "id": run,
            "status": status,
            "job_definition_id": 9,
            "retrying_run_id": retrying,
            "run_steps": [{"index": index, "name": name} for index, name in enumerate(names, 1)],
        }

    def keep(self, run, step, target):
        for name in ("manifest.json", "run_results.json"):
            self.artifacts[run, step, name] = (target / name).read_bytes()

    def answer(self, path, query, headers):
        self.asked.append(path)
        if self.faults:
            return self.faults.pop(0), {}
        if headers.get("Authorization") != f"Token {TOKEN}":
            return 401, {}
        start = f"/api/v2/accounts/{ACCOUNT}/runs/"
        rest = path.removeprefix(start)
        if not path.startswith(start):
            return 404, {}
        if not rest:
            limit, offset = int(query["limit"]), int(query["offset"])
            if limit > 100 or query["order_by"] != "-finished_at":
                return 400, {}
            runs = [
                run
                for run in reversed(self.runs.values())
                if str(run["job_definition_id"]) == query["job_definition_id"]
            ]
            return 200, {"data": [{**run, "run_steps": None} for run in runs[offset : offset + limit]]}
        number, _, artifact = rest.partition("/")
        run = self.runs.get(int(number))
        if run is None:
            return 404, {}
        if not artifact:
            self.pending[run["id"]] = self.pending.get(run["id"], 0) - 1
            return 200, {"data": {**run, "status": 3} if self.pending[run["id"]] >= 0 else run}
        name = artifact.removeprefix("artifacts/")
        content = self.artifacts.get((run["id"], int(query.get("step", 99)), name))
        return (200, content) if content else (404, {})


@contextmanager
def serving(platform):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, content = platform.answer(parts.path, query, self.headers)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def platform(monkeypatch):
    platform = Platform()
    with serving(platform) as url:
        monkeypatch.setenv(dbt_platform.TOKEN, TOKEN)
        monkeypatch.setenv("DBT_CLOUD_ACCOUNT_ID", ACCOUNT)
        monkeypatch.setenv("DBT_CLOUD_HOST", url)
        monkeypatch.setattr(dbt_platform, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(dbt_platform, "sleep", lambda _: None)
        yield platform


def build(shop, command, *, status="success", invocation="i-1", test=None):
    """Write the artifacts of a build of the job, as the platform keeps them."""
    shop.manifest(MAPPING)
    target = shop.dir / "target"
    manifest = json.loads((target / "manifest.json").read_bytes())
    manifest["metadata"]["invocation_id"] = invocation
    (target / "manifest.json").write_text(json.dumps(manifest))
    results = [{"unique_id": "model.shop.customers", "status": status}]
    if test:
        name = next(one for one in manifest["nodes"] if one.startswith("test.shop.unique"))
        results = [{"unique_id": name, "status": test}]
    schema = "https://schemas.getdbt.com/dbt/run-results/v6.json"
    written_at = f"2026-11-27T10:00:0{invocation[-1]}Z"
    metadata = {**manifest["metadata"], "dbt_schema_version": schema, "generated_at": written_at}
    raw = {"metadata": metadata, "args": {"which": command}, "results": results}
    (target / "run_results.json").write_text(json.dumps(raw))
    return target


def test_job_gates_by_its_newest_finished_run(shop, api, platform):
    platform.add(70)
    platform.add(71)
    platform.add(72, status=3)
    platform.keep(70, 3, build(shop, "build", status="error"))
    platform.keep(71, 3, build(shop, "build", invocation="i-2"))
    (shop.dir / "target/run_results.json").unlink()
    shop.table(ADA, BOB)
    result = shop.segconn("run", "--dbt-cloud-job", "9")
    assert result.exit_code == 0, result.output
    assert "Reading run 71 of the dbt platform." in result.output
    assert len(api.accepted) == 2
    assert TOKEN not in result.output
    again = shop.segconn("run", "--dbt-cloud-job", "9")
    assert again.exit_code == 0
    assert "1 mapping left alone until dbt runs again" in again.output
    assert len(api.received) == 2


def test_failed_test_step_holds_a_model_back(shop, api, platform):
    platform.add(71, status=20, steps=("Invoke dbt with `dbt run`", "Invoke dbt with `dbt test --select x`"))
    platform.keep(71, 3, build(shop, "run"))
    platform.keep(71, 4, build(shop, "test", test="fail", invocation="i-2"))
    shop.table(ADA)
    result = shop.segconn("run", "--dbt-cloud-run", "71")
    assert result.exit_code == 1
    assert "failed its dbt tests" in result.output
    assert not api.received


def test_run_awaited_and_errors_retried(shop, api, platform):
    platform.add(71)
    platform.pending[71] = 3
    platform.faults = [429, 503]
    platform.keep(71, 3, build(shop, "build"))
    shop.table(ADA)
    assert shop.segconn("run", "--dbt-cloud-run", "71").exit_code == 0
    assert platform.asked.count(f"/api/v2/accounts/{ACCOUNT}/runs/71/") == 6
    assert len(api.received) == 1


def test_retried_run_completes_earlier_one(shop, api, platform):
    platform.add(71, status=20)
    platform.add(72, retrying=71)
    platform.keep(71, 3, build(shop, "build", status="error"))
    platform.keep(72, 3, build(shop, "build", invocation="i-2"))
    shop.table(ADA)
    assert shop.segconn("run", "--dbt-cloud-run", "72").exit_code == 0
    assert len(api.received) == 1


def test_pages_of_runs_are_read(shop, api, platform):
    platform.add(1)
    platform.keep(1, 3, build(shop, "build"))
    for run in range(2, 152):
        platform.add(run, status=1)
    shop.table(ADA)
    assert shop.segconn("run", "--dbt-cloud-job", "9").exit_code == 0
    assert len(api.received) == 1


@pytest.mark.parametrize(
    ("options", "faults", "environment", "message"),
    [
        (("--dbt-cloud-job", "8"), [], {}, "job 8 of the dbt platform has no finished run"),
        (("--dbt-cloud-run", "99"), [], {}, "run 99 does not exist in account 4711"),
        (("--dbt-cloud-run", "71"), [], {}, "its artifacts have expired"),
        (("--dbt-cloud-run", "71"), [302], {}, "answers 302"),
        (("--dbt-cloud-run", "71"), [200], {}, "is not an API of the dbt platform"),
        (("--dbt-cloud-run", "71"), [500] * 5, {}, "answers 500"),
        (("--dbt-cloud-run", "71"), [], {dbt_platform.TOKEN: "wrong"}, "is not valid for account 4711"),
        (("--dbt-cloud-run", "71"), [], {dbt_platform.TOKEN: ""}, "DBT_CLOUD_API_TOKEN is not set"),
        (("--dbt-cloud-run", "71"), [], {"DBT_CLOUD_ACCOUNT_ID": ""}, "--dbt-cloud-account is missing"),
        (("--dbt-cloud-run", "71"), [], {"DBT_CLOUD_HOST": ""}, "--dbt-cloud-host is missing"),
        (("--dbt-cloud-run", "71"), [], {"DBT_CLOUD_HOST": "http://example.com"}, "must be a host such as"),
        (("--dbt-cloud-run", "71"), [], {"DBT_CLOUD_HOST": "http://127.0.0.1:1"}, "cannot be reached: Connection"),
        (("--dbt-cloud-run", "71", "--dbt-cloud-job", "9"), [], {}, "set only one"),
        (("--dbt-cloud-run", "71", "--run-results", "x"), [], {}, "set only one"),
        (("--dbt-cloud-account", "4711"), [], {}, "--dbt-cloud-account needs --dbt-cloud-job or --dbt-cloud-run"),
    ],
)
def test_unusable_run_is_refused(shop, api, platform, monkeypatch, options, faults, environment, message):
    platform.add(71)
    platform.faults = faults
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shop.manifest(MAPPING)
    result = shop.segconn("run", *options)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert TOKEN not in result.output
    assert not api.received
