"""From options and files to the project, its open warehouse, and the mappings to sync with their sources."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dbt_segconn.engine.gate import Choice, Gate
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.process_tuning import with_rare_gc, without_gc
from dbt_segconn.project.artifacts import Manifest, Model, read_manifest
from dbt_segconn.project.context import Context, ProjectOptions, resolve
from dbt_segconn.project.drafts import read_drafts
from dbt_segconn.project.findings import Finding, InvalidProject
from dbt_segconn.project.mappings import Mapping, read_mappings
from dbt_segconn.project.meta import find_mappings
from dbt_segconn.project.run_results import RunResults, check_flags, check_samples, merge_results, read_results
from dbt_segconn.project.settings import Settings, read_settings
from dbt_segconn.project.spec_integrations import read_option
from dbt_segconn.state.checkpoint import with_step
from dbt_segconn.warehouse.adapter import JINJA_LOADERS, Warehouse, check_place, open_warehouse
from dbt_segconn.warehouse.dialect import find_dialect
from dbt_segconn.warehouse.proof import find_target, prove_results, prove_target
from dbt_segconn.warehouse.selection import Selection, select_models
from dbt_segconn.warehouse.source import Source, find_source


@dataclass(frozen=True, slots=True)
class Options(ProjectOptions):
    """The options of a run: those of dbt under dbt's names, then those of dbt-segconn.

    `max_runtime` is in seconds. `baseline` remembers every record and sends none. `retry` syncs only mappings that
    failed, were interrupted or have discards, and sends given-up records again. `workers` is the number of processes
    that deliver. `scheduler` is the address of a Dask scheduler, whose workers deliver instead. `plan` is the file of a
    plan to write: nothing is delivered. `apply` is the file of a plan to deliver. `integrations` are merged into those
    of each mapping. `after` and `before` limit the rows by the checkpoint column: from `after` to below `before`.
    """

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
    plan: Path | None = None
    apply: Path | None = None
    integrations: abc.Mapping[str, Any] | None = None
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """The project as read from its files, without a warehouse. Without `results` of dbt, all models count as fresh."""

    context: Context
    settings: Settings
    manifest: Manifest
    results: RunResults | None
    mappings: tuple[Mapping, ...]


def resolve_context(options: Options, *, opens: bool = False) -> Context:
    """Resolve folders, profile, target and vars from the options, the environment and the last dbt invocation.

    With `opens`, the warehouse is opened next: raise ConfigurationError if the target is ambiguous.
    """
    context = resolve(options, JINJA_LOADERS)
    if opens and context.target is None:
        manifest = read_manifest(context.artifacts_dir)
        check_adapter(manifest)
        return find_target(context, manifest)
    return context


def read_project(options: Options, *, needs_results: bool = True, opens: bool = True) -> Project:
    """Read the project from its files. Raise ConfigurationError with all problems.

    With `opens`, segconn.yml is rendered with the target that is opened next. Without `needs_results`, dbt's results
    are not read: all models count as fresh.
    """
    context = resolve_context(options, opens=opens)
    try:
        settings = read_settings(context.project_dir, context.jinja())
    except InvalidProject as error:
        raise InvalidProject([*error.findings, *_findings_in_mappings(context)]) from None
    manifest = read_manifest(context.artifacts_dir)
    check_project(context, manifest)
    given = read_option(options.integrations)
    mappings = tuple(
        replace(one, run_integrations=given) for one in read_mappings(manifest, settings, context.project_dir)
    )
    find_mappings(mappings, [*options.mappings, *options.allow_guarded])  # raises for unknown names
    results = _results(context, manifest, options) if needs_results else None
    return Project(context, settings, manifest, results, mappings)


def _findings_in_mappings(context: Context) -> Iterator[Finding]:
    """Yield the findings in mappings, to report them with those of segconn.yml. Without a manifest, yield nothing."""
    with suppress(ConfigurationError):
        for draft in read_drafts(read_manifest(context.artifacts_dir), None, context.project_dir):
            yield from draft.findings


def check_project(context: Context, manifest: Manifest) -> None:
    """Raise ConfigurationError if the manifest belongs to another dbt project or to an unsupported warehouse."""
    check_adapter(manifest)
    name = manifest.raw["metadata"].get("project_name")
    if name is not None and context.project.content.get("name") and name != context.project.name:
        raise ConfigurationError(
            f"{manifest.path} is of the dbt project {name}, and {context.project_dir} is the project "
            f"{context.project.name}. Name the folder of its artifacts with --target-path, or the project with "
            "--project-dir."
        )


def check_adapter(manifest: Manifest) -> None:
    """Raise ConfigurationError if the manifest was built for an unsupported warehouse."""
    if adapter_type := manifest.raw["metadata"].get("adapter_type"):
        find_dialect(adapter_type)


def _results(context: Context, manifest: Manifest, options: Options) -> RunResults | None:
    if options.all and not options.retry:
        # after --empty or --sample, the model lacks records, which would count as deleted
        check_flags(context.results)
        check_samples(context.results, manifest, context.project_dir)
        return None
    # a retry obeys the results if there are any. It syncs what has failed in dbt-segconn, refreshed by dbt or not
    with suppress(ConfigurationError) if options.retry else nullcontext():
        return read_gate(context, manifest)
    return None


def read_gate(context: Context, manifest: Manifest) -> RunResults:
    """Read and merge dbt's results. Raise ConfigurationError if they cannot gate a run."""
    known = {file.path: file for file in context.results}
    # the context skips files that it cannot read. Read them again here, to raise their errors
    files = [known.get(path) or read_results(path) for path in context.results_paths]
    results = merge_results(files, manifest)
    check_samples(results.files, manifest, context.project_dir)
    return results


