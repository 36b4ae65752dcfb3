"""run_results.json, of one dbt invocation or of several: what dbt did to each model, and which tests failed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import Manifest, read_artifact

RESULTS_FILE = "run_results.json"
# https://docs.getdbt.com/reference/artifacts/run-results-json : other commands write this file, too
BUILDING = frozenset({"run", "build", "seed", "snapshot"})
TESTING = frozenset({"test"})
FRESH = frozenset({"success"})
HELD_BACK = {
    "error": "dbt failed to build the model",
    "runtime error": "dbt failed to build the model",
    "skipped": "dbt skipped the model",
    "partial success": "dbt built only a part of the model",
}
"""status → why the model is not synced; any other status says neither that it is fresh nor that it failed"""
FAILED_TESTS = frozenset({"fail", "error", "runtime error"})
SHOWN_BATCHES = 3


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """One run_results.json as dbt wrote it (schema v4 to v6)."""

    path: Path
    raw: Mapping[str, Any] = field(repr=False)  # with the vars

    @property
    def args(self) -> Mapping[str, Any]:
        """The options that dbt recorded; dbt 2 records its command alone."""
        args: Mapping[str, Any] = self.raw.get("args") or {}
        return args

    @property
    def run_id(self) -> str:
        """Id of the dbt invocation."""
        return str(self.raw["metadata"].get("invocation_id"))

    @property
    def generated_at(self) -> str:
        """When dbt wrote it: ISO-8601 in UTC, which sorts as text."""
        return str(self.raw["metadata"].get("generated_at") or "")

    @property
    def is_of_dbt2(self) -> bool:
        """Whether the Rust engine wrote it."""
        return not str(self.raw["metadata"].get("dbt_version") or "1").startswith(("0.", "1"))

    @property
    def command(self) -> str:
        """The dbt command, as a user types it. `dbt retry` records the command that it retried."""
        words = str(self.args.get("invocation_command") or "").split()
        which = str(self.args.get("which") or "an unknown command")
        return (
            "retry"
            if "retry" in words[1:]
            else {"generate": "docs generate", "freshness": "source freshness"}.get(which, which)
        )

    @property
    def only_tests(self) -> bool:
        """Whether dbt could not skip what stands downstream of a failed test, since it built nothing."""
        return self.args.get("which") in TESTING

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """One result for each node. Those of commands that neither build nor test say nothing."""
        results: Sequence[Mapping[str, Any]] = self.raw.get("results") or ()
        return results if self.command in {"retry", *BUILDING, *TESTING} else ()

    def __str__(self) -> str:
        """Name it in a message."""
        return f"{self.path} (`dbt {self.command}`, {self.generated_at[:19].replace('T', ' ')} UTC)"


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What dbt did to one model: `status` is dbt's word; `failed_batches` are those of a microbatch model."""

    status: str
    run_id: str
    failed_batches: tuple[str, ...] = ()

    @property
    def is_fresh(self) -> bool:
        """Whether the model's table now holds what dbt has just computed."""
        return self.status in FRESH

    @property
    def failure(self) -> str | None:
        """Why the model must not be synced, but for its tests."""
        reason = HELD_BACK.get(self.status)
        if reason and self.failed_batches:
            shown = ", ".join(self.failed_batches[:SHOWN_BATCHES])
            more = ", …" if len(self.failed_batches) > SHOWN_BATCHES else ""
            return f"{reason}: {len(self.failed_batches)} of its batches failed ({shown}{more})"
        return reason


@dataclass(frozen=True, slots=True)
class RunResults:
    """The results that count for a run, of one dbt invocation or merged from several.

    `outcomes` are those of models by unique id; `failed_tests` the tests that failed, by the unique id of each node
    that they are about, models that dbt did not build included; `tested` are the nodes with any test result.
    `failed_apart` are nodes whose tests failed in an invocation that only tested, and so skipped nothing below them.
    """

    files: tuple[ResultsFile, ...]
    outcomes: Mapping[str, NodeResult]
    failed_tests: Mapping[str, tuple[str, ...]]
    tested: Collection[str]
    failed_apart: Collection[str]

    @property
    def says_what_is_fresh(self) -> bool:
        """Whether a model without an outcome was not built; results of tests and of retries do not tell."""
        return any(file.command in BUILDING for file in self.files)

    @property
    def says_nothing(self) -> bool:
        """Whether no file is of a command that builds or tests."""
        return not any(file.command in {"retry", *BUILDING, *TESTING} for file in self.files)

    @property
    def retried(self) -> Collection[str]:
        """The nodes that `dbt retry` has tried again. dbt records the command only where it was typed.

        A build that tested a model without building it was a retry, too.
        """
        if self.newest.command == "retry":
            return {*self.outcomes, *self.tested}
        return () if self.newest.only_tests else set(self.tested) - set(self.outcomes)

    @property
    def newest(self) -> ResultsFile:
        """The file that was written last."""
        return self.files[-1]

    def invocation_of(self, unique_id: str) -> str:
        """Return the id of the dbt invocation whose results count for a model."""
        outcome = self.outcomes.get(unique_id)
        return outcome.run_id if outcome else self.newest.run_id


