"""Readers of dbt_project.yml and profiles.yml, and of dbt's environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.yaml_file import Loader, check_limits

PROJECT_FILE = "dbt_project.yml"
PROFILES_FILE = "profiles.yml"


@dataclass(frozen=True, slots=True)
class DbtProject:
    """A dbt project: its folder, and the keys of dbt_project.yml before Jinja."""

    dir: Path
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the project, and of its package."""
        return str(self.content.get("name") or self.dir.name)

    @property
    def vars(self) -> Mapping[str, Any]:
        """Variables of the project. Those of its package win. dbt does not render them."""
        variables = _mapping(self.content.get("vars"))
        return {**variables, **_mapping(variables.get(self.name))}


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile of profiles.yml: output → its keys, and the name of the default target; all before Jinja."""

    outputs: Mapping[str, Mapping[str, Any]]
    default: str


def from_environment(option: str) -> str | None:
    """Return the value of dbt's environment variable for an option, or None."""
    return next(filter(None, map(os.environ.get, environment_variables(option))), None)


def environment_variables(option: str) -> list[str]:
    """Return the variables that dbt reads for an option. The prefix `DBT_ENGINE_` exists from dbt 1.11 on.

    https://docs.getdbt.com/reference/global-configs/
    """
    return [f"DBT_ENGINE_{option.upper()}", f"DBT_{option.upper()}"]


def find_project(folder: Path | None) -> DbtProject:
    """Return the project in a folder. Default: the working directory, or its nearest parent with a project.

    Raises ConfigurationError if there is none, or if dbt_project.yml cannot be read.
    """
    named = folder or from_environment("project_dir")
    start = Path(named or ".").expanduser().absolute()
    folders = [start] if named else [start, *start.parents]
    root = next((one for one in folders if (one / PROJECT_FILE).is_file()), None)
    if root is None:
        raise ConfigurationError(
            f"{start}: no {PROJECT_FILE} here{'' if named else ' or in a parent folder'}. Change to the folder of your "
            "dbt project, or set --project-dir."
        )
    return DbtProject(root, read_yaml(root / PROJECT_FILE))


def read_profiles(folder: Path) -> Mapping[str, Profile]:
    """Return the profiles of profiles.yml by name; none if the file does not exist.

    Raises ConfigurationError if it cannot be read.
    """
    path = folder / PROFILES_FILE
    found = read_yaml(path) if path.is_file() else {}
    return {str(name): _profile(content) for name, content in found.items() if isinstance(content, dict)}


def _profile(content: Mapping[str, Any]) -> Profile:
    outputs = {str(name): _mapping(output) for name, output in _mapping(content.get("outputs")).items()}
    return Profile(outputs, str(content.get("target") or "default"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read a YAML file as dbt does: the last of equal keys wins. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
        check_limits(text)
        content = yaml.load(text, Loader)  # noqa: S506  a SafeLoader
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: must be UTF-8, but byte {error.object[error.start]:#04x} at position {error.start} is not. "
            "Save the file as UTF-8."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigurationError(f"{path}{where}: not valid YAML: {reason}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must be a mapping of keys, not {type(content).__name__}.")
    return content