@contextmanager
def opened(project: Project, options: Options, models: Sequence[Model] = ()) -> Iterator[Warehouse]:
    """Open the warehouse for the duration of the block.

    Raise ConfigurationError if dbt would name the mapped models, or `models`, differently on this target.
    """
    with with_rare_gc():
        with without_gc():  # dbt's modules and the manifest stay for the whole run
            warehouse = open_warehouse(project.context, project.manifest.raw, options.threads)
        try:
            # before a row is read: two targets may have relations with the same names
            prove_target(warehouse, project.context, project.manifest, models)
            if project.results:
                prove_results(warehouse, project.context)
            check_place(warehouse, project.settings.state)
            yield warehouse
        finally:
            warehouse.close()


def find_state(context: Context, given: Path) -> Path:
    """Return the folder of `--state`: relative to the working directory, else to the project, as in dbt."""
    here = given.expanduser().absolute()
    return here if here.exists() else context.project_dir / given


def gate(project: Project, options: Options, warehouse: Warehouse) -> Choice:
    """Choose the mappings to sync."""
    state = find_state(project.context, options.state) if options.state else None
    selection, selected = Selection(options.select, options.exclude, options.selector, state), None
    if selection:
        selected = select_models(selection, warehouse.config, project.manifest.raw, project.context.artifacts_dir)
    rules = Gate(
        project.settings,
        project.manifest,
        project.results,
        selected=selected,
        ignore_tests=options.ignore_tests,
        only_refreshed=not options.all,
    )
    return rules.choose(find_mappings(project.mappings, options.mappings))


def find_sources(mappings: Sequence[Mapping], warehouse: Warehouse, options: Options) -> dict[str, Source]:
    """Find the model of each mapping: mapping id → source. Raise ConfigurationError with all missing ones."""
    sources: dict[str, Source] = {}
    problems: list[str] = []
    models = {mapping.model.unique_id: mapping.model for mapping in mappings}
    with warehouse.session("sources") as session:
        # one query for the columns of all models. Its error is raised again below, for the mapping
        with suppress(ConfigurationError):
            session.describe([session.relation_of(model) for model in models.values()])
        for mapping in mappings:
            try:
                source = find_source(mapping, session)
                sources[mapping.id] = with_step(mapping, source, options.after, options.before)
            except ConfigurationError as error:
                problems.extend(error.problems)
    if problems:
        raise ConfigurationError(dict.fromkeys(problems))
    return sources
