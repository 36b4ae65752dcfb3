"""Snapshots: current rows only, with every way of deletion, or all versions in order."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING

CURRENT = {**MAPPING, "records": "current", "sync_mode": ["added", "updated", "deleted"]}
OWN_NAMES = {
    "dbt_scd_id": "version_id",
    "dbt_valid_from": "since",
    "dbt_valid_to": "until",
    "dbt_is_deleted": "is_gone",
}
SNAPSHOTS = {
    "ignoring": {},
    "invalidating": {"hard_deletes": "invalidate", "dbt_valid_to_current": "cast('9999-12-31' as timestamp)"},
    "marking": {"hard_deletes": "new_record"},
    "renamed": {"hard_deletes": "new_record", "snapshot_meta_column_names": OWN_NAMES},
}


def snapshot(name, config, mapping, **meta):
    config = {"strategy": "check", "check_cols": ["email", "plan"], "unique_key": "customer_id", **config}
    config |= {"meta": {"segconn": {"mappings": [mapping], **meta}}}
    return {"name": name, "relation": "ref('customers')", "config": config}


@pytest.fixture
def taken(shop):
    """A function that runs `dbt snapshot` for these customers."""
    (shop.dir / "models/customers.yml").unlink()
    one_of_each = [snapshot(name, config, CURRENT) for name, config in SNAPSHOTS.items()]
    versions = {**MAPPING, "order_by": "dbt_valid_from"}
    shop.write("snapshots/all.yml", {"snapshots": [*one_of_each, snapshot("versions", {}, versions)]})

    def take(*rows):
        shop.rows(*rows)
        shop.dbt("build")
        result = shop.segconn("run")
        artifact = json.loads((shop.dir / "target/segconn/run_results.json").read_text())
        counts = {
            one["model"].rpartition(".")[2]: tuple(one["counts"][kind] for kind in ("added", "updated", "deleted"))
            for one in artifact["results"]
        }
        return result, counts

    return take


def test_current_rows_are_snapshot_records(taken, api):
    result, counts = taken(ADA, BOB, EVE)
    assert result.exit_code == 0, result.output
    assert set(counts.values()) == {(3, 0, 0)}
    api.forget()
    result, counts = taken(("c1", "new@example.com", "pro"), BOB)  # changed, the same, deleted
    assert result.exit_code == 0, result.output
    gone = dict.fromkeys(("invalidating", "marking", "renamed"), (0, 1, 1))
    assert counts == {**gone, "ignoring": (0, 1, 0), "versions": (1, 0, 0)}
    emails = [call["traits"].get("email") for call in api.calls()]
    assert sorted(map(str, emails)) == ["None"] * 3 + ["new@example.com"] * 5
    api.forget()
    result, counts = taken(("c1", "new@example.com", "pro"), BOB, EVE)  # added again
    assert {name: counts[name] for name in gone} == dict.fromkeys(gone, (1, 0, 0))


@pytest.mark.parametrize(
    ("config", "mapping", "meta", "code", "words"),
    [
        ({}, {}, {}, "SEG217", "Write `order_by: dbt_valid_from`, or `records: current`"),
        ({"snapshot_meta_column_names": OWN_NAMES}, {}, {}, "SEG217", "Write `order_by: since`"),
        ({}, {"order_by": "dbt_valid_from"}, {"unique_identifier": "Customer_ID"}, "SEG306", "has several rows"),
        (
            {},
            {"records": "current"},
            {"unique_identifier": "dbt_scd_id"},
            "SEG306",
            "defaults to the snapshot's key (customer_id)",
        ),
        ({"unique_key": "customer_id || plan"}, {"records": "current"}, {}, "SEG306", "not an expression"),
        ({}, {"order_by": "dbt_valid_from"}, {}, None, None),
        ({}, {"records": "current"}, {}, None, None),
        ({"unique_key": ["customer_id", "plan"]}, {"records": "current"}, {"unique_identifier": "email"}, None, None),
    ],
)
def test_snapshot_without_order_is_rejected(shop, parsed_snapshot, config, mapping, meta, code, words):
    parsed_snapshot(config, {**MAPPING, **mapping}, meta)
    found = json.loads(shop.segconn("validate", "--format", "json").output)["findings"]
    errors = {one["code"]: f"{one['message']}. {one['fix']}" for one in found if one["severity"] == "error"}
    assert set(errors) == ({code} if code else set())
    assert (words or "") in errors.get(code, "")


def test_current_rows_need_a_snapshot(shop):
    shop.manifest({**MAPPING, "records": "current"})
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert "records: must be all, not current: model customers is not a snapshot" in result.output


@pytest.fixture
def parsed_snapshot(shop):
    """Turn the model of a manifest into a snapshot, without parsing."""

    def parse(config, mapping, meta):
        shop.manifest(mapping)
        path = shop.dir / "target/manifest.json"
        manifest = json.loads(path.read_bytes())
        node = manifest["nodes"].pop("model.shop.customers")
        node |= {"resource_type": "snapshot", "unique_id": "snapshot.shop.customers"}
        node["config"] = {**node["config"], "materialized": "snapshot", "unique_key": "customer_id", **config}
        node["config"]["meta"] = {"segconn": {"mappings": [mapping], **meta}}
        manifest["nodes"][node["unique_id"]] = node
        path.write_text(json.dumps(manifest))

    return parse
