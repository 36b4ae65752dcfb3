"""run_results.json of one or more dbt invocations: statuses of models, failed tests, sampled builds."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import Manifest, is_of_dbt2, read_artifact

Node = Mapping[str, Any]

RESULTS_FILE = "run_results.json"
BUILDING = frozenset({"run", "build", "seed", "snapshot"})
# Other commands also write this file: `compile` with status success, though it builds nothing
# https://docs.getdbt.com/reference/artifacts/run-results-json
BUILDING_OR_TESTING = BUILDING | {"test", "retry"}
FAILURES = {
    "error": "dbt failed to build the model",
    "runtime error": "dbt failed to build the model",
    "skipped": "dbt skipped the model",
    # Microbatch models only: rows of the failed batches are missing and would count as deleted
    "partial success": "dbt built only a part of the model",
}
"""status → why the model is not synced; all others but `success` are neither fresh nor failed"""
# A test of severity warn has the status `warn`, and holds nothing back
FAILED_TESTS = frozenset({"fail", "error", "runtime error"})
SHOWN_BATCHES = 3
# Filters of the model's own SQL, which look like those that a flag adds
_OWN_LIMIT = re.compile(r"\blimit\s+0\b", re.IGNORECASE)
_OWN_FILTER = re.compile(r"\(\s*select\s+\*\s+from\s+\{\{[^}]*\}\}\s+where\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """A parsed run_results.json (schema v4 to v6)."""

    path: Path
    raw: Mapping[str, Any] = field(repr=False)  # contains the vars

    @property
    def args(self) -> Mapping[str, Any]:
        """The options that dbt recorded. dbt 2 records its command only."""
        args: Mapping[str, Any] = self.raw.get("args") or {}
        return args

    @property
    def invocation_id(self) -> str:
        """Id of the dbt invocation."""
        return str(self.raw["metadata"].get("invocation_id"))

    @property
    def generated_at(self) -> str:
        """Time of writing, as ISO-8601 text in UTC."""
        return str(self.raw["metadata"].get("generated_at") or "")

    @property
    def is_of_dbt2(self) -> bool:
        """Whether dbt 2, the Rust engine, wrote it."""
        return is_of_dbt2(self.raw)

    @property
    def command(self) -> str:
        """The dbt command, as users type it. `dbt retry` also records the command that it retried."""
        words = str(self.args.get("invocation_command") or "").split()
        which = str(self.args.get("which") or "an unknown command")
        if "retry" in words[1:]:
            return "retry"
        return {"generate": "docs generate", "freshness": "source freshness"}.get(which, which)

    @property
    def only_tests(self) -> bool:
        """Whether the command only tested. It then skipped no models downstream of failed tests."""
        return self.args.get("which") == "test"

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """One result per node. Results of commands that neither build nor test are ignored."""
        results: Sequence[Mapping[str, Any]] = self.raw.get("results") or ()
        return results if self.command in BUILDING_OR_TESTING else ()

    def __str__(self) -> str:
        """Return path, command and time, for messages."""
        return f"{self.path} (`dbt {self.command}`, {self.generated_at[:19].replace('T', ' ')} UTC)"


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The result of one model. `status` is dbt's; `failed_batches` are those of a microbatch model.

    `completed_at` is the end of the build, as ISO-8601 text in UTC.
    """

    status: str
    invocation_id: str
    failed_batches: tuple[str, ...] = ()
    completed_at: str | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether dbt built the model successfully."""
        return self.status == "success"

    @property
    def failure(self) -> str | None:
        """Why the model must not be synced, apart from its tests; None if dbt did not fail."""
        reason = FAILURES.get(self.status)
        if reason and self.failed_batches:
            shown = ", ".join(self.failed_batches[:SHOWN_BATCHES])
            more = ", …" if len(self.failed_batches) > SHOWN_BATCHES else ""
            return f"{reason}: {len(self.failed_batches)} of its batches failed ({shown}{more})"
        return reason


@dataclass(frozen=True, slots=True)
class RunResults:
    """The merged results of one or more dbt invocations.

    `outcomes` are the results of models by unique id. `failed_tests` are names of failed tests by the unique id of
    each tested node, even if dbt did not build it. `tested` are the nodes with a test result. `failed_in_test_runs` are
    nodes with tests that failed in an invocation that only tested, which skipped no models downstream.
    """

    files: tuple[ResultsFile, ...]
    outcomes: Mapping[str, NodeResult]
    failed_tests: Mapping[str, tuple[str, ...]]
    tested: Collection[str]
    failed_in_test_runs: Collection[str]

    @property
    def includes_build(self) -> bool:
        """Whether a model without an outcome was not built. Results of tests and retries do not show this."""
        return any(file.command in BUILDING for file in self.files)

    @property
    def lacks_results(self) -> bool:
        """Whether no file is from a command that builds or tests."""
        return not any(file.command in BUILDING_OR_TESTING for file in self.files)

    @property
    def retried(self) -> Collection[str]:
        """The nodes that `dbt retry` retried. dbt records this command only if it was run from the command line.

        A build that tested a model but did not build it was also a retry.
        """
        if self.newest.command == "retry":
            return {*self.outcomes, *self.tested}
        return () if self.newest.only_tests else set(self.tested) - set(self.outcomes)

    @property
    def newest(self) -> ResultsFile:
        """The file with the latest `generated_at`."""
        return self.files[-1]

    def invocation_of(self, unique_id: str) -> str:
        """Return the id of the dbt invocation that the result of a model is from."""
        outcome = self.outcomes.get(unique_id)
        return outcome.invocation_id if outcome else self.newest.invocation_id


def results_paths(patterns: Iterable[str]) -> tuple[Path, ...]:
    """Return the files of `--run-results`: files, folders of artifacts or globs, relative to the working directory.

    Raises ConfigurationError if one of them matches no file.
    """
    found: list[Path] = []
    for pattern in patterns:
        paths = sorted(_expanded(pattern))
        if not paths:
            raise ConfigurationError(
                f"--run-results {pattern}: no {RESULTS_FILE} found. Write the path of the file or of its folder, or a "
                "glob such as 'runs/*/target'."
            )
        found.extend(paths)
    return tuple(dict.fromkeys(found))


def _expanded(pattern: str) -> Iterator[Path]:
    path = Path(pattern).expanduser()
    absolute = path.absolute()
    matches: Iterable[Path] = [absolute]
    if not absolute.exists() and any(mark in pattern for mark in "*?["):
        matches = Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor)))
    for one in matches:
        if one.is_dir():
            inside = [one / RESULTS_FILE, one / "target" / RESULTS_FILE]
            yield from [file for file in inside if file.is_file()][:1]
        elif one.is_file():
            yield one


def read_results(path: Path) -> ResultsFile:
    """Read one file. Raises ConfigurationError, with a fix, if it is missing or broken."""
    file = ResultsFile(path, read_artifact(path, "run-results", oldest=4, newest=6))
    results = file.raw.get("results") or ()
    if not all(isinstance(one, dict) and {"unique_id", "status"} <= one.keys() for one in results):
        raise ConfigurationError(
            f"{path}: not a dbt run-results file: a result has no unique_id or no status. Run dbt again."
        )
    return file


def merge_results(files: Iterable[ResultsFile], manifest: Manifest) -> RunResults:
    """Merge results. The newest result of each model and test wins.

    Raises ConfigurationError for results of another project or target, and of `--empty` or `--sample`.
    """
    ordered = tuple(sorted(files, key=lambda file: file.generated_at))
    newest: dict[str, tuple[ResultsFile, Mapping[str, Any]]] = {}
    check_flags(ordered)
    _check_targets(ordered)
    for file in ordered:
        _check_relations(file, manifest)
        # A test that passes in `dbt retry` replaces its failure in the build before
        newest.update({result["unique_id"]: (file, result) for result in file.results})
    tests = [
        (file, one, tuple(manifest.nodes_tested_by(name))) for name, (file, one) in newest.items() if _is_test(name)
    ]
    failing = [test for test in tests if test[1]["status"] in FAILED_TESTS]
    failed: dict[str, tuple[str, ...]] = {}
    for _, result, nodes in failing:
        for node in nodes:
            failed[node] = (*failed.get(node, ()), result["unique_id"].split(".")[2])
    return RunResults(
        files=ordered,
        outcomes={
            name: NodeResult(one["status"], file.invocation_id, _failed_batches(one), _completed_at(one))
            for name, (file, one) in newest.items()
            if not _is_test(name)
        },
        failed_tests=failed,
        tested=frozenset(node for *_, nodes in tests for node in nodes),
        failed_in_test_runs=frozenset(node for file, _, nodes in failing if file.only_tests for node in nodes),
    )


def _is_test(unique_id: str) -> bool:
    return unique_id.startswith(("test.", "unit_test."))


def _completed_at(result: Mapping[str, Any]) -> str | None:
    times = [str(one["completed_at"]) for one in result.get("timing") or () if one.get("completed_at")]
    return max(times, default=None)


def _failed_batches(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the failed batches of a microbatch model as texts: `start to end`."""
    batches = (result.get("batch_results") or {}).get("failed") or ()
    # A batch is a start and an end. Batches of whole days are shown without the time
    return tuple(" to ".join(re.sub(r"T00:00:00.*", "", str(end)) for end in batch) for batch in batches)


