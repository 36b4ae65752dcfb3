"""`init` and `suggest`: from a dbt project to its first mapping, in a YAML file whose layout is kept."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml

from dbt_segconn.authoring.editor_schema import SETTINGS_LINE, write_schemas
from dbt_segconn.authoring.suggest import ColumnHint, Suggestion, guess_action, suggest, with_first_test
from dbt_segconn.engine.opening import Options, Project, check_project, opened, resolve_context
from dbt_segconn.errors import ConfigurationError, SegconnError, message_of, printable
from dbt_segconn.project.artifacts import (
    MANIFEST_FILE,
    META_KEY,
    TABLES,
    Catalog,
    Manifest,
    Model,
    Snapshot,
    is_of_dbt2,
    read_manifest,
    spec_type,
)
from dbt_segconn.project.context import Context
from dbt_segconn.project.drafts import as_columns
from dbt_segconn.project.findings import dotted
from dbt_segconn.project.identifiers import default_identifier
from dbt_segconn.project.settings import FILE_NAME, Settings
from dbt_segconn.project.source_positions import RESOURCES, Files, SourcePositions
from dbt_segconn.project.strict_model import near_name
from dbt_segconn.project.yaml_file import YAML_SUFFIXES, entries, get

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
        keys = {"unique_identifier": _in_yaml(self.identifier)} if self.identifier else {}
        content = {**keys, "mappings": [self.suggestion.mapping]}
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
        # the file of a model without YAML is its SQL, of a seed its CSV
        if yaml_file.suffix not in YAML_SUFFIXES:
            yaml_file = yaml_file.with_suffix(".yml")
        if yaml_file.parts[0] == "dbt_packages":  # `dbt deps` would overwrite the change
            raise ConfigurationError(
                f"{yaml_file}: belongs to a package. Paste the mapping into a model of this project."
            )
        _add_mapping(self.project_dir / yaml_file, self.model, self.identifier, self.suggestion.mapping)
        return yaml_file


def _in_yaml(identifier: tuple[str, ...]) -> str | list[str]:
    return identifier[0] if len(identifier) == 1 else list(identifier)


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
    identifier = _identifier(model, manifest)
    if not identifier and (guessed := _column_like_id(model, columns)):
        identifier = (guessed,)
        notes.append(f"unique_identifier: {guessed} is guessed from its name. Test it with unique and not_null.")
    # a record of a snapshot is a version: its own id does not identify a user
    about = snapshot.unique_key if snapshot else identifier
    destinations = _destinations(context.project_dir)
    action = action or guess_action(model.name_in_yaml, columns, about)
    free = _free_destinations(model, context.project_dir, action, destinations)
    suggestion = suggest(
        model.name_in_yaml,
        [column for column in columns if not _is_added_by_dbt(column, snapshot)],
        about,
        action=action,
        destination=free[0] if len(destinations) > 1 else None,
        order_by=snapshot.valid_from if snapshot else None,
    )
    suggestion = replace(suggestion, mapping=with_first_test(suggestion.mapping, columns, identifier))
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
        writes_catalog = "dbt compile --write-catalog" if is_of_dbt2(manifest.raw) else "dbt docs generate"
        raise ConfigurationError(
            f"{model.file}: {model.resource_type} {model.name}: no columns are known. Run dbt on this "
            f"target, or document them, or run `{writes_catalog}`. {' '.join(notes)}".rstrip()
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
    # a mapping may leave out the destination if there is only one
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
    # dbt may not have parsed the file since its last change
    for _, _, one in entries(get(SourcePositions(model, Files(project_dir)).node, "mappings")):
        yield {key: value.value for key, _, value in entries(one) if isinstance(value, yaml.ScalarNode)}


def _destinations(project_dir: Path) -> tuple[str, ...]:
    """Return the names of the destinations in segconn.yml; ignore errors, which `validate` reports."""
    return tuple(name for name, _, _ in entries(get(Files(project_dir).node(FILE_NAME), "destinations")))


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
    # no destination is needed to read columns: `suggest` comes before segconn.yml is complete
    project = Project(
        context, Settings.model_construct(destinations={}), read_manifest(context.artifacts_dir), None, ()
    )
    with opened(project, options, [model]) as warehouse, warehouse.session("suggest") as session:
        return dict(session.columns(session.relation_of(model)))


def _is_added_by_dbt(column: ColumnHint, snapshot: Snapshot | None) -> bool:
    """Return whether dbt added a column to a snapshot."""
    if snapshot is None:
        return False
    # `snapshot_meta_column_names` may rename some of them; dbt_updated_at is not among these three
    own = (snapshot.scd_id, snapshot.valid_from, *snapshot.columns)
    return column.name.casefold() in {name.casefold() for name in own} or column.name.casefold().startswith("dbt_")


def _identifier(model: Model, manifest: Manifest) -> tuple[str, ...]:
    """Return the declared identifier, else the version of a snapshot, else the key by constraints and tests."""
    declared = as_columns(model.meta.get("unique_identifier")) if isinstance(model.meta, dict) else ()
    version = (model.snapshot.scd_id,) if model.snapshot else ()
    return declared or version or default_identifier(model, manifest).columns


def _column_like_id(model: Model, columns: Iterable[ColumnHint]) -> str | None:
    """Return the first column with the name of an id: id; for customer_orders also customer_id and order_id."""
    words = model.name.casefold().split("_")
    names = {"id", *(f"{one}_id" for word in words for one in (word, word.removesuffix("s")))}
    return next((column.name for column in columns if column.name.casefold() in names), None)


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


# --- Adding a mapping to a YAML file, which keeps its comments and its layout ---


def _add_mapping(path: Path, model: Model, identifier: tuple[str, ...], mapping: dict[str, Any]) -> None:
    """Append a mapping to a model's `config.meta.segconn`; create the file if it is missing.

    Raises ConfigurationError, and does not change the file, if its layout cannot be kept.
    """
    before = path.read_text(encoding="utf-8") if path.exists() else f"{model.resource_type}s: []\n"
    editor, content = _round_trip(before)
    _append(_entry(content, model), identifier, mapping)
    dump = io.StringIO()
    editor.dump(content, dump)
    after = _merged(before, dump.getvalue()) if path.exists() else dump.getvalue()
    # the merge of lines does not parse YAML: the result is read again before it replaces a file of the user
    if _values(after) != _plain(content):
        raise ConfigurationError(
            f"{path}: cannot be edited without changing other lines. Paste the mapping that "
            "`dbt-segconn suggest` prints without --write."
        )
    path.write_text(after, encoding="utf-8")


def _round_trip(text: str) -> tuple[Any, Any]:
    """Return an editor of ruamel.yaml with the indents of the text, and the content with its comments."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
        from ruamel.yaml.util import load_yaml_guess_indent
    except ImportError:
        raise ConfigurationError("--write needs ruamel.yaml: pip install 'dbt-segconn[suggest]'.") from None
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096  # the default of 80 would break long descriptions into several lines
    try:
        _, indent, offset = load_yaml_guess_indent(text)
        editor.indent(mapping=2, sequence=indent or 4, offset=2 if offset is None else offset)
        editor.explicit_start = text.startswith("---")
        return editor, editor.load(text)
    except YAMLError as error:
        raise ConfigurationError(f"not valid YAML: {str(error).splitlines()[0]}.") from None


