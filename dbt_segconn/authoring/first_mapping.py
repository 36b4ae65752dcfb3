"""The stories of `init` and `suggest`: from a dbt project to its first mapping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbt_segconn.authoring.editor_schema import SETTINGS_LINE, write_schemas
from dbt_segconn.authoring.suggest import Column, Suggestion, suggest
from dbt_segconn.authoring.yaml_edit import add_mapping
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import TABLES, Manifest, Model, read_manifest
from dbt_segconn.project.catalog import Catalog, spec_type
from dbt_segconn.project.drafts import as_columns
from dbt_segconn.project.findings import dotted
from dbt_segconn.project.identity import identity_of
from dbt_segconn.project.settings import FILE_NAME, Settings
from dbt_segconn.project.strict import near_name
from dbt_segconn.project.yaml_file import compose, entries, get
from dbt_segconn.runs.opening import Options, Plan, check_project, opened, resolve_context

SETTINGS = f"""{SETTINGS_LINE}
destinations:
  app:
    write_key: "{{{{ env_var('SEGMENT_WRITE_KEY') }}}}"  # of an HTTP API source in Segment
    # region: eu-west-1                # where the workspace lives in Europe
    # endpoint: http://127.0.0.1:8123  # the local debugger: dbt-segconn debugger

# What was sent is remembered in this schema of the target's database.
state:
  schema: segconn
"""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A suggestion for one model of a project."""

    project_dir: Path
    model: Model
    identifier: tuple[str, ...]
    suggestion: Suggestion
    destinations: tuple[str, ...]

    def as_yaml(self) -> Iterator[str]:
        """Yield the lines to paste under config.meta.segconn, with what is not sure in comments."""
        content: dict[str, Any] = {}
        if self.identifier:
            content["unique_identifier"] = self.identifier[0] if len(self.identifier) == 1 else list(self.identifier)
        yield yaml.safe_dump({**content, "mappings": [self.suggestion.mapping]}, sort_keys=False, width=110).rstrip()
        yield from (f"# {note}" for note in self.notes())

    def notes(self) -> Iterator[str]:
        """Yield what the user should look at."""
        if not self.identifier:
            yield "unique_identifier: name the column that tells records apart."
        if len(self.destinations) > 1:
            yield f"destination: one of {', '.join(self.destinations)}; the first stands there for now."
        for field in self.suggestion.missing:
            yield f"fields.{field}: no column looks like it. Map one: without it no call is valid."
        for match in self.suggestion.matches:
            if match.score < 100:
                yield f"fields.{dotted(match.field)}: {match.column} is near by {match.score:.0f} of 100."
        if self.suggestion.left_out:
            yield f"Left out: {', '.join(self.suggestion.left_out)}."

    def write(self) -> Path:
        """Append the mapping to the model's YAML file, or begin one beside its SQL; return the file."""
        yaml_file = Path(self.model.file)
        if yaml_file.suffix not in {".yml", ".yaml"}:
            yaml_file = yaml_file.with_suffix(".yml")
        if yaml_file.parts[0] == "dbt_packages":
            raise ConfigurationError(f"{yaml_file}: belongs to a package. Paste the mapping into a model of your own.")
        add_mapping(self.project_dir / yaml_file, self.model, self.identifier, self.suggestion.mapping)
        return yaml_file


def propose(options: Options, name: str, *, action: str | None = None, online: bool = False) -> Proposal:
    """Propose a mapping for a model, by the columns that catalog, contract or documentation tell of.

    `online` asks the warehouse for them. Raises ConfigurationError where there is no such model, or
    nothing is known of its columns.
    """
    context = resolve_context(options, opens=online)
    manifest = read_manifest(context.artifacts_dir)
    check_project(context, manifest)
    model = _find_model(manifest, name)
    types = dict(Catalog(context.artifacts_dir, manifest).columns_of(model).types)
    if online:
        types = dict(_of_warehouse(Plan(context, _no_settings(), manifest, None, ()), options, model))
    if not types:
        raise ConfigurationError(
            f"{model.file}: {model.resource_type} {model.name}: nothing is known of its columns. Document them, run "
            "`dbt docs generate`, or ask the warehouse with --online."
        )
    said = {column.name.casefold(): column.description for column in model.columns}
    columns = [
        Column(one, spec_type(kind) if kind else None, said.get(one.casefold(), "")) for one, kind in types.items()
    ]
    identifier = _identifier(model, manifest, [column.name for column in columns])
    plain = model.name.partition(".v")[0] if model.version else model.name
    destinations = _destinations(context.project_dir)
    chosen = destinations[0] if len(destinations) > 1 else None
    suggestion = suggest(plain, columns, identifier, action=action, destination=chosen)
    return Proposal(context.project_dir, model, identifier, suggestion, destinations)


def _destinations(project_dir: Path) -> tuple[str, ...]:
    """Name the destinations of segconn.yml, if it is there; what else is in it, validate will tell."""
    try:
        node = compose((project_dir / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(name for name, _, _ in entries(get(node, "destinations")))


def _find_model(manifest: Manifest, name: str) -> Model:
    models = [key for key, node in manifest.raw["nodes"].items() if node["resource_type"] in TABLES]
    found = [model for model in map(manifest.model, models) if name in {model.name, model.unique_id}]
    if not found:
        names = sorted({manifest.raw["nodes"][key]["name"] for key in models})
        raise ConfigurationError(f"{name}: dbt's manifest has no such model.{near_name(name, names)}")
    if len(found) > 1:
        ids = ", ".join(sorted(model.unique_id for model in found))
        raise ConfigurationError(f"{name}: {len(found)} models have this name: {ids}. Write one of these.")
    return found[0]


def _no_settings() -> Settings:
    """Stand in for a segconn.yml that need not be there yet: only the warehouse is asked."""
    return Settings.model_construct(destinations={})


def _of_warehouse(plan: Plan, options: Options, model: Model) -> Iterator[tuple[str, str | None]]:
    with opened(plan, options, [model]) as warehouse, warehouse.session("suggest") as session:
        yield from session.columns(session.relation_of(model)).items()


def _identifier(model: Model, manifest: Manifest, columns: list[str]) -> tuple[str, ...]:
    """Return the declared identifier, else the key by constraints and tests, else a column with such a name."""
    declared = as_columns(model.meta.get("unique_identifier")) if isinstance(model.meta, dict) else ()
    words = model.name.casefold().split("_")
    guesses = {"id", *(f"{one}_id" for word in words for one in (word, word.removesuffix("s")))}
    guessed = [column for column in columns if column.casefold() in guesses]
    return declared or identity_of(model, manifest).columns or tuple(guessed[:1])


def init(project_dir: Path) -> Iterator[str]:
    """Create what is missing of segconn.yml and the editors' schemas; yield what was done, a line each."""
    path = project_dir / FILE_NAME
    if path.exists():
        yield f"{FILE_NAME} is there already: left as it is."
    else:
        path.write_text(SETTINGS, encoding="utf-8")
        yield f"Wrote {FILE_NAME}."
    for schema in write_schemas(project_dir):
        yield f"Wrote {schema.relative_to(project_dir)}."
