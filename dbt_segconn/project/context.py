"""The context of a run: folders, profile, target and vars, resolved before anything is rendered.

Each value comes from the first of these that has it: the command line, dbt's environment variables, the last dbt
invocation, dbt's default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import MANIFEST_FILE
from dbt_segconn.project.dbt_project import (
    PROFILES_FILE,
    DbtProject,
    Profile,
    environment_variables,
    find_project,
    from_environment,
    read_profiles,
)
from dbt_segconn.project.jinja import Jinja, Names, TargetNames, env_var, var_of
from dbt_segconn.project.run_results import RESULTS_FILE, ResultsFile, read_results, results_paths

DEFAULT_TARGET_PATH = "target"


class Recorded(NamedTuple):
    """The profile and target of the last dbt invocation."""

    profile: str
    target: str


class Origin(NamedTuple):
    """A value and its source: an option, an environment variable or a file."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Given:
    """Options of the command line, by dbt's names. `run_results` are paths and globs."""

    project_dir: Path | None = None
    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    target_path: Path | None = None
    vars: Mapping[str, Any] | None = field(default=None, repr=False)
    run_results: tuple[str, ...] = ()


class Loaders(NamedTuple):
    """Functions that import dbt-core. The import takes seconds, so they are called only when needed."""

    jinja_names: Callable[[Mapping[str, Any]], Names]
    """vars → the names of dbt's base context"""
    target_values: Callable[[Context], Names]
    """context → dbt's `target`"""


@dataclass(frozen=True, slots=True)
class Context:
    """The resolved context. Folders are absolute. `origins` maps the name of a value to its source.

    `target` is None if neither the user nor dbt's results name it; dbt 2 does not record it. `outputs` are those of the
    profile: name → keys before Jinja; empty if profiles.yml lacks the profile. `recorded` is the target of the last dbt
    invocation, if profiles.yml has it. `results` are the readable files of `results_paths`.
    """

    project: DbtProject
    target_dir: Path
    artifacts_dir: Path
    profiles_dir: Path
    profile: str | None
    target: str | None
    vars: Mapping[str, Any] = field(repr=False)
    outputs: Mapping[str, Mapping[str, Any]]
    default_target: str | None
    recorded: Recorded | None
    results: tuple[ResultsFile, ...]
    results_paths: tuple[Path, ...]
    origins: Mapping[str, str]
    loaders: Loaders

    @property
    def project_dir(self) -> Path:
        """Folder of dbt_project.yml."""
        return self.project.dir

    def with_target(self, target: str, source: str) -> Context:
        """Return a copy with this target."""
        return replace(self, target=target, origins={**self.origins, "target": source})

    def jinja(self) -> Jinja:
        """Return the renderer of segconn.yml, with the names of dbt's YAML files."""
        names = {
            "env_var": env_var,
            "var": var_of({**self.project.vars, **self.vars}),
            "target": TargetNames(self._target_names, lambda: self.loaders.target_values(self)),
            "project_name": self.project.name,
        }
        return Jinja(names, lambda: self.loaders.jinja_names(self.vars))

    def _target_names(self) -> Names:
        target = self.target or self.default_target  # dbt's default is safe here: no row is read or written
        if target is None:
            raise ConfigurationError(f"the target is unknown. {self.how_to_name_target()}")
        return {"name": target, "target_name": target, "profile_name": self.profile}

    def how_to_name_target(self, outputs: Iterable[str] = ()) -> str:
        """Return a sentence that names the option and its possible values."""
        names = ", ".join(outputs or self.outputs) or f"an output of {self.profiles_dir / PROFILES_FILE}"
        return f"Set --target to the target that dbt ran on: {names}."


def resolve(given: Given, loaders: Loaders) -> Context:
    """Resolve the context from files and environment, without a connection and without importing dbt-core.

    Raises ConfigurationError if there is no project, or if a file cannot be read.
    """
    project = find_project(given.project_dir)
    named = results_paths(given.run_results)
    target_dir = _target_dir(given, project)
    paths = named or (target_dir.value / RESULTS_FILE,)
    files = tuple(_readable(paths))
    last = max(files, key=lambda file: file.generated_at, default=None)
    profiles_dir = _profiles_dir(given, project, last)
    profiles = read_profiles(profiles_dir.value)
    variables = _vars(given, last)
    recorded = _recorded(last, project, profiles, profiles_dir.value)
    profile = _profile(given, project, recorded, variables.value)
    known = profiles.get(str(profile.value))
    target = _target(given, last, profile, known, recorded)
    origins = {
        "project": Origin(project.dir, _source("project_dir", given.project_dir, "found from the working directory")),
        "artifacts": target_dir,
        "profiles": profiles_dir,
        "profile": profile,
        "target": target,
        "vars": variables,
    }
    return Context(
        project=project,
        target_dir=target_dir.value,
        artifacts_dir=_artifacts_dir(given, target_dir.value, last),
        profiles_dir=profiles_dir.value,
        profile=profile.value,
        target=target.value,
        vars=variables.value,
        outputs=known.outputs if known else {},
        default_target=_default_target(known, variables.value) if known else None,
        recorded=recorded,
        results=files,
        results_paths=paths,
        origins={name: origin.source for name, origin in origins.items()},
        loaders=loaders,
    )


def _source(option: str, given: Any, otherwise: str) -> str:
    """Return the source of a value. Click passes environment variables as if they were options."""
    variable = next((name for name in environment_variables(option) if os.environ.get(name)), None)
    if given and not (variable and os.environ[variable] == str(given)):
        return f"--{option.replace('_', '-')}"
    return variable or otherwise