def check_flags(files: Iterable[ResultsFile]) -> None:
    """Raise ConfigurationError if dbt 1 recorded `--empty` or `--sample`."""
    for file, flag in product(files, ("empty", "sample")):
        if file.args.get(flag):
            raise ConfigurationError(
                f"{file}: dbt ran with --{flag}, so its models have few or no rows. All other rows would be detected "
                f"as deleted. Run dbt again without --{flag}."
            )


def _check_targets(files: Sequence[ResultsFile]) -> None:
    """Raise ConfigurationError if dbt recorded different targets."""
    # dbt 2 records no target
    by_target = {file.args.get("target"): file for file in files if not file.is_of_dbt2}
    if len(by_target) > 1:
        listed = "; ".join(f"{file}: {target or 'the default target'}" for target, file in by_target.items())
        raise ConfigurationError(
            f"dbt's results are from different targets: {listed}. Set --run-results to those of one target."
        )


def _check_relations(file: ResultsFile, manifest: Manifest) -> None:
    """Raise ConfigurationError if results and manifest differ in project, or in the relation of a model."""
    nodes = manifest.raw["nodes"]
    models = [result for result in file.results if result["unique_id"].startswith(("model.", "seed.", "snapshot."))]
    if models and not any(result["unique_id"] in nodes for result in models):
        raise ConfigurationError(
            f"{file} is from another dbt project than {manifest.path}: they have no model in common. Set "
            "--target-path to the folder of this project's artifacts, or --run-results to its results."
        )
    for result in models:
        built, known = result.get("relation_name"), nodes.get(result["unique_id"], {}).get("relation_name")
        if built and known and built != known:  # dbt records none for a seed
            raise ConfigurationError(
                f"{file}: dbt built {result['unique_id']} as {built}, but in {manifest.path} it is {known}. The two "
                "files are from different targets, or the model has changed. Run dbt on the intended target, then "
                "dbt-segconn."
            )