def _entry(content: Any, model: Model) -> Any:
    for resource_key in RESOURCES:
        for entry in content.get(resource_key) or ():
            if entry.get("name") == model.name_in_yaml:
                return entry
    entry = {"name": model.name_in_yaml}
    content.setdefault(f"{model.resource_type}s", []).append(entry)
    return entry


def _append(entry: Any, identifier: tuple[str, ...], mapping: dict[str, Any]) -> None:
    """Append the mapping to the model's meta: under config, unless it has only an older `meta` key."""
    holder = entry if "meta" in entry and "meta" not in (entry.get("config") or {}) else _child(entry, "config")
    segconn = _child(_child(holder, "meta"), META_KEY)
    if "unique_identifier" not in segconn and identifier:
        segconn["unique_identifier"] = _in_yaml(identifier)
    mappings = segconn.setdefault("mappings", [])
    taken = {one.get("name") for one in mappings}
    names = chain([mapping["name"]], (f"{mapping['name']}_{number}" for number in count(2)))
    mappings.append({**mapping, "name": next(name for name in names if name not in taken)})


def _child(holder: Any, key: str) -> Any:
    if holder.get(key) is None:
        holder[key] = {}
    return holder[key]


def _merged(before: str, after: str) -> str:
    """Return the old lines with the added ones: a YAML dump changes the layout of some lines."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if old and not old[-1].endswith("\n"):
        old[-1] += "\n"
    lines: list[str] = []
    # autojunk would ignore lines that are frequent in a file of 200 lines or more
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for tag, old_from, old_to, new_from, new_to in changes:
        added = new[new_from:new_to] if tag == "insert" else []
        kept = old[old_from:old_to]
        end = _insertion_point(lines, added[0]) if added else len(lines)
        lines[end:] = [*added, *lines[end:], *kept]
    return "".join(lines)


def _insertion_point(lines: list[str], added: str) -> int:
    """Return the index for an added line: before blank lines and less indented comments, as these precede a key."""
    indent = len(added) - len(added.lstrip())
    end = len(lines)
    while end and (not (text := lines[end - 1].strip()) or (text[0] == "#" and lines[end - 1].index("#") < indent)):
        end -= 1
    return end


def _values(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return _plain(YAML(typ="safe").load(text))
    except YAMLError:
        return None


def _plain(value: Any) -> Any:
    """Return a value without the classes of ruamel.yaml, which keep comments, quotes and number formats."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value
