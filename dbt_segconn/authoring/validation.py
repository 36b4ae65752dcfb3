"""The story of `validate`: everything that is wrong with a project, from its files alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dbt_segconn.authoring.checks import Knowledge, check
from dbt_segconn.authoring.misplaced import misplaced
from dbt_segconn.authoring.secrets import plain_secrets
from dbt_segconn.engine.opening import Options, Project, check_project, opened, resolve_context
from dbt_segconn.project.artifacts import read_manifest
from dbt_segconn.project.catalog import Catalog
from dbt_segconn.project.context import Context
from dbt_segconn.project.drafts import ModelDraft, faults_of_alerts, missing_consent, read_drafts
from dbt_segconn.project.findings import DOUBTFUL_COLUMN, NO_COLUMN, NO_ORDER, Finding, InvalidProject
from dbt_segconn.project.mappings import to_mapping
from dbt_segconn.project.settings import FILE_NAME, Settings, findings_in_settings, read_settings
from dbt_segconn.warehouse.source import find_source


@dataclass(frozen=True, slots=True)
class Validation:
    """What was looked at, and what was found: by file and line.

    `other_versions` are the names of mappings that are not synced for a version of their model.
    """

    project_dir: Path
    models: int
    mappings: int
    findings: tuple[Finding, ...]
    other_versions: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        """How many findings are errors; the others are warnings."""
        return sum(finding.rule.severity == "error" for finding in self.findings)


def validate(options: Options, *, online: bool = False) -> Validation:
    """Check segconn.yml and every mapping of the project; `online` asks the warehouse for the columns, too.

    Raises ConfigurationError where there is no project or no manifest that could be read.
    """
    context = resolve_context(options, opens=online)
    settings, findings = _settings(context)
    manifest = read_manifest(context.artifacts_dir)
    check_project(context, manifest)
    drafts = read_drafts(manifest, settings.destinations if settings else None, context.project_dir)
    if settings:
        findings += findings_in_settings(context.project_dir, faults_of_alerts(settings, drafts))
        findings += missing_consent(settings, drafts)
        findings += plain_secrets(context.project_dir)
    findings += [finding for draft in drafts for finding in draft.findings]
    others = [one for draft in drafts for one in draft.other_versions]
    findings += [one.finding(fault) for one in others for fault in one.faults]
    findings += misplaced(context.project_dir, manifest)
    findings += check(
        (one for one in drafts if not one.syncs_other_versions),
        Knowledge(manifest, Catalog(context.artifacts_dir, manifest), settings),
    )
    if online and settings:
        project = Project(context, settings, manifest, None, ())
        findings = [*_certain(findings), *_of_warehouse(drafts, project, options)]
    return Validation(
        context.project_dir,
        sum(not draft.syncs_other_versions for draft in drafts),
        sum(len(draft.mappings) for draft in drafts),
        tuple(sorted(dict.fromkeys(findings), key=_order)),
        tuple(one.names.short for one in others),
    )


def _settings(context: Context) -> tuple[Settings | None, list[Finding]]:
    try:
        return read_settings(context.project_dir, context.jinja()), []
    except InvalidProject as error:
        return None, list(error.findings)


def _certain(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out what files say of columns: the warehouse is about to say it better."""
    about_columns = {NO_COLUMN, DOUBTFUL_COLUMN, NO_ORDER}
    return (finding for finding in findings if finding.rule not in about_columns)


def _of_warehouse(drafts: Iterable[ModelDraft], project: Project, options: Options) -> Iterator[Finding]:
    with opened(project, options) as warehouse, warehouse.session("validate") as session:
        for draft in (one for model in drafts if not model.faults for one in model.mappings if not one.faults):
            try:
                find_source(to_mapping(draft), session)
            except InvalidProject as error:
                yield from error.findings


def _order(finding: Finding) -> tuple[bool, str, int, int]:
    return finding.file != FILE_NAME, finding.file, finding.line or 0, finding.column or 0
