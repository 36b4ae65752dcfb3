"""Help that teaches: every command shows how it is used, and shells complete it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from standing import PROGRAM

from dbt_segconn.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text()


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell):
    env = {**os.environ, "_DBT_SEGCONN_COMPLETE": f"{shell}_source"}
    script = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert "_DBT_SEGCONN_COMPLETE" in script.stdout, script.stderr
    assert f"_DBT_SEGCONN_COMPLETE={shell}_source" in README or f"`{shell}_source`" in README


def test_values_are_completed():
    env = {
        **os.environ,
        "_DBT_SEGCONN_COMPLETE": "zsh_complete",
        "COMP_WORDS": "dbt-segconn validate --format ",
        "COMP_CWORD": "3",
    }
    found = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert {"text", "json", "github", "sarif"} <= set(found.stdout.split())
