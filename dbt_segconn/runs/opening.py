"""Options and files → a plan; its warehouse, opened; its syncs, chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt_segconn.collecting import no_collections, rare_collections
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import Manifest, RunResults, read_manifest, read_run_results
from dbt_segconn.project.drafts import read_drafts
from dbt_segconn.project.findings import Finding, InvalidProject
from dbt_segconn.project.place import Project, find_profiles_dir, find_project, from_environment, inside
from dbt_segconn.project.plan import Sync, named, read_syncs
from dbt_segconn.project.settings import Settings, read_settings
from dbt_segconn.runs.gate import Choice, choose
from dbt_segconn.warehouse.adapter import Target, Warehouse, open_warehouse
from dbt_segconn.warehouse.selection import Selection, select_models
from dbt_segconn.warehouse.source import Source, find_source


@dataclass(frozen=True, slots=True)
class Options:
    """dbt's own options under dbt's own names, then those of dbt-segconn.

    `max_runtime` is in seconds. `baseline` remembers every record and sends none; `retry` syncs only what
    failed, was cut short or has discards, given-up ones included. `workers` counts processes that deliver,
    `scheduler` is the address of Dask's in their place.
    """

    project_dir: Path | None = None
    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    target_path: Path | None = None
    vars: Mapping[str, Any] = field(default_factory=dict)
    select: Sequence[str] = ()
    exclude: Sequence[str] = ()
    selector: str | None = None
    state: Path | None = None
    threads: int | None = None
    fail_fast: bool = False
    full_refresh: bool = False
    all: bool = False
    mappings: Sequence[str] = ()
    ignore_tests: bool = False
    allow_guarded: Sequence[str] = ()
    break_lock: bool = False
    max_runtime: float | None = None
    workers: int = 1
    scheduler: str | None = None
    baseline: bool = False
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The project as read from its files: all that can be known without a warehouse."""

    project: Project
    settings: Settings
    manifest: Manifest
    results: RunResults | None
    syncs: tuple[Sync, ...]


def read_plan(options: Options, *, needs_results: bool = True) -> Plan:
    """Read the whole project from its files; raises ConfigurationError with all problems found."""
    project = find_project(options.project_dir, options.target_path, options.vars)
    try:
        settings = read_settings(project.dir, options.vars)
    except InvalidProject as error:
        raise InvalidProject([*error.findings, *_findings_in_mappings(project)]) from None
    manifest = read_manifest(project.target_dir)
    syncs = read_syncs(manifest, settings, project.dir)
    named(syncs, [*options.mappings, *options.allow_guarded])
    return Plan(project, settings, manifest, _results(project, manifest, options, needs_results=needs_results), syncs)


def _findings_in_mappings(project: Project) -> Iterator[Finding]:
    """Find what is wrong with mappings, whatever is wrong with segconn.yml; nothing where the manifest is missing."""
    with suppress(ConfigurationError):
        for draft in read_drafts(read_manifest(project.target_dir), None, project.dir):
            yield from draft.findings


def _results(project: Project, manifest: Manifest, options: Options, *, needs_results: bool) -> RunResults | None:
    if options.retry:  # whatever they tell of failed models counts; what they cannot tell is no obstacle
        with suppress(ConfigurationError):
            return read_run_results(project.target_dir, manifest)
    return read_run_results(project.target_dir, manifest) if needs_results and not options.all else None


@contextmanager
def opened(plan: Plan, options: Options) -> Iterator[Warehouse]:
    """Open the warehouse that the plan's artifacts are about; it is closed when the block ends."""
    args = plan.results.args if plan.results else {}
    with inside(plan.project), rare_collections():
        with no_collections():
            warehouse = open_warehouse(_target(plan, options, args), plan.manifest.raw)
        try:
            yield warehouse
        finally:
            warehouse.close()


def _target(plan: Plan, options: Options, args: Mapping[str, Any]) -> Target:
    """Name the target: the one that dbt ran on, unless the user says another."""
    target = options.target or from_environment("target")
    if target and args.get("target") and target != args["target"]:
        raise ConfigurationError(
            f"--target {target}: the last dbt invocation ran on the target {args['target']}. Run dbt with "
            f"--target {target} first."
        )
    return Target(
        project_dir=plan.project.dir,
        profiles_dir=find_profiles_dir(plan.project, options.profiles_dir, args.get("profiles_dir")),
        profile=options.profile or from_environment("profile") or args.get("profile"),
        target=target or args.get("target"),
        vars=options.vars or args.get("vars") or {},
        threads=options.threads,
    )


def gate(plan: Plan, options: Options, warehouse: Warehouse) -> Choice:
    """Choose the syncs that go now."""
    selection = Selection(options.select, options.exclude, options.selector, options.state)
    selected = (
        select_models(selection, warehouse.config, plan.manifest.raw, plan.project.target_dir) if selection else None
    )
    return choose(
        named(plan.syncs, options.mappings),
        plan.settings,
        plan.results,
        selected=selected,
        ignore_tests=options.ignore_tests,
        only_refreshed=not options.all,
    )


def find_sources(syncs: Sequence[Sync], warehouse: Warehouse) -> dict[str, Source]:
    """Look up every sync's model, by sync id; raises ConfigurationError with all that is missing."""
    sources: dict[str, Source] = {}
    problems: list[str] = []
    with warehouse.session("sources") as session:
        for sync in syncs:
            try:
                sources[sync.id] = find_source(sync, session)
            except ConfigurationError as error:
                problems.extend(error.problems)
    if problems:
        raise ConfigurationError(dict.fromkeys(problems))
    return sources
