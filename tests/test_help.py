"""Help that teaches: every command shows how it is used, and shells complete it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from standing import MAPPING, PROGRAM

from dbt_segconn.commands import main
from dbt_segconn.docs.pages import pages

README = (Path(__file__).parent.parent / "README.md").read_text()
MANUAL = "\n".join(page.text for page in pages())


@pytest.mark.parametrize("name", main.commands)
def test_every_command_shows_examples_that_parse_and_stands_in_the_readme(name):
    output = CliRunner().invoke(main, [name, "--help"]).output
    _, _, examples = output.partition("Example")
    lines = [line.strip() for line in examples.splitlines() if line.strip().startswith("dbt-segconn ")]
    assert lines, output
    assert f"| `{name}` |" in README
    for line in lines:
        words = line.partition("   ")[0].partition(" > ")[0].split()[1:]
        command = main.commands[words[0]]
        with command.make_context(words[0], words[1:], resilient_parsing=True) as context:
            assert isinstance(context, click.Context)
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words[1:] if word.startswith("-") and word != "-"} <= options, line


@pytest.mark.parametrize("columns", [80, 120])
def test_help_shows_whole_first_sentences(columns):
    output = CliRunner(env={"COLUMNS": str(columns)}).invoke(main, ["--help"]).output
    assert max(map(len, output.splitlines())) <= columns
    words = " ".join(output.split())
    for name, command in main.commands.items():
        sentence = " ".join(command.help.partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
        assert f" {name} {sentence}" in words


@pytest.mark.parametrize("name", ["preview", "estimate", "retry"])
def test_all_is_refused_where_it_is_implied(name):
    result = CliRunner().invoke(main, [name, "--all"])
    assert result.exit_code == 2
    assert re.search("No such option.*--all", result.output)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("status --history --discards", "Choose one of --history, --discards and --orphans"),
        ("status --limit 3", "--limit needs --history or --discards"),
        ("debugger --log-dropped", "--log-dropped needs --log"),
        ("schema meta --target dev", "No such option"),
    ],
)
def test_options_without_effect_are_refused(words, reason):
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2
    assert reason in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell):
    env = {**os.environ, "_DBT_SEGCONN_COMPLETE": f"{shell}_source"}
    script = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert "_DBT_SEGCONN_COMPLETE" in script.stdout, script.stderr
    assert f"_DBT_SEGCONN_COMPLETE={shell}_source" in MANUAL or f"`{shell}_source`" in MANUAL


def completed(words, **env):
    env = {**os.environ, **env, "_DBT_SEGCONN_COMPLETE": "bash_complete", "COMP_WORDS": f"dbt-segconn {words}"}
    env["COMP_CWORD"] = str(len(words.split(" ")))
    found = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert found.stderr == ""
    return {line.partition(",")[2] for line in found.stdout.split()}


def test_values_are_completed():
    assert completed("validate --format ") >= {"text", "json", "github", "sarif"}
    assert completed("reset ", DBT_PROJECT_DIR="/nowhere") == set()


def test_names_of_the_project_are_completed_without_dbt(shop):
    shop.manifest(MAPPING, {**MAPPING, "name": "others"})
    whole = {"customers.identify_customers", "customers.others"}
    assert completed("run --mapping ") == completed("reset cust") == completed("baseline ") == whole
    assert completed("send-test oth") == {"customers.others"}
    folder = {"DBT_PROJECT_DIR": str(shop.dir)}
    assert completed("suggest c", **folder) == completed("preview --select ") == {"customers"}
    assert completed("run --target ") == {"dev"}
    assert completed("run --profile ") == {"shop"}
    quiet = (
        "import sys, click\nfrom dbt_segconn.commands.options import complete_mapping\n"
        "assert complete_mapping(click.Context(click.Command('x')), None, '')\nassert 'dbt' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", quiet], cwd=shop.dir, check=False).returncode == 0
