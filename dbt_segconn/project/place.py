"""The dbt project: where it is, and with which of dbt's options it is to be opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.settings import render
from dbt_segconn.project.yaml_file import load_yaml

PROJECT_FILE = "dbt_project.yml"


@dataclass(frozen=True, slots=True)
class Project:
    """A dbt project and the folder of its artifacts."""

    dir: Path
    target_dir: Path


def from_environment(option: str) -> str | None:
    """Return what dbt's environment variable says of an option; `DBT_ENGINE_` is dbt's prefix from 1.11 on."""
    return next(filter(None, map(os.environ.get, environment_variables(option))), None)


def environment_variables(option: str) -> list[str]:
    """Name the variables that dbt reads for an option: https://docs.getdbt.com/reference/global-configs/ ."""
    return [f"DBT_ENGINE_{option.upper()}", f"DBT_{option.upper()}"]


def find_project(project_dir: Path | None, target_path: Path | None, variables: Mapping[str, Any]) -> Project:
    """Find the project as dbt does: the folder given, else this one or the nearest above it.

    Raises ConfigurationError where there is none.
    """
    named = project_dir or from_environment("project_dir")
    start = Path(named or ".").expanduser().absolute()
    folders = [start] if named else [start, *start.parents]
    root = next((folder for folder in folders if (folder / PROJECT_FILE).is_file()), None)
    if root is None:
        raise ConfigurationError(
            f"{start}: no {PROJECT_FILE} here{'' if named else ' or in a folder above'}. Go to your dbt project, "
            "or name it with --project-dir."
        )
    given = target_path or from_environment("target_path") or _configured_target(root, variables) or "target"
    return Project(root, root / Path(given).expanduser())


def _configured_target(root: Path, variables: Mapping[str, Any]) -> str | None:
    content = load_yaml((root / PROJECT_FILE).read_text(encoding="utf-8"), PROJECT_FILE)
    path = content.get("target-path") if isinstance(content, dict) else None
    return str(render(path, variables)) if path else None


def find_profiles_dir(project: Project, given: Path | None, of_last_run: str | None) -> Path:
    """Find profiles.yml: as given, as the last dbt invocation had it, else where dbt looks by itself."""
    if named := given or from_environment("profiles_dir"):
        return Path(named).expanduser().absolute()
    candidates = [Path(of_last_run)] if of_last_run else []
    candidates += [Path.cwd(), project.dir]
    return next((folder for folder in candidates if (folder / "profiles.yml").is_file()), Path.home() / ".dbt")


@contextmanager
def inside(project: Project) -> Iterator[None]:
    """Work in the project's folder, as dbt does: profiles name files relative to it."""
    before = Path.cwd()
    os.chdir(project.dir)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.chdir(before)
