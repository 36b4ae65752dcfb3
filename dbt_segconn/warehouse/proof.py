"""Check that dbt built the models on the opened target; find that target if it is not named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from dbt_segconn.errors import ConfigurationError, counted
from dbt_segconn.project.artifacts import TABLES, Manifest, Model
from dbt_segconn.project.context import Context
from dbt_segconn.project.source_positions import Files
from dbt_segconn.warehouse.adapter import Warehouse, load_profile, open_warehouse
from dbt_segconn.warehouse.naming import Misfit, describe, place_of, same_place

# Before the first mapping, check this many other models
OTHERS = 20


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
    return next(warehouse.naming.misfits(manifest, _models_to_compare(manifest, models), context.jinja(), files), None)


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
