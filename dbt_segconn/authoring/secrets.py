"""Secrets written as plain text in segconn.yml, or in the vars of dbt_project.yml that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from dbt_segconn.project.dbt_project import PROJECT_FILE
from dbt_segconn.project.findings import PLAIN_KEY, Fault, Finding
from dbt_segconn.project.findings import KeyPath
from dbt_segconn.project.settings import FILE_NAME, findings_in_settings
from dbt_segconn.project.source_positions import Files
from dbt_segconn.project.yaml_file import Node, entries, get, position

_SECRETS = (("write_key",), ("oauth", "private_key"))
# A literal in Jinja is plain text, too
_LITERAL = re.compile(r"""\{\{-?\s*('[^']*'|"[^"]*")\s*-?\}\}""")
_JINJA = re.compile(r"\{\{.*?\}\}")
_VAR = re.compile(r"""\bvar\(\s*['"](\w+)['"]""")
# Signs of a secret in a webhook URL: Slack's path, credentials, a long random text, a UUID
_TOKEN = re.compile(
    r"hooks\.slack\.com/services/\w|^\w+://[^/]*@"
    r"|(?<=[/=])(?=\w*\d)(?=\w*[A-Za-z])\w{16,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}"
)


def plain_secrets(project_dir: Path) -> Iterator[Finding]:
    """Yield a finding for each secret that Jinja does not read from the environment; never its value."""
    files = Files(project_dir)
    secrets = dict(_secrets(files.node(FILE_NAME)))
    yield from findings_in_settings(project_dir, (_fault(path) for path, text in secrets.items() if _is_plain(text)))
    project = files.node(PROJECT_FILE)
    for path, text in secrets.items():
        for name in _VAR.findall(text):
            yield from _var_findings(project, name, path)


def _secrets(settings: Node | None) -> Iterator[tuple[KeyPath, str]]:
    """Yield each secret of segconn.yml as written. Skip webhook URLs without a sign of a secret."""
    for name, _, destination in entries(get(settings, "destinations")):
        for path in _SECRETS:
            if (text := _plain_text(get(destination, *path))) is not None:
                yield ("destinations", name, *path), text
    for at, _, alert in entries(get(settings, "alerts")):
        text = _plain_text(get(alert, "url"))
        if text is not None and (_VAR.search(text) or _TOKEN.search(_without_jinja(text))):
            yield ("alerts", at, "url"), text


def _var_findings(project: Node | None, name: str, secret: KeyPath) -> Iterator[Finding]:
    """Yield findings for the values of a variable in a secret: under `vars`, or under `vars` of the package."""
    package = _plain_text(get(project, "name")) or ""
    for path in (("vars", name), ("vars", package, name)):
        value = _plain_text(get(project, *path)) or ""
        is_secret = value and "{{" not in value and (secret[-1] != "url" or _TOKEN.search(value))
        if project is not None and is_secret:
            where, fault = position(project, path), _fault(secret)
            message = f"{fault.message}, and {'.'.join(secret)} of {FILE_NAME} reads it"
            yield Finding(PLAIN_KEY, message, fault.fix, PROJECT_FILE, where.line, where.column, path=path)


def _fault(path: KeyPath) -> Fault:
    key = path[-1]
    name = "SLACK_WEBHOOK" if key == "url" else f"SEGMENT_{key.upper()}"
    fix = f"Read it from the environment: {key}: \"{{{{ env_var('{name}') }}}}\"."
    return Fault(PLAIN_KEY, path, "is written as plain text", fix)


def _is_plain(text: str) -> bool:
    """Return whether a text has no Jinja, or has a token outside its Jinja."""
    outside = _without_jinja(text)
    return bool(text.strip()) and ("{{" not in _LITERAL.sub("text", text) or bool(_TOKEN.search(outside)))


def _without_jinja(text: str) -> str:
    return _JINJA.sub("", _LITERAL.sub(lambda found: found[1][1:-1], text))


def _plain_text(node: Node | None) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) else None
