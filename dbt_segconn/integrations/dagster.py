"""Dagster: mappings as assets downstream of dbt's, with checks, counts, partial runs by selection, and a component.

    import dagster as dg
    from dbt_segconn.integrations.dagster import SegconnResource, segconn_assets

    @segconn_assets(project_dir="shop")
    def syncs(context: dg.AssetExecutionContext, segconn: SegconnResource):
        yield from segconn.run(context)

    defs = dg.Definitions([shop_dbt_assets, syncs], resources={"segconn": SegconnResource(project_dir="shop")})

`dbt.cli()` of dagster-dbt writes each run of dbt into a folder of its own: `segconn.run(context, target_path=…)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

import dbt_segconn
from dbt_segconn.engine.gate import SyncResult
from dbt_segconn.engine.opening import Options, read_project
from dbt_segconn.integrations.logs import LogListener, failures
from dbt_segconn.project.mappings import Mapping as SegconnMapping
from dbt_segconn.project.meta import find_mappings

MAPPING = "dbt_segconn/mapping"
CHECK = "no_discards"


class SegconnTranslator:
    """The asset of a mapping. Subclass it to change keys, groups or metadata.

    Pass the translator of your dbt assets, if they have one.
    """

    def __init__(self, dbt_translator: DagsterDbtTranslator | None = None) -> None:
        self._dbt = dbt_translator or DagsterDbtTranslator()

    def get_asset_spec(self, mapping: SegconnMapping, manifest: Mapping[str, Any]) -> dg.AssetSpec:
        """Return the asset of a mapping, downstream of the asset of its model."""
        # The name of a versioned model has a dot, too: customers.v2.identify
        model, _, name = mapping.name.rpartition(".")
        return dg.AssetSpec(
            key=["segconn", *model.split("."), name],
            deps=[self._dbt.get_asset_spec(manifest, mapping.model.unique_id, None).key],
            kinds={"segment"},
            description=f"{mapping.meta.action} calls of {mapping.model.name} to {mapping.destination}",
            metadata={MAPPING: mapping.name, "destination": mapping.destination},
        )


def build_segconn_asset_specs(
    project_dir: str | Path,
    *,
    translator: SegconnTranslator | None = None,
    target_path: str | Path | None = None,
    mappings: Sequence[str] = (),
) -> list[dg.AssetSpec]:
    """Return the assets of the enabled mappings, as the manifest in `target/` has them.

    Raises ConfigurationError if the project has errors.
    """
    options = Options(
        project_dir=Path(project_dir), target_path=Path(target_path) if target_path else None, mappings=mappings
    )
    project = read_project(options, needs_results=False, opens=False)
    translator = translator or SegconnTranslator()
    chosen = find_mappings(project.mappings, mappings)
    # A disabled mapping is never synced, so its asset would never get a result
    return [translator.get_asset_spec(one, project.manifest.raw) for one in chosen if one.meta.enabled]


def segconn_assets(
    *,
    project_dir: str | Path,
    name: str | None = None,
    translator: SegconnTranslator | None = None,
    target_path: str | Path | None = None,
    mappings: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Decorate a function that yields the results of `SegconnResource.run`: one asset for each mapping."""
    specs = build_segconn_asset_specs(project_dir, translator=translator, target_path=target_path, mappings=mappings)
    checks = [dg.AssetCheckSpec(CHECK, asset=spec.key, description="Segment took every record") for spec in specs]
    return dg.multi_asset(specs=specs, check_specs=checks, can_subset=True, name=name)


class SegconnResource(dg.ConfigurableResource):  # type: ignore[misc,type-arg,unused-ignore]
    """Runs dbt-segconn for the selected assets."""

    project_dir: str
    profiles_dir: str | None = None
    target: str | None = None

    def run(
        self, context: dg.AssetExecutionContext, *, target_path: str | Path | None = None, **options: Any
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        """Sync the selected mappings. Yield a result and a check for each; then raise Failure if a sync failed.

        `options` are more options of `dbt_segconn.run`, by their names.
        """
        keys = {
            str(context.assets_def.metadata_by_key[key][MAPPING]): key for key in sorted(context.selected_asset_keys)
        }
        run = dbt_segconn.run(
            project_dir=Path(self.project_dir),
            profiles_dir=Path(self.profiles_dir) if self.profiles_dir else None,
            target=self.target,
            target_path=Path(target_path) if target_path else None,
            mappings=list(keys),
            listener=LogListener(context.log),
            **options,
        )
        # Yielded before the failure, so that Dagster keeps what has succeeded
        for result in run.results:
            if result.status in {"success", "partial"}:
                yield from _results(result, keys[result.mapping.name])
        if not run.success:
            raise dg.Failure(failures(run), metadata={"run_id": run.run_id})


def _results(result: SyncResult, key: dg.AssetKey) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    counts = result.counts
    metadata = {name: count for name, count in counts.items() if count}
    check = dg.AssetCheckResult(
        passed=not counts["discarded"],
        asset_key=key,
        check_name=CHECK,
        severity=dg.AssetCheckSeverity.WARN,  # the next runs offer discarded records again
        metadata={"discarded": counts["discarded"]},
    )
    yield dg.MaterializeResult(
        asset_key=key,
        # Dagster's own key for a number of rows
        metadata={"dagster/row_count": counts["confirmed"], "seconds": result.seconds, **metadata},
        check_results=[check],
    )


class SegconnComponent(dg.Component, dg.Model, dg.Resolvable):  # type: ignore[misc,unused-ignore]
    """The mappings of a dbt project as assets.

    type: dbt_segconn.integrations.dagster.SegconnComponent
    attributes: {project_dir: "{{ project_root }}/shop", mappings: [customers.identify]}
    """

    project_dir: str
    profiles_dir: str | None = None
    target: str | None = None
    mappings: Sequence[str] = ()

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the assets of the mappings, which run dbt-segconn."""
        folder = Path(self.project_dir)
        resource = SegconnResource(
            project_dir=str(folder if folder.is_absolute() else context.path / folder),
            profiles_dir=self.profiles_dir,
            target=self.target,
        )

        @segconn_assets(project_dir=resource.project_dir, name="segconn", mappings=self.mappings)
        def syncs(context) -> Iterator[Any]:  # type: ignore[no-untyped-def]  # noqa: ANN001  Dagster reads no text
            yield from resource.run(context)

        return dg.Definitions(assets=[syncs])
