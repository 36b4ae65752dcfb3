"""`init` and `suggest`: from a dbt project to its first mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbt_segconn.authoring.editor_schema import SETTINGS_LINE, write_schemas
from dbt_segconn.authoring.suggest import ColumnHint, Suggestion, guess_action, suggest
from dbt_segconn.authoring.yaml_edit import add_mapping
from dbt_segconn.engine.opening import Options, Project, check_project, opened, resolve_context
from dbt_segconn.errors import ConfigurationError, SegconnError, message_of, printable
from dbt_segconn.project.artifacts import MANIFEST_FILE, TABLES, Manifest, Model, Snapshot, read_manifest
from dbt_segconn.project.catalog import Catalog, catalog_command, spec_type
from dbt_segconn.project.context import Context
from dbt_segconn.project.drafts import as_columns
from dbt_segconn.project.findings import dotted
from dbt_segconn.project.settings import FILE_NAME, Settings
from dbt_segconn.project.source_positions import Files, SourcePositions
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.project.unique_identifier import default_identifier
from dbt_segconn.project.yaml_file import compose, entries, get

SETTINGS = f"""{SETTINGS_LINE}
destinations:
  app:
    write_key: "{{{{ env_var('SEGMENT_WRITE_KEY') }}}}"  # of an HTTP API source in Segment
    # region: eu-west-1                # if the workspace is in Europe
    # endpoint: http://127.0.0.1:8123  # the local debugger: dbt-segconn debugger

# dbt-segconn keeps its state in this schema of the target's database.
state:
  schema: segconn
"""


class AlreadyMapped(ConfigurationError):  # noqa: N818  a state of the model, not an error in it
    """The model already has a mapping of this action to every destination."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A suggested mapping for one model of a project.

    `destinations` are those without a mapping of the same action. `remarks` are notes about the known columns.
    """

    project_dir: Path
    model: Model
    identifier: tuple[str, ...]
    suggestion: Suggestion
    destinations: tuple[str, ...]
    remarks: tuple[str, ...]

    def as_yaml(self) -> str:
        """Return YAML for config.meta.segconn, with the notes as comments."""
        content: dict[str, Any] = {}
        if self.identifier:
            content["unique_identifier"] = self.identifier[0] if len(self.identifier) == 1 else list(self.identifier)
        content["mappings"] = [self.suggestion.mapping]
        comments = "\n".join(f"# {printable(note)}" for note in self.notes())
        return yaml.safe_dump(content, sort_keys=False, width=110) + comments

    def notes(self) -> Iterator[str]:
        """Yield what the user should check."""
        yield from self.remarks
        if "order_by" in self.suggestion.mapping:
            yield (
                "Each version of a row is a record, sent in the order of order_by. To send only current versions, "
                "replace order_by with `records: current` and remove unique_identifier."
            )
        yield from self.suggestion.doubts
        if not self.identifier:
            yield "unique_identifier: add the column that identifies a record."
        if len(self.destinations) > 1:
            yield f"destination: one of {', '.join(self.destinations)}; the mapping has the first."
        for field in self.suggestion.missing:
            yield f"fields.{field}: no column matches. Map one: it is required."
        for match in self.suggestion.matches:
            if match.score < 100:
                yield f"fields.{dotted(match.field)}: {match.column} matches by {match.score:.0f} of 100."
        if self.suggestion.left_out:
            yield f"Not mapped: {', '.join(self.suggestion.left_out)}."

    def write(self) -> Path:
        """Append the mapping to the model's YAML file, or create one next to its SQL; return the file."""
        yaml_file = Path(self.model.file)
        if yaml_file.suffix not in {".yml", ".yaml"}:
            yaml_file = yaml_file.with_suffix(".yml")
        if yaml_file.parts[0] == "dbt_packages":
            raise ConfigurationError(
                f"{yaml_file}: belongs to a package. Paste the mapping into a model of this project."
            )
        add_mapping(self.project_dir / yaml_file, self.model, self.identifier, self.suggestion.mapping)
        return yaml_file


def propose(options: Options, name: str, *, action: str | None = None, online: bool = False) -> Proposal:
    """Suggest a mapping for a model by its columns in the contract, the catalog or the warehouse.

    Reads the warehouse if `online` is set or files may not have all columns. Unless `online` is set, a warehouse that
    cannot be opened adds a remark. Raises ConfigurationError if the model does not exist, or no columns are known.
    """
    context = resolve_context(options)
    manifest = read_manifest(context.artifacts_dir)
    check_project(context, manifest)
    model = _find_model(manifest, name)
    columns, notes = _columns(context, manifest, model, options, online=online)
    snapshot = model.snapshot
    identifier = _identifier(model, manifest, [column.name for column in columns])
    about = snapshot.unique_key if snapshot else identifier
    plain = model.name.partition(".v")[0] if model.version else model.name
    destinations = _destinations(context.project_dir)
    action = action or guess_action(plain, columns, about)
    free = _free_destinations(model, context.project_dir, action, destinations)
    suggestion = suggest(
        plain,
        [column for column in columns if not _is_added_by_dbt(column, snapshot)],
        about,
        action=action,
        destination=free[0] if len(destinations) > 1 else None,
        order_by=snapshot.valid_from if snapshot else None,
    )
    return Proposal(context.project_dir, model, identifier, suggestion, free, tuple(notes))