def check_samples(files: Sequence[ResultsFile], manifest: Manifest, project_dir: Path) -> None:
    """Raise ConfigurationError if a mapped model, or an upstream model, was built with `--empty` or `--sample`.

    Results in which dbt 1 recorded the flags are skipped; `check_flags` covers them.
    """
    if all("empty" in file.args for file in files):
        return
    # An upstream table also counts: a model that is built from a sample lacks rows as well
    for unique_id in _with_ancestors(manifest):
        node = manifest.raw["nodes"][unique_id]
        # dbt 2 does not record the two options; the SQL that they change does show them
        for flag in _flags_seen(node, manifest, _compiled(node, manifest, project_dir)):
            raise ConfigurationError(
                f"{files[-1]}: dbt built {unique_id} with --{flag} (see its compiled SQL), so its table has few or no "
                f"rows. All other rows would be detected as deleted. Run dbt again without --{flag}."
            )


def _with_ancestors(manifest: Manifest) -> Iterator[str]:
    """Yield the mapped models, and all upstream models and snapshots."""
    mapped = [model.unique_id for model in manifest.models]
    for unique_id in dict.fromkeys([*mapped, *(upstream for one in mapped for upstream in manifest.ancestors(one))]):
        if manifest.raw["nodes"].get(unique_id, {}).get("resource_type") in {"model", "snapshot"}:
            yield unique_id


def _flags_seen(node: Node, manifest: Manifest, compiled: str) -> Iterator[str]:
    # dbt replaces ref() and source() by `(select * from relation limit 0)`, or by a filter on its event_time
    sql = node.get("raw_code") or ""
    for unique_id in (node.get("depends_on") or {}).get("nodes") or ():
        upstream = manifest.raw["nodes"].get(unique_id) or manifest.raw.get("sources", {}).get(unique_id) or {}
        relation = upstream.get("relation_name")
        if not relation or relation not in compiled:
            continue
        select = rf"\(\s*select\s+\*\s+from\s+{re.escape(relation)}\s+"
        is_empty = re.search(rf"{select}(where\s+false\s+)?limit\s+0\b", compiled, re.IGNORECASE)
        if is_empty and not _OWN_LIMIT.search(sql):
            yield "empty"
        time = (upstream.get("config") or {}).get("event_time")
        # dbt also filters for each batch of a microbatch model
        is_batched = (node.get("config") or {}).get("incremental_strategy") == "microbatch"
        if time and not is_batched and not _OWN_FILTER.search(sql):
            column = re.escape(str(time))
            if re.search(rf"{select}where\s+[^)]*{column}[^)]*[<>]", compiled, re.IGNORECASE):
                yield "sample"


def _compiled(node: Node, manifest: Manifest, project_dir: Path) -> str:
    """Return the model's compiled SQL from the manifest, else from the file that dbt wrote."""
    if code := node.get("compiled_code"):
        return str(code)
    path = node.get("compiled_path")  # null in the manifest of a command that did not compile the model
    own = manifest.path.parent / "compiled" / str(node.get("package_name")) / node["original_file_path"]
    try:
        return (project_dir / str(path) if path else own).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
