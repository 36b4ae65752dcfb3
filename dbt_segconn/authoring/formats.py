"""Findings as text, JSON, GitHub's annotations or SARIF."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbt_segconn.authoring.validation import Validation
from dbt_segconn.project.findings import RULES, Finding, Rule, dotted
from dbt_segconn.version import __version__
from dbt_segconn.wording import counted

SCHEMA_VERSION = 1


def as_line(finding: Finding, severity: str) -> str:
    """Word a finding as compilers do, so that editors and terminals can jump to it."""
    place = ":".join(str(part) for part in (finding.file, finding.line, finding.column) if part is not None)
    return f"{place}: {severity} {finding.rule.code}: {finding.subject}"


def versions_line(validation: Validation) -> str | None:
    """Name the mappings that are not synced for a version of their model, if there are any."""
    names = ", ".join(validation.other_versions)
    return f"Not synced, by `versions` (latest by default): {names}." if names else None


def summary(validation: Validation) -> str:
    """Sum a validation up in a line."""
    scope = f"{counted(validation.mappings, 'mapping')} on {counted(validation.models, 'model')}"
    warnings = len(validation.findings) - validation.errors
    if not validation.findings and not validation.mappings:
        return "dbt's manifest holds no mapping. Run `dbt parse` if you have just written one."
    if not validation.findings:
        return f"All well: {scope}."
    counts = [counted(validation.errors, "error")] if validation.errors else []
    counts += [counted(warnings, "warning")] if warnings else []
    code = validation.findings[0].rule.code
    return f"{' and '.join(counts)} in {scope}. What a code means and how to fix it: dbt-segconn docs {code}"


def explanation(rule: Rule) -> str:
    """Explain a code."""
    return f"{rule.code} {rule.name} ({rule.severity})\n{rule.title}\n\n{rule.advice}\n\nManual: {rule.help}"


def as_json(validation: Validation) -> dict[str, Any]:
    """Return everything as one JSON object; new keys may come, others keep their meaning in a version."""
    return {
        "schema_version": SCHEMA_VERSION,
        "project_dir": str(validation.project_dir),
        "models": validation.models,
        "mappings": validation.mappings,
        "other_versions": validation.other_versions,
        "errors": validation.errors,
        "warnings": len(validation.findings) - validation.errors,
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
            "file": _in_repository(one, validation, repository),
            "line": one.line,
            "col": one.column,
            "title": f"{one.rule.code} {one.rule.name}",
        }
        written = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value is not None)
        yield f"::{one.rule.severity} {written}::{_data(one.subject)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _in_repository(finding: Finding, validation: Validation, repository: Path) -> str:
    """Name the file from the root of the repository, where code review looks for it."""
    path = validation.project_dir / finding.file
    try:
        return path.resolve().relative_to(repository.resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def as_sarif(validation: Validation, repository: Path) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html ."""
    driver = {
        "name": "dbt-segconn",
        "version": __version__,
        "rules": [
            {
                "id": rule.code,
                "name": "".join(word.capitalize() for word in rule.name.split("-")),
                "shortDescription": {"text": rule.title},
                "help": {"text": f"{rule.advice}\n{rule.help}", "markdown": f"{rule.advice}\n\n`{rule.help}`"},
                "defaultConfiguration": {"level": rule.severity},
            }
            for rule in RULES.values()
        ],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, validation, repository) for one in validation.findings],
            }
        ],
    }


def _result(finding: Finding, validation: Validation, repository: Path) -> dict[str, Any]:
    uri = _in_repository(finding, validation, repository)
    location: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if finding.line is not None:
        location["region"] = {"startLine": finding.line, "startColumn": finding.column}
    same = "\x1f".join((finding.rule.code, uri, finding.subject))
    return {
        "ruleId": finding.rule.code,
        "ruleIndex": list(RULES).index(finding.rule.code),
        "level": finding.rule.severity,
        "message": {"text": finding.subject},
        "locations": [{"physicalLocation": location}],
        # the line is left out: a finding that has only moved is not a new one
        "partialFingerprints": {"finding/v1": hashlib.sha256(same.encode()).hexdigest()},
    }
