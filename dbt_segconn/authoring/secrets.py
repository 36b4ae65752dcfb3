"""Secrets that stand in segconn.yml as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from dbt_segconn.project.findings import PLAIN_KEY, Fault
from dbt_segconn.project.settings import FILE_NAME
from dbt_segconn.project.source_positions import Files
from dbt_segconn.project.yaml_file import entries, get

_SECRETS = (("write_key",), ("oauth", "private_key"))
# A text in Jinja is as plain as one without
_LITERAL = re.compile(r"""\{\{-?\s*('[^']*'|"[^"]*")\s*-?\}\}""")


def plain_secrets(project_dir: Path) -> Iterator[Fault]:
    """Find keys that no Jinja takes from elsewhere; their values are not shown."""
    destinations = get(Files(project_dir).node(FILE_NAME), "destinations")
    for name, _, destination in entries(destinations):
        for path in _SECRETS:
            value = get(destination, *path)
            if isinstance(value, yaml.ScalarNode) and _is_plain(value.value):
                fix = f"Take it from the environment: {path[-1]}: \"{{{{ env_var('SEGMENT_{path[-1].upper()}') }}}}\"."
                yield Fault(PLAIN_KEY, ("destinations", name, *path), "stands here as plain text", fix)


def _is_plain(text: str) -> bool:
    return bool(text.strip()) and "{{" not in _LITERAL.sub("text", text)
