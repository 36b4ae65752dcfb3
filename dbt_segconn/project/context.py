"""The context of a run: folders, profile, target and vars, resolved before anything is rendered.

Each value comes from the first of these that has it: the command line, dbt's environment variables, the last dbt
invocation, dbt's default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import MANIFEST_FILE
from dbt_segconn.project.jinja import Jinja, Names, TargetNames, env_var, var_of
from dbt_segconn.project.run_results import RESULTS_FILE, ResultsFile, read_results, results_paths
from dbt_segconn.project.yaml_file import (
    PROFILES_FILE,
    DbtProject,
    Profile,
    environment_variables,
    find_project,
    from_environment,
    read_profiles,
)


class RecordedTarget(NamedTuple):
    """The profile and target of the last dbt invocation."""

    profile: str
    target: str


class ResolvedValue(NamedTuple):
    """A value and its source: an option, an environment variable or a file."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class ProjectOptions:
    """Options of the command line, by dbt's names. `run_results` are paths and globs."""

    project_dir: Path | None = None
    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    target_path: Path | None = None
    # Not in stack traces: vars may hold keys
    vars: Mapping[str, Any] = field(default_factory=dict, repr=False)
    run_results: Sequence[str] = ()


class JinjaLoaders(NamedTuple):
    """Functions that import dbt-core. The import takes seconds, so they are called only when needed."""

    jinja_names: Callable[[Mapping[str, Any]], Names]
    """vars → the names of dbt's base context"""
    target_values: Callable[[Context], Names]
    """context → dbt's `target`"""


@dataclass(frozen=True, slots=True)
class Context:
    """The resolved context. Folders are absolute. `origins` maps the name of a value to its source.

    `target` is None if neither the user nor dbt's results name it; dbt 2 does not record it. `outputs` are those of the
    profile: name → keys before Jinja; empty if profiles.yml lacks the profile. `recorded_target` is the target of the
    last dbt invocation, if profiles.yml has it. `results` are the readable files of `results_paths`.
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
    recorded_target: RecordedTarget | None
    results: tuple[ResultsFile, ...]
    results_paths: tuple[Path, ...]
    origins: Mapping[str, str]
    loaders: JinjaLoaders

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
            # As in dbt, vars of the command line win over those of dbt_project.yml
            "var": var_of({**self.project.vars, **self.vars}),
            "target": TargetNames(self._target_names, lambda: self.loaders.target_values(self)),
            "project_name": self.project.name,
        }
        return Jinja(names, lambda: self.loaders.jinja_names(self.vars))

    def _target_names(self) -> Names:
        target = self.target or self.default_target  # dbt's default is safe here: no row is read or written
        if target is None:
            raise ConfigurationError(f"the target is unknown. {self.target_hint()}")
        return {"name": target, "target_name": target, "profile_name": self.profile}

    def target_hint(self, outputs: Iterable[str] = ()) -> str:
        """Return a sentence that names the option and its possible values."""
        names = ", ".join(outputs or self.outputs) or f"an output of {self.profiles_dir / PROFILES_FILE}"
        return f"Set --target to the target that dbt ran on: {names}."


def resolve(options: ProjectOptions, loaders: JinjaLoaders) -> Context:
    """Resolve the context from files and environment, without a connection and without importing dbt-core.

    Raises ConfigurationError if no project is found, or if a file cannot be read.
    """
    project = find_project(options.project_dir)
    named = results_paths(options.run_results)
    target_dir = _target_dir(options, project)
    paths = named or (target_dir.value / RESULTS_FILE,)
    files = tuple(_readable(paths))
    last = max(files, key=lambda file: file.generated_at, default=None)
    profiles_dir = _profiles_dir(options, project, last)
    profiles = read_profiles(profiles_dir.value)
    variables = _vars(options, last)
    recorded_target = _recorded_target(last, project, profiles, profiles_dir.value)
    profile = _profile(options, project, recorded_target, variables.value)
    known = profiles.get(str(profile.value))
    target = _target(options, last, profile, known, recorded_target)
    return Context(
        project=project,
        target_dir=target_dir.value,
        artifacts_dir=_artifacts_dir(options, target_dir.value, last),
        profiles_dir=profiles_dir.value,
        profile=profile.value,
        target=target.value,
        vars=variables.value,
        outputs=known.outputs if known else {},
        default_target=_rendered(known.default, variables.value) if known else None,
        recorded_target=recorded_target,
        results=files,
        results_paths=paths,
        origins={
            "project": _source("project_dir", options.project_dir, "found from the working directory"),
            "artifacts": target_dir.source,
            "profiles": profiles_dir.source,
            "profile": profile.source,
            "target": target.source,
            "vars": variables.source,
        },
        loaders=loaders,
    )


def _source(option: str, value: Any, otherwise: str) -> str:
    """Return the source of a value. Click passes environment variables as if they were options."""
    variable = next((name for name in environment_variables(option) if os.environ.get(name)), None)
    if value and not (variable and os.environ[variable] == str(value)):
        return f"--{option.replace('_', '-')}"
    return variable or otherwise


def _explicit(typed: Any, option: str) -> ResolvedValue | None:
    """Return the value of an option, else of dbt's environment variable, else None."""
    # click has read the variable already, but `dbt_segconn.run` has not
    value = typed or from_environment(option)
    return ResolvedValue(value, _source(option, typed, "")) if value else None


def _readable(paths: Iterable[Path]) -> Iterator[ResultsFile]:
    for path in paths:
        with suppress(ConfigurationError):  # a run reads these files again and reports the error
            yield read_results(path)


