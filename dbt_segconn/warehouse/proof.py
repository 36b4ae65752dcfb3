"""Check by the names of relations that dbt built the models on the opened target; find that target if none is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from dbt_segconn.errors import ConfigurationError, counted
from dbt_segconn.project.artifacts import TABLES, Manifest, Model
from dbt_segconn.project.context import Context
from dbt_segconn.project.jinja import Jinja
from dbt_segconn.project.source_positions import RESOURCES, Files, SourcePositions
from dbt_segconn.warehouse.adapter import Warehouse, load_profile, open_warehouse
from dbt_segconn.warehouse.dialect import place_of, same_place

# The keys of a model's config that dbt passes to its naming macros; and those of a snapshot, which replace the result
_CUSTOM = ("database", "schema", "alias")
_SNAPSHOT = {"database": "target_database", "schema": "target_schema"}
# Before the first mapping, check this many other models
OTHERS = 20


class RelationNames(NamedTuple):
    """The parts of a relation's name, without quotation marks. Spark has no database."""

    database: str | None
    schema: str
    alias: str

    def __str__(self) -> str:
        """Join the parts with dots."""
        return ".".join(filter(None, self))


@dataclass(frozen=True, slots=True)
class Misfit:
    """A model with different relation names in the manifest (`built`) and on the opened target (`here`)."""

    model: Model
    built: RelationNames
    here: RelationNames


class Naming:
    """The relation names of models on one target. `macros` is a dbt Manifest with the project's macros."""

    def __init__(self, config: Any, macros: Any) -> None:
        self._config = config
        self._macros = macros
        self._generators: dict[tuple[str, str], Any] = {}
        self._contexts: dict[str, Any] = {}  # of macros by package: dbt needs longer for a context than for a macro
        # Whether dbt_project.yml has Jinja in the configs of models: names may then depend on the target
        written = config.unrendered.project_dict
        # The text of a mapping begins and ends with braces. A nested one counts as Jinja, too: that only costs time
        self._is_rendered = any("{" in str(written.get(resource_key) or {}).strip("{}") for resource_key in RESOURCES)

    def misfits(self, manifest: Manifest, models: Iterable[Model], jinja: Jinja, files: Files) -> Iterator[Misfit]:
        """Yield the models with another relation on this target. Raises ConfigurationError if a macro fails."""
        for model in models:
            node = manifest.raw["nodes"][model.unique_id]
            built = RelationNames(model.database, model.schema, model.identifier)
            here = self._names(node, SourcePositions(model, files), jinja)
            if not all(map(self._same, built, here, self._quoting(node))):
                yield Misfit(model, built, here)

    def _quoting(self, node: Mapping[str, Any]) -> tuple[bool, bool, bool]:
        # a model's config overrides the project's, key by key
        policy = {**self._config.quoting, **((node.get("config") or {}).get("quoting") or {})}
        return tuple(bool(policy.get(part, True)) for part in ("database", "schema", "identifier"))  # type: ignore[return-value]

    @staticmethod
    def _same(built: str | None, here: str | None, quoted: bool) -> bool:  # noqa: FBT001  mapped over three tuples
        if quoted or built is None or here is None:
            return (built or None) == (here or None)
        return built.casefold() == here.casefold()

    def _names(self, node: Mapping[str, Any], positions: SourcePositions, jinja: Jinja) -> RelationNames:
        custom = self._custom_names(node, positions, jinja)
        generated = {part: self._generate(part, custom.get(part), node) for part in _CUSTOM}
        if node["resource_type"] == "snapshot":
            generated |= {part: custom[key] for part, key in _SNAPSHOT.items() if custom.get(key)}
        return RelationNames(**generated)

    def _generate(self, part: str, custom: str | None, node: Mapping[str, Any]) -> Any:
        """Call the macro that dbt would call: the project's, the package's for its own models, or dbt's."""
        from dbt_common.exceptions import DbtBaseException

        package = str(node.get("package_name"))
        if (part, package) not in self._generators:
            self._generators[part, package] = self._generator(part, package)
        try:
            name = self._generators[part, package](custom, node)
        except DbtBaseException as error:
            raise ConfigurationError(
                f"{node['unique_id']}: the project's macro generate_{part}_name fails on target "
                f"{self._config.target_name}: {error}. dbt-segconn calls it to check that dbt built the model "
                "on this target: use the same environment variables and --vars as dbt."
            ) from None
        return name.strip() if isinstance(name, str) else name

    def _generator(self, part: str, package: str) -> Any:
        from dbt.clients.jinja import MacroGenerator
        from dbt.context.providers import generate_generate_name_macro_context

        root = self._config.project_name
        find = self._macros.find_generate_macro_by_name
        macro = find(part, root, imported_package=package) if package != root else None
        macro = macro or find(part, root)
        if macro.package_name not in self._contexts:
            context = generate_generate_name_macro_context(macro, self._config, self._macros)
            self._contexts[macro.package_name] = context
        return MacroGenerator(macro, self._contexts[macro.package_name])

    def _custom_names(self, node: Mapping[str, Any], positions: SourcePositions, jinja: Jinja) -> Mapping[str, Any]:
        """Return the custom names of the node's config as this target renders them.

        The manifest has them rendered for dbt's target. This reads their sources again: dbt_project.yml, the model's
        YAML, and config() in its SQL.
        """
        from dbt.context.context_config import ContextConfigGenerator
        from dbt.node_types import NodeType
        from dbt_common.exceptions import DbtBaseException

        keys = (*_CUSTOM, *_SNAPSHOT.values())
        in_manifest = {key: (node.get("config") or {}).get(key) for key in keys}
        in_yaml = {key: str(jinja.render(text)) for key, text in positions.config_texts(keys).items()}
        in_sql = jinja.config_in(positions.model.sql, keys)
        is_own = node.get("package_name") == self._config.project_name
        if not isinstance(node.get("fqn"), list) or (is_own and not (in_yaml or in_sql or self._is_rendered)):
            return in_manifest
        # None: the value cannot be evaluated here, so dbt's own counts
        in_sql = {key: in_manifest[key] if value is None else value for key, value in in_sql.items()}
        with suppress(DbtBaseException):
            config = ContextConfigGenerator(self._config).calculate_node_config(
                in_sql,
                node["fqn"],
                NodeType(node["resource_type"]),
                node["package_name"],
                base=False,
                patch_config_dict=in_yaml,
            )
            return {key: config.get(key) for key in keys}
        return in_manifest