def _columns(
    context: Context, manifest: Manifest, model: Model, options: Options, *, online: bool
) -> tuple[list[ColumnHint], list[str]]:
    """Return the known columns of a model, and remarks about their source."""
    known = Catalog(context.artifacts_dir, manifest).columns_of(model)
    types, notes = dict(known.types), []
    if online or not known.complete:
        try:
            types = _warehouse_columns(options, model)
        except SegconnError as error:
            if online:
                raise
            source = "an older catalog" if known.origin == "old catalog" else "its documentation"
            why = " ".join(message_of(error).split())
            notes.append(f"Only the columns of {source} are known; the warehouse could not be read: {why}")
    if not types:
        raise ConfigurationError(
            f"{model.file}: {model.resource_type} {model.name}: no columns are known. Run dbt on this "
            f"target, or document them, or run `{catalog_command(manifest)}`. {' '.join(notes)}".rstrip()
        )
    descriptions = {column.name.casefold(): column.description for column in model.columns}
    return [
        ColumnHint(one, spec_type(data_type) if data_type else None, descriptions.get(one.casefold(), ""))
        for one, data_type in types.items()
    ], notes


def _free_destinations(model: Model, project_dir: Path, action: str, destinations: tuple[str, ...]) -> tuple[str, ...]:
    """Return the destinations without a mapping of this action on the model.

    Raises AlreadyMapped if there is none.
    """
    mappings = [one for one in _mappings(model, project_dir) if action in str(one.get("action")).lower()]
    taken = {one.get("destination") or (destinations or ("",))[0] for one in mappings}
    free = tuple(name for name in destinations or ("",) if name not in taken)
    if free:
        return tuple(filter(None, free))
    names = ", ".join(dict.fromkeys(str(one.get("name")) for one in mappings))
    raise AlreadyMapped(
        f"{model.file}: {model.resource_type} {model.name} already has a mapping with the action {action}: {names}. "
        "Edit it, or choose another action with --action."
    )


def _mappings(model: Model, project_dir: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the model's mappings, as parsed by dbt and as in the file now."""
    listed = model.meta.get("mappings") if isinstance(model.meta, dict) else None
    yield from (one for one in listed or () if isinstance(one, dict))
    for _, _, one in entries(get(SourcePositions(model, Files(project_dir)).node, "mappings")):
        yield {key: value.value for key, _, value in entries(one) if isinstance(value, yaml.ScalarNode)}


def _destinations(project_dir: Path) -> tuple[str, ...]:
    """Return the names of the destinations in segconn.yml; ignore errors, which `validate` reports."""
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
        raise ConfigurationError(f"{name}: {len(found)} models have this name: {ids}. Use one of these ids.")
    return found[0]


def _warehouse_columns(options: Options, model: Model) -> dict[str, str | None]:
    """Return the columns from the warehouse; segconn.yml may be missing."""
    context = resolve_context(options, opens=True)
    plan = Project(context, Settings.model_construct(destinations={}), read_manifest(context.artifacts_dir), None, ())
    with opened(plan, options, [model]) as warehouse, warehouse.session("suggest") as session:
        return dict(session.columns(session.relation_of(model)))


def _is_added_by_dbt(column: ColumnHint, snapshot: Snapshot | None) -> bool:
    """Return whether dbt added a column to a snapshot."""
    if snapshot is None:
        return False
    own = (snapshot.scd_id, snapshot.valid_from, *snapshot.columns)
    return column.name.casefold() in {name.casefold() for name in own} or column.name.casefold().startswith("dbt_")


def _identifier(model: Model, manifest: Manifest, columns: list[str]) -> tuple[str, ...]:
    """Return the declared identifier, else the key by constraints and tests, else a column named like an id."""
    declared = as_columns(model.meta.get("unique_identifier")) if isinstance(model.meta, dict) else ()
    words = model.name.casefold().split("_")
    guesses = {"id", *(f"{one}_id" for word in words for one in (word, word.removesuffix("s")))}
    guessed = [column for column in columns if column.casefold() in guesses]
    version = (model.snapshot.scd_id,) if model.snapshot else ()
    return declared or version or default_identifier(model, manifest).columns or tuple(guessed[:1])


def has_manifest(options: Options) -> bool:
    """Return whether manifest.json exists; `suggest` requires it."""
    try:
        return (resolve_context(options).artifacts_dir / MANIFEST_FILE).exists()
    except ConfigurationError:
        return False


def init(project_dir: Path) -> Iterator[str]:
    """Create segconn.yml if it is missing, and write the editors' schemas; yield a line for each file."""
    path = project_dir / FILE_NAME
    if path.exists():
        yield f"{FILE_NAME} already exists; it was not changed."
    else:
        path.write_text(SETTINGS, encoding="utf-8")
        yield f"Wrote {FILE_NAME}."
    for schema in write_schemas(project_dir):
        yield f"Wrote {schema.relative_to(project_dir)}."
