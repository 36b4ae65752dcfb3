"""The action for GitHub: its steps run in bash as GitHub's runner runs them, against a stand-in for its comments."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from github_runner import ACTION, BOT, ROOT, STRANGER, Comments, Runner, serving
from standing import MAPPING

WORKFLOW = ROOT / ".github/workflows/action.yml"
TRACK = {"name": "paid", "action": "track", "fields": {"user_id": "$customer_id", "event_name": "Paid"}}
HOSTILE = {
    **TRACK,
    "name": "x",
    "fields": {**TRACK["fields"], "event_name": "@octocat <img src=x> | [a](http://b)\n::error::x"},
}
with_linters = pytest.mark.skipif(not shutil.which("zizmor"), reason="tests/integrations/run.sh github")


@pytest.fixture
def github():
    comments = Comments()
    with serving(comments) as url:
        comments.url = url
        yield comments


@pytest.fixture
def on_github(shop, github, tmp_path):
    """A job on a pull request: production has one mapping, and the branch the given ones."""
    shop.manifest(MAPPING)
    shutil.copytree(shop.dir / "target", tmp_path / "state")
    temp = tmp_path / "temp"
    temp.mkdir()

    def run(*mappings, event="pull_request", **inputs):
        shop.manifest(*mappings)
        runner = Runner(temp, shop.dir.parent, github.url, event)
        done = runner.action(**{"parse": "false", "project_dir": "shop", "state": "../state"} | inputs)
        done.summary = runner.summary
        return done

    return run


def test_one_comment_is_updated(on_github, github):
    assert not on_github(MAPPING, commands="diff").failed
    assert not github.all  # nothing to say
    assert not on_github(MAPPING, TRACK, commands="diff").failed
    (body,) = github.own()
    assert "customers.paid" in body
    marker = body.partition("\n")[0]
    # a comment of somebody else with the marker, and more comments than a page holds
    github.all = [
        github.add(f"{marker}\nmine", STRANGER),
        *({**github.all[0], "id": n, "body": ""} for n in range(120)),
    ]
    github.add(body, BOT)
    done = on_github(MAPPING, HOSTILE, commands="diff")
    assert not done.failed
    assert done.result["breaking"] == "false"
    assert github.all[0]["body"] == f"{marker}\nmine"
    assert len(github.all) == 122
    updated = github.all[-1]["body"]
    assert "customers.x" in updated
    assert "customers.paid" not in updated
    assert "@octocat" not in updated
    assert not re.search(r"(?<!\\)<img|(?<!\\)\[a\]|^::", updated, re.MULTILINE)
    assert "::error" not in done.printed


def test_breaking_change_fails_after_the_comment(on_github, github):
    done = on_github(TRACK, commands="diff")
    assert done.failed
    assert done.result["breaking"] == "true"
    assert "::error title=dbt-segconn diff::A change breaks" in done.printed
    assert "removed" in github.own()[0]
    assert not on_github(TRACK, commands="diff", fail_on_breaking="false").failed


def test_invalid_mapping_fails_the_action(on_github, github):
    wrong = {**TRACK, "fields": {"user_id": "$customer_id", "event": "50% paid"}}
    done = on_github(MAPPING, wrong)
    assert done.failed
    assert done.outcomes["validate"] == "failure"
    assert re.search(
        r"^::error file=shop/models/customers.yml,line=\d+,col=\d+,title=SEG\d+", done.printed, re.MULTILINE
    )
    assert json.loads(Path(done.result["sarif"]).read_bytes())["runs"][0]["results"]
    assert "diff" not in done.outcomes


def test_failed_unit_test_fails_the_action(on_github, github):
    wrong = {"name": "wrong", "given": {"rows": [{"customer_id": "c1"}]}, "expect": {"calls": [{"event": "Other"}]}}
    done = on_github(MAPPING, {**TRACK, "tests": [wrong]})
    assert done.failed
    assert done.outcomes["test"] == "failure"
    assert "FAIL customers.paid: wrong" in done.printed
    assert "<failure" in Path(done.result["tests"]).read_text()
    assert "diff" not in done.outcomes


def test_fork_gets_the_summary_instead(on_github, github):
    github.can_write = False
    done = on_github(MAPPING, TRACK, commands="diff")
    assert not done.failed
    assert "GitHub answers 403" in done.printed
    assert "customers.paid" in done.summary
    assert not github.all


def test_unknown_command_and_push_are_named(on_github, github):
    done = on_github(MAPPING, commands="diff validte")
    assert done.failed
    assert "not validte" in done.printed
    done = on_github(MAPPING, TRACK, event="push", commands="diff", state="")
    assert not done.failed
    assert "No diff: this is not a pull request" in done.printed
    assert not github.requests


def test_long_comment_is_cut_at_a_line(github, tmp_path):
    file = tmp_path / "long.md"
    file.write_text("".join(f"| {'🛑' * 20} | {n} |\n" for n in range(9_000)))
    runner = Runner(tmp_path, tmp_path, github.url, TOKEN="ghs_tR5kW9secret", COMMENT_KEY="shop --> prod")
    subprocess.run(["python", str(ACTION / "comment.py"), str(file)], env=runner.env, check=True)
    (body,) = github.own()
    assert re.search(r"\| \d+ \|\n\n… and [\d,]+ more lines", body)
    assert body.partition("\n")[0].count("-->") == 1
    assert 200_000 < len(runner.summary) < 260_000


def test_action_is_pinned_and_safe():
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    steps = action["runs"]["steps"] + yaml.safe_load(WORKFLOW.read_text())["jobs"]["action"]["steps"]
    for step in steps:
        assert "${{" not in step.get("run", "")
        assert re.search(r"^\./|@[0-9a-f]{40}$", step.get("uses", "./"))
    manual = (ROOT / "dbt_segconn/docs/11-pull-requests.md").read_text()
    assert [name for name in (*action["inputs"], *action["outputs"]) if f"`{name}`" not in manual] == []


@with_linters
def test_linters_find_nothing():
    subprocess.run(["zizmor", "--offline", "--min-severity=medium", str(ROOT / ".github")], check=True)
    subprocess.run(["shellcheck", str(ACTION / "parse_base.sh")], check=True)


@with_linters
@pytest.mark.timeout(1500)
def test_workflow_runs_on_the_sample_project(github, tmp_path):
    """The base has no mapping on accounts: GitHub's checkout is one commit, and the action fetches the base."""

    def git(folder, *arguments):
        author = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        return subprocess.run(
            ["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True
        ).stdout

    origin = tmp_path / "origin"
    ignored = shutil.ignore_patterns("target", "logs", "*.duckdb*", ".user.yml")
    shutil.copytree(ROOT / "sample_project", origin / "sample_project", ignore=ignored)
    marts = origin / "sample_project/models/marts/marts.yml"
    branch = marts.read_text()
    marts.write_text(branch.replace("name: group_accounts", "name: group_companies"))
    git(origin, "init", "--quiet", "--initial-branch=main")
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "-m", "base")
    marts.write_text(branch)
    git(origin, "commit", "--quiet", "-am", "merge of the pull request")
    git(tmp_path, "clone", "--quiet", "--depth=1", origin.as_uri(), "checkout")
    temp = tmp_path / "temp"
    temp.mkdir()
    pip = tmp_path / "bin/pip"  # keeps what it should install
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/installed\n')
    pip.chmod(0o755)
    sha = git(tmp_path / "checkout", "rev-parse", "HEAD").strip()
    runner = Runner(temp, tmp_path / "checkout", github.url, GITHUB_SHA=sha)
    runner.env["PATH"] = f"{pip.parent}:{runner.env['PATH']}"
    done = runner.job(WORKFLOW, "action")
    assert not done.failed, done.printed
    assert done.outcomes["broken"] == "failure"
    assert f"{ROOT}[duckdb]" in (tmp_path / "installed").read_text().splitlines()
    branch, production = github.own()
    assert "accounts.group_companies" in branch
    assert "customers.profile_changed" in production
    assert ("segconn-report", done.outputs["production"]["report"]) in [
        (given.get("name"), given.get("path")) for _, given in done.used
    ]
