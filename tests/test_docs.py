"""The manual says what the program does: generated parts are fresh, examples work, links and messages exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from standing import MAPPING
from test_help import completed
from write_reference import fresh_pages

import dbt_segconn
from dbt_segconn.commands import main
from dbt_segconn.docs.pages import pages, sections, slug, topics
from dbt_segconn.engine.opening import Options
from dbt_segconn.engine.report import ARTIFACT_FIELDS
from dbt_segconn.mapping.compiler import compile_mapping
from dbt_segconn.mapping.directives import DIRECTIVES
from dbt_segconn.mapping.schema import EXAMPLES
from dbt_segconn.project.findings import RULES
from dbt_segconn.project.meta import MappingMeta, ModelMeta
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.strict_model import read
from dbt_segconn.state.tables import COUNTS

PACKAGE = Path(dbt_segconn.__file__).parent
README = PACKAGE.parent / "README.md"
FILES = [README, *sorted((PACKAGE / "docs").glob("*.md"))]
by_name = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def shown(*arguments):
    return CliRunner().invoke(main, ["docs", *arguments])


def blocks(file, *languages):
    """The code blocks of a file, without the indentation of a list."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", file.read_text(), re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, name, text in found if name in languages]


def test_generated_parts_are_fresh():
    stale = [file for file, text, fresh in fresh_pages() if text != fresh]
    assert not stale, "run `python tests/write_reference.py`"


def test_pages_are_listed_in_order():
    listed = [line.split()[0] for line in shown().output.partition("\n\n")[0].splitlines()]
    assert listed == [page.topic for page in pages()]
    assert listed[0] == "getting-started"
    assert [page.file[:2] for page in pages()] == [f"{number:02}" for number in range(1, len(pages()) + 1)]


@pytest.mark.parametrize("code", RULES)
def test_code_shows_its_finding(code):
    output = shown(code.lower()).output
    assert output.startswith(f"### {code} {RULES[code].name}\n")
    words = " ".join(output.split())  # lines are as wide as COLUMNS
    assert RULES[code].title in words
    assert RULES[code].advice in words
    (topic,) = re.findall(r"Read on: `dbt-segconn docs (.+)`", output)
    assert shown(topic).exit_code == 0


@pytest.mark.parametrize("name", main.commands)
def test_command_shows_its_section(name):
    output = shown(name).output
    assert output.startswith((f"### {name}\n", f"### {name} ")) or name == "fields"
    assert "<!--" not in output


def test_page_comes_before_section():
    assert shown("Getting-Started").output.startswith("# Getting started\n")
    assert shown("checkpoints").output.startswith("## Checkpoints\n")
    assert shown("@case").output.startswith("### @case\n")


def test_links_of_pages_are_topics():
    for page in pages():
        for link in re.findall(r"\]\((\d\d-[^)]+)\)", page.text):
            heading = shown(link).output.partition("\n")[0].lstrip("# ")
            assert slug(heading) == link.partition("#")[2] or "#" not in link
            assert heading


def test_pages_fit_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for page in pages():
        output = shown(page.topic).output
        text = re.sub(r"^ *```.*?^ *```$", "", output, flags=re.DOTALL | re.MULTILINE)
        assert [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()] == []
        manual = re.sub(
            r"<!-- .*? -->|^\|.*\n(?=\|[-| ]+\|$)", "", page.text, flags=re.MULTILINE
        )  # without heads of tables
        assert set(re.findall(r"\w+", manual)) <= set(re.findall(r"\w+", output))