def describe(context: Context, misfit: Misfit) -> str:
    """Return a clause with both names of a model's relation."""
    return (
        f"the manifest has {misfit.model.name} as {misfit.built}, and target {context.target} of profile "
        f"{context.profile} names it {misfit.here}"
    )


def prove_target(warehouse: Warehouse, context: Context, manifest: Manifest, models: Sequence[Model] = ()) -> None:
    """Compare the relations of the manifest with the names by dbt's naming macros on the opened target.

    Checks the models with mappings and `models`. Raises ConfigurationError with both relations and the outputs of the
    profile that fit the manifest.
    """
    misfit = _first_misfit(warehouse, context, manifest, models)
    if misfit is None:
        return
    fits = [name for name, fit in _fits(context, manifest, models, besides=context.target) if fit is True]
    fit = "fits" if len(fits) == 1 else "fit"
    hint = f"{' and '.join(f'--target {name}' for name in fits)} {fit} the manifest" if fits else "no other output fits"
    raise ConfigurationError(
        f"dbt built the models on another target: {describe(context, misfit)} (the target is "
        f"{context.origins.get('target', 'given')}). Nothing was read. Name the target that dbt ran on ({hint}), or "
        f"run dbt with --target {context.target} first. Use the same environment variables and --vars as dbt."
    )


def _first_misfit(warehouse: Warehouse, context: Context, manifest: Manifest, models: Sequence[Model]) -> Misfit | None:
    files = Files(context.project_dir)
    return next(
        Naming(warehouse.config, warehouse.macros).misfits(
            manifest, _models_to_compare(manifest, models), context.jinja(), files
        ),
        None,
    )


def _models_to_compare(manifest: Manifest, models: Sequence[Model]) -> Sequence[Model]:
    """Return the models to compare by name; ephemeral ones have no relation."""
    stored = [model for model in (*manifest.models, *models) if model.materialized != "ephemeral"]
    return stored or list(islice(_others(manifest), OTHERS))


def _others(manifest: Manifest) -> Iterator[Model]:
    for unique_id, node in manifest.raw["nodes"].items():
        if node["resource_type"] in TABLES and node.get("relation_name"):
            yield manifest.model(unique_id)


def _fits(
    context: Context, manifest: Manifest, models: Sequence[Model] = (), *, besides: str | None = None
) -> Iterator[tuple[str, bool | str]]:
    """Yield each output of the profile, with whether it fits the manifest, or why that is unknown."""
    for name, keys in context.outputs.items():
        written = str(keys.get("type", "{"))  # Jinja may render as the adapter's type
        if name == besides or not ("{" in written or written == manifest.adapter_type):
            continue
        # no connection is opened: names depend on the profile and the macros only
        tried = context.with_target(name, "tried")
        try:
            warehouse = open_warehouse(tried, manifest.raw)
            yield name, _first_misfit(warehouse, tried, manifest, models) is None
        except ConfigurationError as error:
            yield name, str(error)


def find_target(context: Context, manifest: Manifest) -> Context:
    """Return the context of the only output of the profile that fits the manifest.

    Used if dbt's results have no target. Raises ConfigurationError with the candidates if none or several fit.
    """
    if not context.outputs:
        return context  # dbt reports the error in the profile later
    tried = dict(_fits(context, manifest))
    fits = [name for name, fit in tried.items() if fit is True]
    unknown = {name: why for name, why in tried.items() if isinstance(why, str)}
    if len(fits) == 1 and not unknown:
        return context.with_target(fits[0], "the only output that fits dbt's manifest")
    candidates = [*fits, *unknown]
    reason = (
        f"dbt's artifacts do not contain its target, and {counted(len(candidates), 'output')} of profile "
        f"{context.profile} may be it: {', '.join(candidates)}"
        if candidates
        else f"no output of profile {context.profile} names the models as {manifest.path} does"
    )
    more = "".join(f" {name} cannot be checked: {why}" for name, why in unknown.items())
    raise ConfigurationError(f"{reason}. {context.target_hint(candidates)}{more}")


def prove_results(warehouse: Warehouse, context: Context) -> None:
    """Raise ConfigurationError if dbt's results are from another database than the opened target.

    Two DuckDB files, or two servers, may have relations with the same names.
    """
    recorded = context.recorded_target
    opened = (warehouse.config.profile_name, warehouse.config.target_name)
    if recorded is None or recorded == opened:
        return
    built = load_profile(context, *recorded).credentials
    here = warehouse.config.credentials
    if not same_place(built, here):
        raise ConfigurationError(
            f"dbt's results are of target {recorded.target} of profile {recorded.profile} ({place_of(built)}, schema "
            f"{built.schema}), and target {opened[1]} is {place_of(here)}, schema {here.schema}. Run dbt with --target "
            f"{opened[1]} first, then dbt-segconn. `run --all` syncs the models of {opened[1]} without dbt's results: "
            "failed dbt tests then hold back nothing."
        )
