"""manifest.json and run_results.json: which models were refreshed, with their meta, tests and columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from dbt_segconn.collecting import no_collections
from dbt_segconn.errors import ConfigurationError

META_KEY = "segconn"
# https://docs.getdbt.com/reference/artifacts/run-results-json : other commands write this file, too
REFRESHING_COMMANDS = frozenset({"run", "build", "seed", "snapshot"})
REFRESHED = frozenset({"success", "partial success"})
TABLES = frozenset({"model", "seed", "snapshot"})


@dataclass(frozen=True, slots=True)
class ModelColumn:
    """A column as the model's YAML documents it."""

    name: str
    data_type: str | None
    description: str
    constraints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model, seed or snapshot of the manifest, as far as a sync and its checks need it.

    `raw_meta` is the meta before dbt's Jinja, where dbt keeps it: of what stands in dbt_project.yml.
    `file` and `sql_file` are relative to the project; `file` is the YAML, or the SQL where there is none.
    `constraints` are those of the model as a whole: type, columns.
    """

    unique_id: str
    name: str
    resource_type: str
    file: str
    database: str | None
    schema: str
    identifier: str
    materialized: str
    meta: Any
    raw_meta: Any
    columns: tuple[ModelColumn, ...]
    contract: bool
    constraints: tuple[tuple[str, tuple[str, ...]], ...]
    version: str | None
    sql: str
    sql_file: str

    @property
    def is_stored(self) -> bool:
        """Whether to read it means to read rows, rather than to compute them."""
        return self.materialized != "view"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a dbt invocation did to one model."""

    status: str
    message: str | None
    failed_tests: tuple[str, ...] = ()

    @property
    def refreshed(self) -> bool:
        """Whether the model's table now holds fresh rows."""
        return self.status in REFRESHED


