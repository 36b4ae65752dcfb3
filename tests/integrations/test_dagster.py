"""Dagster: mappings as assets in a real run, with dbt's assets above them, and the component."""

from __future__ import annotations

import pytest
from standing import ADA, BOB, MAPPING

dg = pytest.importorskip("dagster")

from dagster.components.testing import create_defs_folder_sandbox  # noqa: E402
from dagster_dbt import DbtCliResource, dbt_assets  # noqa: E402

from dbt_segconn.integrations.dagster import (  # noqa: E402
    SegconnComponent,
    SegconnResource,
    build_segconn_asset_specs,
    segconn_assets,
)

OTHERS = {**MAPPING, "name": "others"}
IDENTIFY, OTHER = (dg.AssetKey(["segconn", "customers", name]) for name in ("identify_customers", "others"))


def resource(shop):
    return SegconnResource(project_dir=str(shop.dir), profiles_dir=str(shop.dir))


def assets(shop):
    @segconn_assets(project_dir=shop.dir)
    def syncs(context, segconn: SegconnResource):
        yield from segconn.run(context, all=True)

    return syncs


def test_mappings_are_assets_below_their_models(shop):
    shop.manifest(MAPPING, OTHERS, {**MAPPING, "name": "off", "enabled": False})
    specs = build_segconn_asset_specs(shop.dir)
    assert [spec.key for spec in specs] == [IDENTIFY, OTHER]
    assert [dep.asset_key for dep in specs[0].deps] == [dg.AssetKey("customers")]
    for name in ("others", "customers.others", "shop.customers.others"):
        assert [spec.key for spec in build_segconn_asset_specs(shop.dir, mappings=[name])] == [OTHER]


def test_selected_assets_are_synced_with_counts_and_checks(shop, api):
    shop.manifest(MAPPING, OTHERS)
    shop.table(ADA, BOB)
    result = dg.materialize([assets(shop)], resources={"segconn": resource(shop)}, selection=[IDENTIFY])
    (event,) = result.get_asset_materialization_events()
    assert event.asset_key == IDENTIFY
    metadata = event.materialization.metadata
    assert (metadata["dagster/row_count"].value, metadata["added"].value) == (2, 2)
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert len(api.received) == 2


def test_mapping_left_alone_is_no_failure(shop, api):
    shop.rows(ADA)
    shop.mappings(MAPPING)
    shop.dbt("run")
    assert shop.segconn("run").exit_code == 0

    @segconn_assets(project_dir=shop.dir)
    def syncs(context, segconn: SegconnResource):
        yield from segconn.run(context)

    result = dg.materialize([syncs], resources={"segconn": resource(shop)}, raise_on_error=False)
    assert result.success
    assert result.get_asset_materialization_events() == []
    assert len(api.received) == 1


def test_discards_warn_and_fail_the_run(shop, api):
    shop.manifest(MAPPING)
    shop.table(ADA, (None, "x", "y"))
    result = dg.materialize([assets(shop)], resources={"segconn": resource(shop)}, raise_on_error=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.metadata["discarded"].value) == (False, 1)
    assert len(api.received) == 1


def test_dbt_and_syncs_run_together(shop, api):
    shop.rows(ADA, BOB)
    shop.mappings(MAPPING)
    shop.dbt("parse")

    @dbt_assets(manifest=shop.dir / "target/manifest.json")
    def models(context, dbt: DbtCliResource):
        invocation = dbt.cli(["build"], context=context)
        yield from invocation.stream()
        folder.append(invocation.target_path)

    @segconn_assets(project_dir=shop.dir)
    def syncs(context, segconn: SegconnResource):
        yield from segconn.run(context, target_path=folder[-1])

    folder = []
    dbt = DbtCliResource(project_dir=str(shop.dir), profiles_dir=str(shop.dir))
    result = dg.materialize([models, syncs], resources={"segconn": resource(shop), "dbt": dbt})
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {
        dg.AssetKey("customers"),
        IDENTIFY,
    }
    assert len(api.received) == 2


def test_component_builds_the_assets(shop, api):
    shop.manifest(MAPPING, OTHERS)
    shop.table(ADA)
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(
            component_cls=SegconnComponent,
            defs_yaml_contents={
                "type": "dbt_segconn.integrations.dagster.SegconnComponent",
                "attributes": {
                    "project_dir": str(shop.dir),
                    "profiles_dir": str(shop.dir),
                    "mappings": ["customers.others"],
                },
            },
        )
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            assert defs.resolve_asset_graph().get_all_asset_keys() >= {OTHER}
            assert IDENTIFY not in defs.resolve_asset_graph().get_all_asset_keys()