def test_pager_may_close_standard_output():
    pager = "lambda text: (print(text), sys.stdout.close())"  # as click 8.4.0 does without a terminal
    start = "from dbt_segconn.__main__ import program; program()"
    code = f"import sys, click; click.echo_via_pager = {pager}; {start}"
    done = subprocess.run([sys.executable, "-c", code, "docs", "guards"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("# Guards")
    assert done.stderr == ""


def test_unknown_topic_proposes_the_nearest():
    result = shown("chekpoints")
    assert result.exit_code == 2
    assert "Did you mean 'checkpoints'?" in result.output


def test_topics_are_completed():
    assert {"getting-started", "findings", "troubleshooting"} <= completed("docs ")
    assert completed("docs SEG21") == {code for code in RULES if code.startswith("SEG21")}


def test_findings_name_the_manual(shop):
    shop.manifest({**MAPPING, "action": "x"})
    assert shop.segconn("validate").output.rstrip().endswith("how to fix it: dbt-segconn docs SEG205")
    assert '"help": "dbt-segconn docs SEG205"' in shop.segconn("validate", "--format", "json").output


@by_name
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)#]*(?:#[^)]*)?)\)", file.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        other = file.parent / path if path else file
        assert other.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", other.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), target


@by_name
def test_yaml_is_valid(file):
    for text in blocks(file, "yaml"):
        content = yaml.safe_load(text)
        assert faults(content) == [], text


def faults(content):
    """What is wrong with an example of segconn.yml or of a model's YAML, but for secrets that Jinja gives."""
    if not isinstance(content, dict):
        return []
    if content.keys() & {"destinations", "budget", "pricing", "alerts"}:
        app = {"app": {"write_key": "key"}}
        return [
            one
            for one in read(Settings, {"destinations": app, **content})[1]
            if one.path[-1] not in {"private_key", "url", "routing_key"}
        ]
    models = [one["config"]["meta"]["segconn"] for one in content.get("models", ())]
    mappings = [mapping for meta in models for mapping in meta["mappings"]]
    return [
        fault
        for model, values in ((ModelMeta, models), (MappingMeta, mappings))
        for value in values
        for fault in read(model, value)[1]
    ]


@by_name
def test_commands_exist(file):
    text = "\n".join(blocks(file, "console", "cron", "bash", "yaml", "python"))
    for line in re.findall(r"dbt-segconn ([a-z][^\n;&`'\"]*)", text):
        words = re.split(r"\s{2,}|\s[>#|]", line)[0].split()
        if words[0] not in main.commands:
            assert words[0] in {"validate", "sync"}, line
            continue
        options = {name for one in main.commands[words[0]].params for name in (*one.opts, *one.secondary_opts)}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line


def test_python_examples_have_known_options():
    calls = [
        node
        for file in FILES
        for text in blocks(file, "python")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "dbt_segconn.run"
    ]
    assert calls
    assert {word.arg for call in calls for word in call.keywords} <= set(Options.__dataclass_fields__)


@pytest.mark.parametrize("name", DIRECTIVES)
def test_directive_example_gives_its_result(name):
    example = EXAMPLES[name]
    assert compile_mapping({"field": example.mapping})(example.record) == {"field": example.result}


def test_directive_examples_are_in_order():
    assert list(EXAMPLES) == list(DIRECTIVES)


def test_artifact_has_the_documented_fields(shop):
    shop.manifest(MAPPING, {**MAPPING, "name": "off", "enabled": False})
    result = shop.resync(("c-1", "ada@example.com", "pro"))
    found = set(paths(result.artifact(shop.dir)))
    assert found == {*ARTIFACT_FIELDS, *(f"results[].counts.{name}" for name in COUNTS)}


def paths(value, prefix=""):
    if isinstance(value, dict) and not prefix.endswith(("timing", "resumed_sync")):
        for key, one in value.items():
            yield from paths(one, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list) and value:
        for one in value:
            yield from paths(one, f"{prefix}[]")
    else:
        yield prefix


def test_troubleshooting_quotes_messages():
    page = next(page for page in pages() if page.topic == "troubleshooting")
    texts = " ".join(
        node.value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    texts += " ".join(file.read_text() for file in PACKAGE.rglob("*.sql"))
    headings = [section.text.partition("\n")[0][4:] for section in sections(page) if section.level == 3]
    parts = [part.strip(" .:") for heading in headings for part in heading.split("…")]
    assert [part for part in parts if part not in texts] == []


def test_readme_is_short():
    assert len(README.read_text().encode()) < 10_000
    assert len(topics()) == len({topic.lower() for topic in topics()})


def test_quiet_has_its_environment_variable(monkeypatch):
    monkeypatch.setenv("DBT_QUIET", "1")
    with main.commands["run"].make_context("run", []) as context:
        assert context.params["quiet"] is True


def test_options_have_plain_env_vars():
    names = [
        variable
        for command in main.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
        for variable in ([option.envvar] if isinstance(option.envvar, str) else option.envvar or ())
    ]
    assert names
    assert all(re.fullmatch("[A-Z_]+", name) for name in names)
