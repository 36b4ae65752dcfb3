"""dbt parses the exposures that are written, shows them in lineage, and builds on the source of the history."""

from __future__ import annotations

import json

import yaml
from forked import run_dbt
from standing import ADA, BOB, MAPPING

from dbt_segconn.authoring.lineage import COLUMNS
from dbt_segconn.state.tables import DELIVERY_COLUMNS, DISCARD_COLUMNS, SYNC_COLUMNS


def dbt_lines(shop, *arguments):
    code, printed = run_dbt(shop.dir, *arguments, "--quiet", "--profiles-dir", str(shop.dir))
    assert code == 0, printed
    return printed.split()


def test_dbt_lists_exposure_per_mapping(shop):
    shop.rows(ADA)
    track = {"name": "gone", "action": "track", "sync_mode": "deleted", "fields": {"user_id": "$__segment_id"}}
    track["fields"]["event_name"] = "Left ${plan}"
    shop.mappings(MAPPING, track, {**MAPPING, "name": "off", "enabled": False})
    shop.write("models/groups.yml", {"groups": [{"name": "crm", "owner": {"name": "CRM", "email": "crm@example.com"}}]})
    shop.dbt("parse")
    refused = shop.segconn("exposures")
    assert refused.exit_code == 2
    assert "customers: dbt requires an owner" in refused.output
    path = shop.dir / "models/segconn_exposures.yml"
    written = shop.segconn("exposures", "--output", str(path), "--owner", "Data")
    assert written.exit_code == 0, written.output
    found = dbt_lines(shop, "ls", "--resource-type", "exposure", "--select", "customers+")
    assert found == [f"exposure:shop.segconn_customers_{name}" for name in ("gone", "identify_customers")]
    manifest = json.loads((shop.dir / "target/manifest.json").read_bytes())
    exposure = manifest["exposures"]["exposure.shop.segconn_customers_gone"]
    assert exposure["depends_on"]["nodes"] == ["model.shop.customers"]
    assert exposure["type"] == "application"
    assert exposure["owner"]["name"] == "Data"
    meta = exposure["config"].get("meta", exposure["meta"])  # where dbt before 1.10 has it
    assert meta["segconn"] == {
        "mapping": "gone",
        "action": "track",
        "destination": "app",
        "sync_mode": ["deleted"],
        "unique_identifier": ["customer_id"],
        "columns": ["plan"],
        "fields": {"user_id": ["__segment_id"], "event_name": ["plan"]},
    }
    assert shop.segconn("validate").exit_code == 0
    model = yaml.safe_load((shop.dir / "models/customers.yml").read_text())
    model["models"][0]["config"]["group"] = "crm"
    shop.write("models/customers.yml", model)
    shop.dbt("parse")
    assert shop.segconn("exposures", "--output", str(path)).exit_code == 0
    (owner,) = {json.dumps(one["owner"]) for one in yaml.safe_load(path.read_text())["exposures"]}
    assert json.loads(owner) == {"name": "CRM", "email": "crm@example.com"}
    path.write_text("exposures: []\n")
    unwritable = shop.segconn("exposures", "--output", str(path / "below.yml"))
    assert unwritable.exit_code == 1
    assert "cannot be written" in unwritable.output
    refused = shop.segconn("exposures", "--output", str(path))
    assert refused.exit_code == 2
    assert "exists, and this command did not write it" in refused.output
    assert path.read_text() == "exposures: []\n"


def test_dbt_builds_on_a_target_before_and_after_the_first_run(shop, api):
    api.refuses = lambda call: call["userId"] == "c2"
    shop.rows(ADA, BOB)
    result = shop.segconn("sources")
    assert result.exit_code == 0, result.output
    dbt_lines(shop, "build")
    rates = "select mapping, syncs, confirmed, discarded, delivered_percent from segconn_delivery_rates"
    assert shop.query(rates) == []
    assert shop.segconn("run").exit_code == 1
    dbt_lines(shop, "build")
    (row,) = shop.query(rates)
    assert tuple(row.values()) == ("customers.identify_customers", 1, 1, 1, 50)


def test_source_columns_are_described():
    assert list(COLUMNS) == list(dict.fromkeys([*SYNC_COLUMNS, *DISCARD_COLUMNS, *DELIVERY_COLUMNS]))