def _named(given: Any, option: str) -> Origin | None:
    """Return the value of an option, else of dbt's environment variable, else None."""
    value = given or from_environment(option)
    return Origin(value, _source(option, given, "")) if value else None


def _readable(paths: Iterable[Path]) -> Iterator[ResultsFile]:
    for path in paths:
        with suppress(ConfigurationError):  # a run reads these files again and reports the error
            yield read_results(path)


def _target_dir(given: Given, project: DbtProject) -> Origin:
    """Return the folder of the artifacts. As in dbt, a relative path is relative to the project."""
    if named := _named(given.target_path, "target_path"):
        return Origin(project.dir / Path(named.value).expanduser(), named.source)
    written = project.content.get("target-path")
    if not written:
        return Origin(project.dir / DEFAULT_TARGET_PATH, "dbt's default")
    folders = list(
        dict.fromkeys(project.dir / folder for folder in _rendered_target_paths(str(written), given, project))
    )
    return Origin(_last_written(folders), "target-path in dbt_project.yml")


def _rendered_target_paths(written: str, given: Given, project: DbtProject) -> Iterator[str]:
    """Yield the rendered `target-path` of the target, or of each output if no target is set."""
    if "{" not in written:
        yield written
        return
    target = _named(given.target, "target")
    profile = str((_named(given.profile, "profile") or Origin(_profile_of(project, {}), "")).value)
    profiles = read_profiles(_profiles_dir(given, project, None).value)
    outputs = profiles[profile].outputs if profile in profiles else {}
    for name in [str(target.value)] if target else [*outputs] or ["default"]:
        names = {"name": name, "target_name": name, "profile_name": profile}
        variables = var_of(given.vars or {})
        known = {**outputs.get(name, {}), **names}
        yield str(Jinja({"env_var": env_var, "var": variables, "target": known}).render(written))


def _last_written(folders: list[Path]) -> Path:
    """Return the folder with the newest results, else with the newest manifest, else the first."""
    for name in (RESULTS_FILE, MANIFEST_FILE):
        times = {folder: (folder / name).stat().st_mtime_ns for folder in folders if (folder / name).is_file()}
        if times:
            return max(times, key=lambda folder: times[folder])
    return folders[0]


def _artifacts_dir(given: Given, target_dir: Path, last: ResultsFile | None) -> Path:
    """Return the folder of the manifest: `--target-path`, else that of the newest file of `--run-results`."""
    if given.run_results and not given.target_path and last and (last.path.parent / MANIFEST_FILE).is_file():
        return last.path.parent
    return target_dir


def _profiles_dir(given: Given, project: DbtProject, last: ResultsFile | None) -> Origin:
    if named := _named(given.profiles_dir, "profiles_dir"):
        return Origin(Path(named.value).expanduser().absolute(), named.source)
    candidates = [Origin(Path.cwd(), "the working directory"), Origin(project.dir, "the project's folder")]
    if last and last.args.get("profiles_dir"):
        candidates.insert(0, Origin(Path(last.args["profiles_dir"]).absolute(), "the last dbt invocation"))
    found = (one for one in candidates if (one.value / PROFILES_FILE).is_file())
    return next(found, Origin(Path.home() / ".dbt", "dbt's default"))


def _profile(given: Given, project: DbtProject, recorded: Recorded | None, variables: Mapping[str, Any]) -> Origin:
    if named := _named(given.profile, "profile"):
        return named
    if recorded:
        return Origin(recorded.profile, "the last dbt invocation")
    return Origin(_profile_of(project, variables), "profile in dbt_project.yml")


def _profile_of(project: DbtProject, variables: Mapping[str, Any]) -> str | None:
    written = project.content.get("profile")
    if not isinstance(written, str) or "{" not in written:
        return written
    return str(Jinja({"env_var": env_var, "var": var_of(variables)}).render(written))


def _vars(given: Given, last: ResultsFile | None) -> Origin:
    if given.vars:
        return Origin(given.vars, "--vars")
    if last and isinstance(recorded := last.args.get("vars"), dict) and recorded:
        return Origin(recorded, "the last dbt invocation")
    return Origin({}, "none")


def _recorded(
    last: ResultsFile | None, project: DbtProject, profiles: Mapping[str, Profile], profiles_dir: Path
) -> Recorded | None:
    """Return the last profile and target, or None if these profiles lack them: the results may be from another machine.

    dbt 1 records `--target`, but not the profile's default target. dbt 2 records neither.
    """
    if last is None or last.is_of_dbt2:
        return None
    variables = last.args.get("vars") or {}
    profile = str(last.args.get("profile") or _profile_of(project, variables))
    if profile not in profiles:
        return None
    if target := last.args.get("target"):
        return Recorded(profile, target) if target in profiles[profile].outputs else None
    same_file = Path(str(last.args.get("profiles_dir"))).absolute() == profiles_dir
    return Recorded(profile, _default_target(profiles[profile], variables)) if same_file else None


def _target(
    given: Given, last: ResultsFile | None, profile: Origin, known: Profile | None, recorded: Recorded | None
) -> Origin:
    if named := _named(given.target, "target"):
        return named
    if recorded and recorded.profile == profile.value:
        is_named = last and last.args.get("target")
        return Origin(recorded.target, f"the last dbt invocation{'' if is_named else ', the default of the profile'}")
    if known and len(known.outputs) == 1:
        return Origin(next(iter(known.outputs)), "the only output of the profile")
    return Origin(None, "unknown")


def _default_target(profile: Profile, variables: Mapping[str, Any]) -> str:
    if "{" not in profile.default:
        return profile.default
    return str(Jinja({"env_var": env_var, "var": var_of(variables)}).render(profile.default))