@dataclass(frozen=True)
class Manifest:
    """A parsed manifest.json (schema v4 and later; v12 is current)."""

    path: Path
    raw: Mapping[str, Any]

    @property
    def invocation_id(self) -> str | None:
        """The dbt invocation that wrote it."""
        invocation: str | None = self.raw["metadata"].get("invocation_id")
        return invocation

    @property
    def adapter_type(self) -> str:
        """The adapter that it was built for."""
        return str(self.raw["metadata"].get("adapter_type"))

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """Every model, seed and snapshot that carries `meta.segconn`."""
        return tuple(
            self.model(unique_id)
            for unique_id, node in self.raw["nodes"].items()
            if node["resource_type"] in TABLES and _segconn_meta(node) is not None
        )

    def model(self, unique_id: str) -> Model:
        """Return a model, seed or snapshot, whether or not it carries `meta.segconn`."""
        node = self.raw["nodes"][unique_id]
        foreign = node.get("package_name") not in {self.raw["metadata"].get("project_name"), None}
        return _model(node, f"dbt_packages/{node['package_name']}/" if foreign else "")

    @cached_property
    def _attached_tests(self) -> Mapping[str, list[Mapping[str, Any]]]:
        tests: dict[str, list[Mapping[str, Any]]] = {}
        for node in self.raw["nodes"].values():
            if node["resource_type"] == "test" and node.get("attached_node"):
                tests.setdefault(node["attached_node"], []).append(node)
        return tests

    def generic_tests(self, unique_id: str) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
        """Yield the generic tests of a model: name, column, arguments."""
        for node in self._attached_tests.get(unique_id, ()):
            meta = node.get("test_metadata") or {}
            yield meta.get("name", ""), node.get("column_name"), meta.get("kwargs") or {}

    def tests_of(self, test_id: str) -> Iterator[str]:
        """Yield the unique ids of the nodes that a test is about."""
        test = self.raw["nodes"].get(test_id) or self.raw.get("unit_tests", {}).get(test_id) or {}
        if attached := test.get("attached_node"):
            yield attached
        else:
            yield from test.get("depends_on", {}).get("nodes", ())

    def tests_on(self, unique_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the generic tests of a model as the manifest has them."""
        return self._attached_tests.get(unique_id, ())

    def disabled(self) -> Iterator[Mapping[str, Any]]:
        """Yield the disabled models, seeds and snapshots of which there is no enabled one."""
        for unique_id, nodes in (self.raw.get("disabled") or {}).items():
            yield from (one for one in nodes if one["resource_type"] in TABLES and unique_id not in self.raw["nodes"])

    def disabled_models(self) -> Iterator[Model]:
        """Yield those disabled ones that carry `meta.segconn`."""
        yield from (_model(node, "") for node in self.disabled() if _segconn_meta(node) is not None)


@dataclass(frozen=True, slots=True)
class RunResults:
    """A parsed run_results.json of a command that refreshes models."""

    path: Path
    invocation_id: str
    args: Mapping[str, Any]
    outcomes: Mapping[str, Outcome]


def read_manifest(target_dir: Path) -> Manifest:
    """Read target/manifest.json; raises ConfigurationError with the way out where it cannot be used."""
    path = target_dir / "manifest.json"
    return Manifest(path, _read(path, "manifest", oldest=4, newest=12))


def read_run_results(target_dir: Path, manifest: Manifest) -> RunResults:
    """Read target/run_results.json, refusing results that do not say which models are fresh.

    Raises ConfigurationError: missing, unreadable, of a command that refreshes nothing, of `--empty` or
    `--sample`, or of another invocation than the manifest.
    """
    path = target_dir / "run_results.json"
    raw = _read(path, "run-results", oldest=4, newest=6)
    args = raw.get("args", {})
    _check_command(path, args)
    invocation = raw["metadata"].get("invocation_id")
    if invocation != manifest.invocation_id:
        raise ConfigurationError(
            f"{path} is of another dbt invocation ({invocation}, {raw['metadata'].get('generated_at')}) than "
            f"{manifest.path.name} ({manifest.invocation_id}, {manifest.raw['metadata'].get('generated_at')}): "
            "another dbt command has rewritten one of them. Run `dbt run` or `dbt build` again, then "
            "dbt-segconn right after it; or name models with --select and --all to sync them as they are."
        )
    return RunResults(path, invocation, args, _outcomes(raw, manifest))


def _read(path: Path, kind: str, *, oldest: int, newest: int) -> Mapping[str, Any]:
    try:
        with no_collections():
            raw = orjson.loads(path.read_bytes())
        version = int(raw["metadata"]["dbt_schema_version"].rsplit("/v", 1)[1].removesuffix(".json"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: not found. Run `dbt run` or `dbt build` first, or name its folder with --target-path."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{path}: is not a dbt {kind} file, or was cut short. Run `dbt run` or `dbt build` again."
        ) from None
    if not oldest <= version <= newest:
        raise ConfigurationError(
            f"{path}: has version {version} of dbt's {kind} schema; this dbt-segconn reads {oldest} to {newest}. "
            "Install a dbt-segconn that matches your dbt."
        )
    checked: Mapping[str, Any] = raw
    return checked


def _check_command(path: Path, args: Mapping[str, Any]) -> None:
    command = {"generate": "docs generate"}.get(args.get("which", ""), args.get("which", "an unknown command"))
    if command not in REFRESHING_COMMANDS:
        raise ConfigurationError(
            f"{path} is of `dbt {command}`, which refreshes no model and has replaced the results of the run "
            "before it. Run dbt-segconn right after `dbt run`, `build`, `seed` or `snapshot` (`dbt build` runs "
            "and tests at once); or name models with --select and --all to sync them as they are."
        )
    for flag in ("empty", "sample"):
        if args.get(flag):
            raise ConfigurationError(
                f"{path} is of a dbt invocation with --{flag}: its models hold no or few rows, and all others "
                f"would look deleted. Run dbt again without --{flag}."
            )


def _outcomes(raw: Mapping[str, Any], manifest: Manifest) -> Mapping[str, Outcome]:
    failed: dict[str, list[str]] = {}
    for result in raw["results"]:
        if _is_test(result["unique_id"]) and result["status"] in {"fail", "error"}:
            for node in manifest.tests_of(result["unique_id"]):
                failed.setdefault(node, []).append(result["unique_id"].split(".")[2])
    return {
        result["unique_id"]: Outcome(
            result["status"], result.get("message"), tuple(failed.get(result["unique_id"], ()))
        )
        for result in raw["results"]
        if not _is_test(result["unique_id"])
    }


def _is_test(unique_id: str) -> bool:
    return unique_id.startswith(("test.", "unit_test."))


def _segconn_meta(node: Mapping[str, Any]) -> Any:
    for holder in (node.get("config") or {}, node):
        meta = holder.get("meta") or {}
        if META_KEY in meta:
            return meta[META_KEY]
    return None


def _model(node: Mapping[str, Any], folder: str) -> Model:
    version = node.get("version")
    patch = node.get("patch_path") or ""
    config = node.get("config") or {}
    return Model(
        unique_id=node["unique_id"],
        name=node["name"] if version is None else f"{node['name']}.v{version}",
        resource_type=node["resource_type"],
        file=folder + (patch.split("://", 1)[-1] or node["original_file_path"]),
        database=node.get("database"),
        schema=node["schema"],
        identifier=node.get("alias") or node["name"],
        materialized=config.get("materialized") or node["resource_type"],
        meta=_segconn_meta(node),
        raw_meta=_segconn_meta({"config": node.get("unrendered_config")}),
        columns=tuple(map(_column, (node.get("columns") or {}).values())),
        contract=bool((config.get("contract") or {}).get("enforced")),
        constraints=tuple((one["type"], tuple(one.get("columns") or ())) for one in node.get("constraints") or ()),
        version=None if version is None else str(version),
        sql=node.get("raw_code") or "" if node["resource_type"] != "seed" else "",
        sql_file=folder + node["original_file_path"],
    )


def _column(column: Mapping[str, Any]) -> ModelColumn:
    return ModelColumn(
        column["name"],
        column.get("data_type"),
        column.get("description") or "",
        tuple(one["type"] for one in column.get("constraints") or ()),
    )
