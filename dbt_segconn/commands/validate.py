"""The command `validate`: all findings of a project as text, JSON, GitHub's annotations or SARIF."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.commands.main import FAILED, OK, command
from dbt_segconn.commands.options import as_options, format_option, project_options
from dbt_segconn.commands.terminal.output import say, styled_severity, write, write_json
from dbt_segconn.errors import counted
from dbt_segconn.project.findings import DOUBTFUL_COLUMN, NO_COLUMN, NO_ORDER, RULES, Finding, InvalidProject, dotted
from dbt_segconn.version import __version__

if TYPE_CHECKING:
    from dbt_segconn.engine.opening import Options, Project
    from dbt_segconn.project.artifacts import Manifest
    from dbt_segconn.project.context import Context
    from dbt_segconn.project.drafts import ModelDraft
    from dbt_segconn.project.settings import Settings
    from dbt_segconn.project.tracking_plan import TrackingPlan

# Incremented if a key of the JSON changes its meaning or is removed
SCHEMA_VERSION = 1


def _explain(ctx: click.Context, _: click.Parameter, code: str | None) -> None:
    """Print the explanation of a code and exit, before the project options are read."""
    if code is not None:
        rule = RULES[code]
        write(f"{rule.code} {rule.name} ({rule.severity})\n{rule.title}\n\n{rule.advice}\n\nManual: {rule.help}")
        ctx.exit()


@command(group="Check")
@project_options
@format_option(
    *("text", "json", "github", "sarif"),
    explanation="github: annotations of a pull request; sarif: SARIF 2.1.0 for code scanning.",
)
@click.option("--online", is_flag=True, help="Also read the models' columns from the warehouse.")
@click.option("--warnings-as-errors", is_flag=True, help="Also exit with 1 for warnings.")
@click.option(
    "--explain",
    type=click.Choice(list(RULES), case_sensitive=False),
    metavar="CODE",
    expose_value=False,
    is_eager=True,  # a code is explained outside of a project, too
    callback=_explain,
    help="Explain the code of a finding.",
)
def validate(*, style: str, online: bool, warnings_as_errors: bool, **params: Any) -> None:
    """Check segconn.yml and every mapping of the project, without warehouse or network.

    Lists all findings, each with its line. Needs dbt's manifest: `dbt parse` is enough. Columns and their types
    are read from contracts, from documentation and from catalog.json, which `dbt docs generate` writes (dbt 2:
    `dbt compile --write-catalog`).

    \b
    Examples:
      dbt-segconn validate
      dbt-segconn validate --online                 also read the columns from the warehouse
      dbt-segconn validate --format github          in a GitHub workflow
      dbt-segconn validate --format sarif > segconn.sarif
      dbt-segconn validate --explain SEG302

    Exit codes: 0 no errors, 1 errors were found, 2 no project or no manifest was found.
    """
    validation = _validate(as_options(**params), online=online)
    _print(validation, style)
    sys.exit(FAILED if validation.errors or (warnings_as_errors and validation.findings) else OK)


@dataclass(frozen=True, slots=True)
class Validation:
    """The findings of a project, sorted by file and line, and how many models and mappings were checked.

    `other_versions` are the names of mappings of model versions that are not synced.
    """

    project_dir: Path
    models: int
    mappings: int
    findings: tuple[Finding, ...]
    other_versions: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        """The number of findings that are errors; the others are warnings."""
        return sum(finding.rule.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """The number of findings that are warnings."""
        return len(self.findings) - self.errors


def _validate(options: Options, *, online: bool) -> Validation:
    """Check segconn.yml and every mapping of the project; with `online`, read the columns from the warehouse.

    Raises ConfigurationError if no project or no readable manifest is found.
    """
    from dbt_segconn.engine.opening import Project, check_project, resolve_context
    from dbt_segconn.project.artifacts import read_manifest
    from dbt_segconn.project.drafts import read_drafts

    # a target is needed only to read columns from the warehouse
    context = resolve_context(options, opens=online)
    settings, findings = _read_settings(context)
    manifest = read_manifest(context.artifacts_dir)
    check_project(context, manifest)
    drafts = read_drafts(manifest, settings.destinations if settings else None, context.project_dir)
    findings += _in_files(context, manifest, settings, drafts)
    if online and settings:
        # findings on columns that files list are replaced by findings on the real columns
        findings = [one for one in findings if one.rule not in {NO_COLUMN, DOUBTFUL_COLUMN, NO_ORDER}]
        findings += _in_warehouse(drafts, Project(context, settings, manifest, None, ()), options)
    return Validation(
        context.project_dir,
        sum(not draft.syncs_other_versions for draft in drafts),
        sum(len(draft.mappings) for draft in drafts),
        tuple(sorted(dict.fromkeys(findings), key=_order)),  # two checks may find the same mistake
        tuple(one.names.short for draft in drafts for one in draft.other_versions),
    )


def _read_settings(context: Context) -> tuple[Settings | None, list[Finding]]:
    from dbt_segconn.project.settings import read_settings

    try:
        return read_settings(context.project_dir, context.jinja()), []
    except InvalidProject as error:
        return None, list(error.findings)


def _in_files(
    context: Context, manifest: Manifest, settings: Settings | None, drafts: Sequence[ModelDraft]
) -> Iterator[Finding]:
    from dbt_segconn.authoring.checks import CheckInputs, check, check_settings
    from dbt_segconn.authoring.misplaced import misplaced, plain_secrets
    from dbt_segconn.project.artifacts import Catalog
    from dbt_segconn.project.mappings import check_rules
    from dbt_segconn.project.settings import findings_in_settings

    plans: Mapping[str, TrackingPlan] = {}
    if settings:
        plans, findings = check_rules(settings, drafts, context.project_dir)
        yield from findings
        yield from findings_in_settings(context.project_dir, check_settings(settings, drafts))
        yield from plain_secrets(context.project_dir)
    # without valid settings, drafts are checked as far as possible: all findings are reported at once
    for draft in drafts:
        yield from draft.findings
        # versions that are not synced: only errors, because such mappings may be old on purpose
        yield from (one.finding(fault) for one in draft.other_versions for fault in one.faults)
    yield from misplaced(context.project_dir, manifest)
    synced = [one for one in drafts if not one.syncs_other_versions]
    yield from check(synced, CheckInputs(manifest, Catalog(context.artifacts_dir, manifest), settings, plans))


def _in_warehouse(drafts: Iterable[ModelDraft], project: Project, options: Options) -> Iterator[Finding]:
    from dbt_segconn.engine.opening import opened
    from dbt_segconn.project.mappings import to_mapping
    from dbt_segconn.warehouse.source import find_source

    with opened(project, options) as warehouse, warehouse.session("validate") as session:
        for draft in (one for model in drafts if not model.faults for one in model.mappings if not one.faults):
            # a model that is not built yet is a finding, and does not end the checks of the others
            try:
                find_source(to_mapping(draft), session)
            except InvalidProject as error:
                yield from error.findings


def _order(finding: Finding) -> tuple[bool, str, int, int]:
    """Return the key that sorts findings: those of segconn.yml first, then by file and place."""
    from dbt_segconn.project.settings import FILE_NAME

    return finding.file != FILE_NAME, finding.file, finding.line or 0, finding.column or 0


def _print(validation: Validation, style: str) -> None:
    # the root of the checkout; the dbt project may be a folder of it
    repository = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    if style == "json":
        write_json(_as_json(validation))
    elif style == "sarif":
        write_json(_as_sarif(validation, repository))
    elif style == "github":
        for line in as_github(validation, repository):
            click.echo(line)  # `say` would escape the commands; `as_github` escapes the data in them
        say(_summary(validation))
    else:
        for finding in validation.findings:
            say(_as_line(finding, styled_severity(finding)))
        if validation.other_versions:
            say(f"Not synced, by `versions` (latest by default): {', '.join(validation.other_versions)}.")
        say(_summary(validation))


def _as_line(finding: Finding, severity: str) -> str:
    """Return a line in the form of compilers, `file:line:column: ...`, which editors and terminals link."""
    place = ":".join(str(part) for part in (finding.file, finding.line, finding.column) if part is not None)
    return f"{place}: {severity} {finding.rule.code}: {finding.subject}"


def _summary(validation: Validation) -> str:
    scope = f"{counted(validation.mappings, 'mapping')} on {counted(validation.models, 'model')}"
    if not validation.findings and not validation.mappings:
        return "dbt's manifest has no mapping. Run `dbt parse` if you have just written one."
    if not validation.findings:
        return f"No findings: {scope}."
    counts = [counted(validation.errors, "error")] if validation.errors else []
    counts += [counted(validation.warnings, "warning")] if validation.warnings else []
    code = min(validation.findings, key=lambda finding: finding.rule.severity != "error").rule.code
    return f"{' and '.join(counts)} in {scope}. What a code means and how to fix it: dbt-segconn docs {code}"


def _as_json(validation: Validation) -> dict[str, Any]:
    """Return all findings as one JSON object."""
    return {
        "schema_version": SCHEMA_VERSION,
        "project_dir": str(validation.project_dir),
        "models": validation.models,
        "mappings": validation.mappings,
        "other_versions": validation.other_versions,
        "errors": validation.errors,
        "warnings": validation.warnings,
        "findings": [
            {
                "code": one.rule.code,
                "name": one.rule.name,
                "severity": one.rule.severity,
                "file": one.file,
                "line": one.line,
                "column": one.column,
                "model": one.resource.partition(" ")[2] if one.resource else None,
                "mapping": one.mapping,
                "path": dotted(one.path),
                "message": one.message,
                "fix": one.fix or one.rule.advice,
                "help": one.rule.help,
            }
            for one in validation.findings
        ],
    }


def as_github(validation: Validation, repository: Path) -> Iterator[str]:
    """Yield GitHub's workflow commands, which annotate the lines of a pull request.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    for one in validation.findings:
        properties = {
            "file": _path_in_repository(one, validation, repository),
            "line": one.line,
            "col": one.column,
            "title": f"{one.rule.code} {one.rule.name}",
        }
        fields = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value is not None)
        yield f"::{one.rule.severity} {fields}::{_data(one.subject)}"


