"""Whether the target that is opened is the one that dbt built the models on; where nobody says it, which one is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.artifacts import TABLES, Manifest, Model
from dbt_segconn.project.context import Context
from dbt_segconn.project.source_positions import Files
from dbt_segconn.warehouse.adapter import Warehouse, open_warehouse
from dbt_segconn.warehouse.dbt_names import load_profile
from dbt_segconn.warehouse.naming import Misfit, describe, place_of, same_place
from dbt_segconn.wording import counted

# Where no model has mappings yet, so many others show for which target the manifest was made
OTHERS = 20


def prove_target(warehouse: Warehouse, context: Context, manifest: Manifest, models: Sequence[Model] = ()) -> None:
    """Compare the relations of the manifest with what dbt's naming macros give for the opened target.

    Looks at the models with mappings and at `models`. Raises ConfigurationError that names both relations, and the
    outputs of the profile that fit.
    """
    misfit = _first_misfit(warehouse, context, manifest, models)
    if misfit is None:
        return
    fits = [name for name, fit in _fits(context, manifest, models, besides=context.target) if fit is True]
    way_out = (
        f"{' and '.join(f'--target {name}' for name in fits)} fits the manifest" if fits else "no other output fits"
    )
    raise ConfigurationError(
        f"dbt built the models on another target: {describe(context, misfit)} (the target is "
        f"{context.origins.get('target', 'given')}). Nothing was read. Name the target that dbt ran on ({way_out}), or "
        f"run dbt with --target {context.target} first; environment variables and --vars that the names depend on "
        "must be the same as dbt's."
    )


def _first_misfit(warehouse: Warehouse, context: Context, manifest: Manifest, models: Sequence[Model]) -> Misfit | None:
    files = Files(context.project_dir)
    return next(warehouse.naming.misfits(manifest, _witnesses(manifest, models), context.jinja(), files), None)


def _witnesses(manifest: Manifest, models: Sequence[Model]) -> Sequence[Model]:
    """Return the models whose names are compared; ephemeral ones have no relation."""
    stored = [model for model in (*manifest.models, *models) if model.materialized != "ephemeral"]
    return stored or list(islice(_others(manifest), OTHERS))


def _others(manifest: Manifest) -> Iterator[Model]:
    for unique_id, node in manifest.raw["nodes"].items():
        if node["resource_type"] in TABLES and node.get("relation_name"):
            yield manifest.model(unique_id)


def _fits(
    context: Context, manifest: Manifest, models: Sequence[Model] = (), *, besides: str | None = None
) -> Iterator[tuple[str, bool | str]]:
    """Yield each output of the profile: whether it fits the manifest, or why that cannot be told."""
    for name, keys in context.outputs.items():
        written = str(keys.get("type", "{"))  # what only Jinja tells may be the adapter
        if name == besides or not ("{" in written or written == manifest.adapter_type):
            continue
        on_it = context.with_target(name, "tried")
        try:
            warehouse = open_warehouse(on_it, manifest.raw)
            yield name, _first_misfit(warehouse, on_it, manifest, models) is None
        except ConfigurationError as error:
            yield name, str(error)


def find_target(context: Context, manifest: Manifest) -> Context:
    """Find the only output of the profile that fits the manifest, where dbt's results do not say the target.

    Raises ConfigurationError that lists the candidates where several fit, or none does.
    """
    if not context.outputs:
        return context  # dbt itself says what is wrong with the profile
    tried = dict(_fits(context, manifest))
    fits = [name for name, fit in tried.items() if fit is True]
    unknown = {name: why for name, why in tried.items() if isinstance(why, str)}
    if len(fits) == 1 and not unknown:
        return context.with_target(fits[0], "the only output that fits dbt's manifest")
    candidates = [*fits, *unknown]
    reason = (
        f"dbt's artifacts do not say on which target it ran, and {counted(len(candidates), 'output')} of profile "
        f"{context.profile} may be it: {', '.join(candidates)}"
        if candidates
        else f"no output of profile {context.profile} names the models as {manifest.path} does"
    )
    more = "".join(f" {name} cannot be looked at: {why}" for name, why in unknown.items())
    raise ConfigurationError(f"{reason}. {context.target_hint(candidates)}{more}")


def prove_results(warehouse: Warehouse, context: Context) -> None:
    """Raise where dbt's results are of another place than the target that the user has named.

    Two DuckDB files, or two servers, may hold relations of the same names.
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
            f"{opened[1]} first, then dbt-segconn; `--all` takes the models of {opened[1]} as they are, and then no "
            "failed dbt test holds them back."
        )
