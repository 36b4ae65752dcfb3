"""The command `test`: run the unit tests of mappings, and write JUnit XML."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.main import FAILED, OK, command
from dbt_segconn.commands.options import FILE, as_options, complete_mapping, project_options
from dbt_segconn.commands.terminal.output import say, styled, styled_severity, writing
from dbt_segconn.errors import counted, printable

if TYPE_CHECKING:
    from dbt_segconn.inspection.unit_tests import Outcome

_COLORS = {"-": "red", "+": "green"}


@command(group="Check")
@project_options
@click.argument("mappings", nargs=-1, shell_complete=complete_mapping)
@click.option("--junit", type=FILE, metavar="FILE", help="Also write the results as JUnit XML.")
def test(*, mappings: tuple[str, ...], junit: Path | None, **params: Any) -> None:
    """Run the unit tests of MAPPINGS, or of all mappings, without a warehouse.

    Tests are written under `tests` of a mapping: given rows, and the calls that a run would send. Needs dbt's
    manifest: `dbt parse` is enough. Types of columns are read as by `validate`. Differences are printed: lines
    with - are expected, lines with + are what a run would send.

    \b
    Examples:
      dbt-segconn test
      dbt-segconn test customers.identify_customers
      dbt-segconn test --junit target/segconn/junit.xml

    Exit codes: 0 all tests passed, 1 a test failed, 2 the tests could not be read.
    """
    from dbt_segconn.authoring.checks import broken_files, stale
    from dbt_segconn.engine.opening import read_project
    from dbt_segconn.inspection.unit_tests import run_unit_tests

    # without a warehouse: a pull request of a fork has no credentials
    project = read_project(as_options(**params), needs_results=False, opens=False)
    outcomes = tuple(run_unit_tests(project, mappings, time.monotonic))
    for outcome in outcomes:
        _print(outcome)
    # the manifest has the tests as they were before the change: their results are not those of the file
    models = {one.positions.model.unique_id: one.positions for one in project.mappings}
    findings = [one for positions in models.values() for one in stale(positions)] + [*broken_files(models.values())]
    for finding in findings:
        say(f"{styled_severity(finding)} {finding.rule.code}: {finding.subject}")
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    tested = len({outcome.mapping for outcome in outcomes})
    if junit:
        _write_junit(outcomes, junit)
    say(f"{counted(len(outcomes), 'test')} of {counted(tested, 'mapping')}: {failed} failed.")
    if not outcomes:
        say("Write tests under `tests` of a mapping: dbt-segconn docs unit-tests")
    sys.exit(FAILED if failed or any(one.rule.severity == "error" for one in findings) else OK)


def _print(outcome: Outcome) -> None:
    word = styled("FAIL", fg="red") if outcome.failures else styled("PASS", fg="green")
    say(f"{word} {outcome.mapping}: {outcome.test}")
    for line in outcome.failures:
        say(styled(f"  {printable(line)}", fg=_COLORS.get(line[:1])))
    if outcome.untyped:
        names = ", ".join(outcome.untyped)
        say(f"  Types are unknown, so values are used as written: {names}. A catalog.json or a data_type gives them.")


def _write_junit(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the results in the form that CI services read."""
    from xml.etree.ElementTree import Element, ElementTree, SubElement  # only written, never parsed

    counts = Counter(bool(outcome.failures) for outcome in outcomes)
    root = Element("testsuites")
    about = {"name": "dbt-segconn", "tests": str(len(outcomes)), "failures": str(counts[True]), "errors": "0"}
    suite = SubElement(root, "testsuite", about, time=f"{sum(outcome.seconds for outcome in outcomes):.3f}")
    for one in outcomes:
        case = SubElement(suite, "testcase", classname=one.mapping, name=one.test, time=f"{one.seconds:.3f}")
        if one.failures:
            # XML cannot contain control characters, not even escaped
            failure = SubElement(case, "failure", message=printable(one.failures[0]))
            failure.text = "\n".join(map(printable, one.failures))
    with writing(path):
        ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