def _target_dir(options: ProjectOptions, project: DbtProject) -> ResolvedValue:
    """Return the folder of the artifacts. As in dbt, a relative path is relative to the project."""
    if named := _explicit(options.target_path, "target_path"):
        return ResolvedValue(project.dir / Path(named.value).expanduser(), named.source)
    written = project.content.get("target-path")
    if not written:
        return ResolvedValue(project.dir / "target", "dbt's default")
    folders = dict.fromkeys(project.dir / path for path in _target_paths(str(written), options, project))
    return ResolvedValue(_last_written(list(folders)), "target-path in dbt_project.yml")


def _target_paths(written: str, options: ProjectOptions, project: DbtProject) -> Iterator[str]:
    """Yield the rendered `target-path` of the target, or of each output if no target is set."""
    if "{" not in written:
        yield written
        return
    # The last dbt invocation is not known yet: its results are in this folder
    target = _explicit(options.target, "target")
    profile = str(_profile(options, project, None, {}).value)
    profiles = read_profiles(_profiles_dir(options, project, None).value)
    outputs = profiles[profile].outputs if profile in profiles else {}
    for name in [str(target.value)] if target else [*outputs] or ["default"]:
        known = {**outputs.get(name, {}), "name": name, "target_name": name, "profile_name": profile}
        yield _rendered(written, options.vars, target=known)


def _last_written(folders: list[Path]) -> Path:
    """Return the folder with the newest results, else with the newest manifest, else the first."""
    # `target-path` may name the target: then an older folder of another target must not be read
    for name in (RESULTS_FILE, MANIFEST_FILE):
        times = {folder: (folder / name).stat().st_mtime_ns for folder in folders if (folder / name).is_file()}
        if times:
            return max(times, key=lambda folder: times[folder])
    return folders[0]


def _artifacts_dir(options: ProjectOptions, target_dir: Path, last: ResultsFile | None) -> Path:
    """Return the folder of the manifest: `--target-path`, else that of the newest file of `--run-results`."""
    # Results and manifest must be of the same dbt invocation
    if options.run_results and not options.target_path and last and (last.path.parent / MANIFEST_FILE).is_file():
        return last.path.parent
    return target_dir


def _profiles_dir(options: ProjectOptions, project: DbtProject, last: ResultsFile | None) -> ResolvedValue:
    if named := _explicit(options.profiles_dir, "profiles_dir"):
        return ResolvedValue(Path(named.value).expanduser().absolute(), named.source)
    candidates = [
        ResolvedValue(Path.cwd(), "the working directory"),
        ResolvedValue(project.dir, "the project's folder"),
    ]
    if last and last.args.get("profiles_dir"):
        candidates.insert(0, ResolvedValue(Path(last.args["profiles_dir"]).absolute(), "the last dbt invocation"))
    found = (one for one in candidates if (one.value / PROFILES_FILE).is_file())
    return next(found, ResolvedValue(Path.home() / ".dbt", "dbt's default"))


def _profile(
    options: ProjectOptions, project: DbtProject, recorded_target: RecordedTarget | None, variables: Mapping[str, Any]
) -> ResolvedValue:
    if named := _explicit(options.profile, "profile"):
        return named
    if recorded_target:
        return ResolvedValue(recorded_target.profile, "the last dbt invocation")
    return ResolvedValue(_profile_of(project, variables), "profile in dbt_project.yml")


def _profile_of(project: DbtProject, variables: Mapping[str, Any]) -> str | None:
    written = project.content.get("profile")
    return _rendered(written, variables) if isinstance(written, str) else written


def _vars(options: ProjectOptions, last: ResultsFile | None) -> ResolvedValue:
    if options.vars:
        return ResolvedValue(options.vars, "--vars")
    # Without --vars, names and settings must be rendered as dbt has rendered them
    if last and isinstance(recorded := last.args.get("vars"), dict) and recorded:
        return ResolvedValue(recorded, "the last dbt invocation")
    return ResolvedValue({}, "none")


def _recorded_target(
    last: ResultsFile | None, project: DbtProject, profiles: Mapping[str, Profile], profiles_dir: Path
) -> RecordedTarget | None:
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
        return RecordedTarget(profile, target) if target in profiles[profile].outputs else None
    # The default target is a key of profiles.yml: another file may have another default
    same_file = Path(str(last.args.get("profiles_dir"))).absolute() == profiles_dir
    return RecordedTarget(profile, _rendered(profiles[profile].default, variables)) if same_file else None


def _target(
    options: ProjectOptions,
    last: ResultsFile | None,
    profile: ResolvedValue,
    known: Profile | None,
    recorded_target: RecordedTarget | None,
) -> ResolvedValue:
    if named := _explicit(options.target, "target"):
        return named
    if recorded_target and recorded_target.profile == profile.value:
        default = "" if last and last.args.get("target") else ", the default of the profile"
        return ResolvedValue(recorded_target.target, f"the last dbt invocation{default}")
    # With several outputs, dbt's default is a guess that may send the records of another target
    if known and len(known.outputs) == 1:
        return ResolvedValue(next(iter(known.outputs)), "the only output of the profile")
    return ResolvedValue(None, "unknown")


def _rendered(text: str, variables: Mapping[str, Any], **names: Any) -> str:
    """Render a text of dbt_project.yml or profiles.yml with dbt's env_var(), var() and these names."""
    # Most texts have no Jinja. dbt's environment takes 0.3 s to import
    if "{" not in text:
        return text
    return str(Jinja({"env_var": env_var, "var": var_of(variables), **names}).render(text))
