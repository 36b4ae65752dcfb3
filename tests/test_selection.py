"""`--select` and its kin select what dbt-core selects, and fail in two lines."""

from __future__ import annotations

import json
import shutil

import pytest
from forked import run_dbt
from selecting import CHANGES, METHODS, STATES, listed, run, selected, write_project

SECRET_SQL = "select 'of no concern to a log'"


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The project as dbt-core has built it, with a failed model, a skipped one and a failed test."""
    folder = write_project(tmp_path_factory.mktemp("selection") / "kit")
    run_dbt(folder, "build", "--profiles-dir", str(folder))
    return folder


@pytest.fixture(scope="module")
def changed(kit):
    """The project changed in many ways, and parsed: a folder beside the other."""
    folder = write_project(kit.parent / "changed", **CHANGES)
    run_dbt(folder, "parse", "--profiles-dir", str(folder))
    return folder


@pytest.fixture
def copy(kit, tmp_path):
    """Return a project of one's own, which dbt has built, and a folder of earlier artifacts."""
    folder = shutil.copytree(kit, tmp_path / "copy")
    shutil.copytree(kit / "target", folder / "earlier")
    return folder


def differences(project, selections, expected):
    found = {words: selected(project, *words) for words in selections}
    wanted = dict(zip(selections, expected, strict=True))
    return {words: (names, wanted[words]) for words, names in found.items() if names != wanted[words]}


def test_every_method_selects_as_dbt_does(kit):
    selections = [("--select", *words.split()) for words in METHODS]
    selections += [("--exclude", "tag:nightly"), ("--select", "stg+", "--exclude", "dim+"), ("--selector", "night")]
    expected = listed(kit, selections)
    assert differences(kit, selections, expected) == {}
    assert sum(map(bool, expected)) == len(selections) - 1  # all but what is nowhere


def test_state_and_result_select_as_dbt(kit, changed):
    selections = [("--select", words, "--state", str(kit / "target")) for words in STATES]
    expected = listed(changed, selections)
    assert differences(changed, selections, expected) == {}
    by_words = {words[1]: names for words, names in zip(selections, expected, strict=True)}
    assert by_words["state:new"] == {"fresh"}
    assert by_words["state:modified.macros"] == {"stg"}
    assert by_words["result:error+"] == {"broken", "after_broken"}
    assert by_words["1+result:fail"] == {"plans"}


def test_state_is_relative_to_project(copy):
    assert selected(copy, "--select", "state:old,customers", "--state", "earlier") == {"customers"}


def test_several_values_follow_one_option(kit):
    assert selected(kit, "--select", "customers", "plans", "--exclude", "plans") == {"customers"}
    assert selected(kit, "-s", "customers", "plans", "--target", "dev") == {"customers", "plans"}
    assert selected(kit, "--select=customers", "plans") == {"customers", "plans"}


def fails(project, *options):
    """Return the one problem that a run names. Its text may contain neither a node nor a stack trace."""
    result = run(project, *options)
    assert result.exit_code == 2, result.output
    heading, problem, *rest = result.output.splitlines()
    assert heading == "Fix this first:"
    assert rest == []
    assert len(problem) < 600
    assert SECRET_SQL not in problem
    return problem


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ("--select", "state:modified"),
            "state: needs the manifest.json of an earlier dbt invocation. Name its folder",
        ),
        (("--select", "result:error"), "result: needs the run_results.json of an earlier dbt invocation"),
        (("--exclude", "source_status:fresher+"), "source_status: needs the sources.json of an earlier dbt invocation"),
        (("--select", "customers", "--state", "nowhere"), "nowhere: no manifest.json in"),
        (("--select", "source_status:fresher+", "--state", "earlier"), "earlier/sources.json, which does not exist"),
        (("--select", "colour:red"), "--select colour:red: Runtime Error 'colour' is not a valid method name"),
        (("--select", "state:mended", "--state", "earlier"), 'Got an invalid selector "mended", expected one of'),
        (("--selector", "noon"), "--selector noon: Runtime Error Could not find selector named noon"),
    ],
)
def test_what_cannot_be_selected_is_named(copy, options, problem):
    assert problem in fails(copy, *options)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not a dbt manifest file, or incomplete"),
        ("[]", "not a dbt manifest file, or incomplete"),
        (
            '{"metadata": {"dbt_schema_version": "x/manifest/v20.json"}}',
            "the version of dbt's manifest schema must be 1 to 12, not 20",
        ),
    ],
)
def test_unusable_state_is_named(copy, content, problem):
    (copy / "earlier/manifest.json").write_text(content)
    said = fails(copy, "--select", "state:modified", "--state", "earlier")
    assert f"{copy / 'earlier/manifest.json'}: {problem}" in said


def test_result_method_needs_only_results(copy):
    (copy / "earlier/manifest.json").unlink()
    assert selected(copy, "--select", "result:error", "--state", "earlier") == {"broken"}
    assert "earlier/manifest.json, which does not exist" in fails(copy, "--select", "state:new", "--state", "earlier")


@pytest.mark.parametrize("side", ["target", "earlier"])
def test_values_unknown_to_dbt_are_left_out(copy, side):
    def unknown(manifest):
        node = manifest["nodes"]["model.kit.customers"]
        node["columns"]["id"]["constraints"] = [{"type": "of next year"}]
        node["config"]["on_configuration_change"] = "of next year"
        node["on_error"] = {"of": "next year"}
        node["depends_on"]["macros"].append("snapshot.kit.not_a_macro")
        node["depends_on"]["nodes"].append("model.kit.gone")
        if side == "earlier":
            next(iter(manifest["macros"].values()))["supported_languages"] = ["of next year"]
        manifest["nodes"]["planet.kit.mars"] = {"resource_type": "planet", "unique_id": "planet.kit.mars"}

    edit(copy / side / "manifest.json", unknown)
    assert selected(copy, "--select", "1+customers,state:old", "--state", "earlier") == {"customers", "stg"}
    assert selected(copy, "--select", "state:modified", "--state", "earlier") == set()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("fqn", 7, "cannot read model.kit.customers, key fqn"),
        ("depends_on", "of another kind", "(AttributeError)"),
        ("tags", 7, "cannot read model.kit.customers, key tags"),
    ],
)
def test_unreadable_model_hides_its_sql(copy, key, value, reason):
    def spoil(manifest):
        manifest["nodes"]["model.kit.customers"] |= {"raw_code": SECRET_SQL, "compiled_code": SECRET_SQL, key: value}

    edit(copy / "target/manifest.json", spoil)
    said = fails(copy, "--select", "tag:nightly")
    assert said.startswith("  --select tag:nightly: ")
    assert str(copy / "target/manifest.json") in said
    assert reason in said
