"""Runs a composite action as GitHub's runner does, in bash and with its documented environment; and GitHub's comments.

https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax and …/variables. Other actions are
not run: `uploads` and `used` keep what they are given.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import yaml

ROOT = Path(__file__).parents[1]
ACTION = ROOT / ".github/actions/dbt-segconn"
TOKEN = "ghs_tR5kW9secret"
REPOSITORY = "shop/data"
NUMBER = 7
BOT = {"user": {"type": "Bot", "login": "github-actions[bot]"}, "author_association": "NONE"}
STRANGER = {"user": {"type": "User", "login": "mallory"}, "author_association": "NONE"}
_NAME = re.compile(r"\b(inputs|steps|env|github|runner)\.([\w.-]+)")


class Comments:
    """The comments of one pull request. `status` is the answer to who writes; `can_write` is False for forks."""

    def __init__(self):
        self.all = []
        self.can_write = True
        self.requests = []

    def add(self, body, author):
        self.all.append({"id": 5_000_000_000 + len(self.all), "body": body, **author})
        return self.all[-1]

    def own(self):
        return [one["body"] for one in self.all if one["user"] == BOT["user"]]

    def answer(self, method, path, query, headers, body):
        self.requests.append((method, path))
        base = f"/repos/{REPOSITORY}/issues"
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}
        if method == "GET" and path == f"{base}/{NUMBER}/comments":
            size = int(query.get("per_page", 30))
            start = (int(query.get("page", 1)) - 1) * size
            return (200, self.all[start : start + size]) if size <= 100 else (422, {})
        if not self.can_write:
            return 403, {"message": "Resource not accessible by integration"}
        if len(body["body"]) > 65_536:
            return 422, {"message": "Validation Failed"}
        if method == "POST" and path == f"{base}/{NUMBER}/comments":
            return 201, self.add(body["body"], BOT)
        found = [one for one in self.all if method == "PATCH" and path == f"{base}/comments/{one['id']}"]
        if not found:
            return 404, {"message": "Not Found"}
        found[0]["body"] = body["body"]
        return 200, found[0]


@contextmanager
def serving(comments):
    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            parts = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, answer = comments.answer(
                self.command, parts.path, query, self.headers, json.loads(sent) if sent else None
            )
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Steps:
    """What the steps of an action or a job left behind."""

    printed: str = ""
    outcomes: dict[str, str] = field(default_factory=dict)  # by id, or else by name
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    used: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    failed: bool = False

    def value(self, path):
        step, kind, *name = path.split(".")
        return self.outcomes.get(step, "skipped") if kind == "outcome" else self.outputs.get(step, {}).get(name[0], "")


class Runner:
    """A job on a pull request: `workspace` is its checkout, and `summary` the page that its steps have written."""

    def __init__(self, temp: Path, workspace: Path, api_url: str, event: str = "pull_request", **env: str):
        self.temp = temp
        self.workspace = workspace
        for name in ("event.json", "summary", "output"):
            (temp / name).touch()
        pull_request = {"pull_request": {"number": NUMBER}} if event == "pull_request" else {}
        (temp / "event.json").write_text(json.dumps(pull_request))
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "GITHUB_"))},
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": api_url,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(temp / "event.json"),
            "GITHUB_STEP_SUMMARY": str(temp / "summary"),
            "GITHUB_WORKSPACE": str(workspace),
            "RUNNER_TEMP": str(temp),
            **env,
        }

    @property
    def summary(self):
        return (self.temp / "summary").read_text(encoding="utf-8")

    def action(self, **inputs: str):
        """Run the action with inputs, whose names have underscores here."""
        return self._action(ACTION, {name.replace("_", "-"): value for name, value in inputs.items()})

    def job(self, file: Path, name: str):
        """Run the steps of a job of a workflow."""
        return self._run(yaml.safe_load(file.read_text())["jobs"][name]["steps"], {}, self.env)

    def _action(self, folder: Path, given: Mapping[str, str]):
        action = yaml.safe_load((folder / "action.yml").read_text())
        unknown = given.keys() - action["inputs"].keys()
        assert not unknown, unknown
        inputs = {name: given.get(name, one.get("default", "")) for name, one in action["inputs"].items()}
        inputs = {name: self._filled(value, {}, Steps()) for name, value in inputs.items()}
        steps = self._run(action["runs"]["steps"], inputs, {**self.env, "GITHUB_ACTION_PATH": str(folder)})
        outputs = {name: self._filled(one["value"], inputs, steps) for name, one in action["outputs"].items()}
        return SimpleNamespace(**vars(steps), result=outputs)

    def _run(self, steps, inputs, env):
        done = Steps()
        for step in steps:
            name = step.get("id", step.get("name", step.get("uses")))
            if done.failed or not self._evaluated(step.get("if", "True"), inputs, done):
                continue
            succeeded = self._step(step, name, inputs, env, done)
            done.outcomes[name] = "success" if succeeded else "failure"
            done.failed |= not succeeded and not step.get("continue-on-error", False)
        return done

    def _step(self, step, name, inputs, env, done):
        if "uses" in step:
            given = {key: self._filled(str(value), inputs, done) for key, value in step.get("with", {}).items()}
            done.used.append((step["uses"], given))
            if not step["uses"].startswith("./"):
                return True
            inner = self._action(ROOT / step["uses"], given)
            done.printed += inner.printed
            done.used += inner.used
            done.outputs[name] = inner.result
            return not inner.failed
        output = self.temp / "output"
        output.write_text("")
        variables = {key: self._filled(str(value), inputs, done) for key, value in step.get("env", {}).items()}
        assert "${{" not in step["run"]  # data in a script is code
        process = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.workspace / self._filled(step.get("working-directory", "."), inputs, done),
            env={**env, **variables, "GITHUB_OUTPUT": str(output)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        done.printed += process.stdout
        done.outputs[name] = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return process.returncode == 0

    def _filled(self, text, inputs, done):
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(self._evaluated(found[1], inputs, done)), text)

    def _evaluated(self, expression, inputs, done):
        """Evaluate an expression of GitHub: the operators and functions that the action uses."""

        def value(context, path):
            if context == "steps":
                return done.value(path)
            github = {"token": TOKEN, "ref": "refs/pull/7/merge"}
            return {"inputs": inputs, "env": self.env, "github": github, "runner": {"temp": str(self.temp)}}[
                context
            ].get(path, "")

        python = _NAME.sub(r"value('\1', '\2')", expression.replace("||", " or ").replace("&&", " and "))
        return eval(python.strip(), {"value": value, "contains": lambda text, part: part in text})