def results_paths(given: Iterable[str]) -> tuple[Path, ...]:
    """Find the files that `--run-results` names: files, folders of artifacts, globs, relative to where it is typed.

    Raises ConfigurationError for a word that names none.
    """
    found: list[Path] = []
    for word in given:
        paths = sorted(_expanded(word))
        if not paths:
            raise ConfigurationError(
                f"--run-results {word}: no {RESULTS_FILE} there. Name the file, the folder that holds it, or a glob "
                "of either, such as 'runs/*/target'."
            )
        found.extend(paths)
    return tuple(dict.fromkeys(found))


def _expanded(word: str) -> Iterator[Path]:
    path = Path(word).expanduser()
    absolute = path.absolute()
    matches: Iterable[Path] = [absolute]
    if not absolute.exists() and any(mark in word for mark in "*?["):
        matches = Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor)))
    for one in matches:
        if one.is_dir():
            inside = [one / RESULTS_FILE, one / "target" / RESULTS_FILE]
            yield from [file for file in inside if file.is_file()][:1]
        elif one.is_file():
            yield one


def read_results(path: Path) -> ResultsFile:
    """Read one file; raises ConfigurationError with the way out where it is missing or broken."""
    file = ResultsFile(path, read_artifact(path, "run-results", oldest=4, newest=6))
    if not all(
        isinstance(one, dict) and {"unique_id", "status"} <= one.keys() for one in file.raw.get("results") or ()
    ):
        raise ConfigurationError(f"{path}: is not a dbt run-results file: a result has no unique_id or no status.")
    return file


def merge_results(files: Iterable[ResultsFile], manifest: Manifest) -> RunResults:
    """Put results together: of each node, a test included, the newest counts.

    Raises ConfigurationError for results that cannot be of this manifest's models, or that are of `--empty` or
    `--sample`.
    """
    ordered = tuple(sorted(files, key=lambda file: file.generated_at))
    newest: dict[str, tuple[ResultsFile, Mapping[str, Any]]] = {}
    check_flags(ordered)
    _check_targets(ordered)
    for file in ordered:
        _check_relations(file, manifest)
        newest.update({result["unique_id"]: (file, result) for result in file.results})
    tests = [(file, one, tuple(manifest.tests_of(name))) for name, (file, one) in newest.items() if _is_test(name)]
    failing = [test for test in tests if test[1]["status"] in FAILED_TESTS]
    failed: dict[str, tuple[str, ...]] = {}
    for _, result, about in failing:
        for node in about:
            failed[node] = (*failed.get(node, ()), result["unique_id"].split(".")[2])
    return RunResults(
        files=ordered,
        outcomes={
            name: NodeResult(one["status"], file.run_id, _failed_batches(one))
            for name, (file, one) in newest.items()
            if not _is_test(name)
        },
        failed_tests=failed,
        tested=frozenset(node for *_, about in tests for node in about),
        failed_apart=frozenset(node for file, _, about in failing if file.only_tests for node in about),
    )


def _is_test(unique_id: str) -> bool:
    return unique_id.startswith(("test.", "unit_test."))


def _failed_batches(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the batches of a microbatch model that failed, each by the times that it spans."""
    batches = (result.get("batch_results") or {}).get("failed") or ()
    return tuple(" to ".join(re.sub(r"T00:00:00.*", "", str(end)) for end in batch) for batch in batches)


def check_flags(files: Iterable[ResultsFile]) -> None:
    """Raise ConfigurationError where dbt has built with `--empty` or `--sample`, as dbt 1 records it."""
    for file, flag in product(files, ("empty", "sample")):
        if file.args.get(flag):
            raise ConfigurationError(
                f"{file} is of a dbt invocation with --{flag}: its models hold no or few rows, and all others "
                f"would look deleted. Run dbt again without --{flag}."
            )


def _check_targets(files: Sequence[ResultsFile]) -> None:
    """Raise where the results of several invocations are of different targets, as far as dbt has recorded them."""
    by_target = {file.args.get("target"): file for file in files if not file.is_of_dbt2}
    if len(by_target) > 1:
        listed = "; ".join(f"{file}: {target or 'the default target'}" for target, file in by_target.items())
        raise ConfigurationError(f"dbt's results are of different targets: {listed}. Name those of one target.")


def _check_relations(file: ResultsFile, manifest: Manifest) -> None:
    """Raise where dbt built a model as another relation than the manifest has it, or another project's models."""
    nodes = manifest.raw["nodes"]
    models = [result for result in file.results if result["unique_id"].startswith(("model.", "seed.", "snapshot."))]
    if models and not any(result["unique_id"] in nodes for result in models):
        raise ConfigurationError(
            f"{file} is of another dbt project than {manifest.path}: none of its models stands there. Name the "
            "folder of this project's artifacts with --target-path, or its results with --run-results."
        )
    for result in models:
        built, known = result.get("relation_name"), nodes.get(result["unique_id"], {}).get("relation_name")
        if built and known and built != known:
            raise ConfigurationError(
                f"{file}: dbt built {result['unique_id']} as {built}, but {manifest.path} has it as {known}: one is of "
                "another target, or the model has changed in between. Run dbt on the target that is meant, then "
                "dbt-segconn."
            )