def _data(text: str) -> str:
    # the escapes of GitHub's toolkit: https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _path_in_repository(finding: Finding, validation: Validation, repository: Path) -> str:
    """Return the file's path from the root of the repository, as code review needs it."""
    path = validation.project_dir / finding.file
    # a project outside of the checkout has no path in it: its own path is better than none
    try:
        return path.resolve().relative_to(repository.resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def _as_sarif(validation: Validation, repository: Path) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html ."""
    driver = {
        "name": "dbt-segconn",
        "version": __version__,
        "rules": [
            {
                "id": rule.code,
                "name": "".join(word.capitalize() for word in rule.name.split("-")),
                "shortDescription": {"text": rule.title},
                # GitHub's code scanning shows the Markdown
                "help": {"text": f"{rule.advice}\n{rule.help}", "markdown": f"{rule.advice}\n\n`{rule.help}`"},
                "defaultConfiguration": {"level": rule.severity},
            }
            for rule in RULES.values()
        ],
    }
    results = [_sarif_result(one, validation, repository) for one in validation.findings]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        # PyYAML counts columns in code points
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _sarif_result(finding: Finding, validation: Validation, repository: Path) -> dict[str, Any]:
    uri = _path_in_repository(finding, validation, repository)
    location: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if finding.line is not None:
        location["region"] = {"startLine": finding.line, "startColumn": finding.column}
    # without the line: a finding that has only moved keeps its fingerprint
    identity = "\x1f".join((finding.rule.code, uri, finding.subject))
    return {
        "ruleId": finding.rule.code,
        "ruleIndex": list(RULES).index(finding.rule.code),
        "level": finding.rule.severity,
        "message": {"text": finding.subject},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"finding/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }
