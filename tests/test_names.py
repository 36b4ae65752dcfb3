"""Mappings of two packages may share a name: commands distinguish them, or list both and fail."""

from __future__ import annotations

import json

import pytest
import yaml
from standing import ADA, BOB, MAPPING

IDENT = {**MAPPING, "name": "ident"}
OURS, THEIRS = "shop.customers.ident", "crm.customers.ident"


@pytest.fixture
def shop(shop, parsed):
    """A manifest of two packages, each with a model `customers` and a mapping `ident`."""
    shop.manifest(IDENT, IDENT | {"name": "of_shop"})
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    node = json.loads(json.dumps(manifest["nodes"]["model.shop.customers"]))
    relation = node["relation_name"].replace("customers", "crm_customers")
    node |= {"unique_id": "model.crm.customers", "package_name": "crm", "alias": "crm_customers"}
    node |= {"fqn": ["crm", "customers"], "relation_name": relation}
    node["config"] |= {"alias": "crm_customers"}
    node["config"]["meta"]["segconn"]["mappings"] = [IDENT]
    manifest["nodes"][node["unique_id"]] = node
    path.write_text(json.dumps(manifest))
    shop.table(ADA)
    shop.table(BOB, name="main.crm_customers")
    return shop


def lines(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def synced(shop):
    return {row["mapping"]: row["status"] for row in lines(shop.segconn("status", "--format", "json"))}


def test_ambiguous_short_name_shows_package(shop, api):
    result = shop.segconn("run", "--all")
    assert result.exit_code == 0, result.output
    assert f"OK synced {OURS} " in result.output
    assert f"OK synced {THEIRS} " in result.output
    assert "OK synced customers.of_shop " in result.output
    names = {OURS, THEIRS, "customers.of_shop"}
    assert {one["name"] for one in result.artifact(shop.dir)["results"]} == names
    assert {row["mapping"] for row in shop.query("select mapping from segconn.syncs")} == names
    assert {row["mapping"] for row in lines(shop.segconn("status", "--history", "--format", "json"))} == names
    shop.segconn("report", "--html", str(shop.dir / "page.html"))
    page = (shop.dir / "page.html").read_text()
    assert OURS in page
    assert THEIRS in page


def test_ambiguous_name_is_rejected(shop, api):
    shop.settings()
    before = shop.segconn("run", "--all").output
    for command in (
        ("run", "--all", "--mapping", "customers.ident"),
        ("run", "--all", "--allow-guarded", "ident"),
        ("retry", "--mapping", "ident"),
        ("reset", "customers.ident", "--yes"),
        ("baseline", "customers.of_shop", "customers.ident"),
        ("send-test", "customers.ident", "--record", "c1"),
        ("adopt", "customers.gone", "customers.ident"),
        ("suggest", "customers", "--write"),
    ):
        api.forget()
        refused = shop.segconn(*command)
        assert refused.exit_code == 2, (command, refused.output)
        both = "model.crm.customers, model.shop.customers" if "suggest" in command else f"{THEIRS}, {OURS}"
        assert both in refused.output, (command, refused.output)
        assert api.tried == []
    assert set(synced(shop).values()) == {"success"}, before


def test_full_name_is_unique(shop, api):
    assert shop.segconn("run", "--all", "--mapping", THEIRS).exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c2"]
    assert shop.segconn("baseline", OURS, "customers.of_shop").exit_code == 0
    assert f"Reset {THEIRS}.\n" in shop.segconn("reset", THEIRS, "--yes").output
    assert synced(shop) == {OURS: "success", "customers.of_shop": "success", THEIRS: "reset"}
    assert shop.segconn("send-test", OURS, "--record", "c1").exit_code == 0
    assert f'"mapping": "{THEIRS}"' in shop.segconn("preview", "--mapping", THEIRS).output


def test_alert_must_name_one_mapping(shop, api):
    alert = {"url": f"{api.url}/hook", "format": "json"}
    shop.more_settings = {"alerts": [{**alert, "mappings": ["customers.ident"]}]}
    shop.settings()
    for command in (["run", "--all"], ["validate"]):
        refused = shop.segconn(*command)
        assert f"'customers.ident' is the name of 2 mappings. Write one or more of these names: {THEIRS}, {OURS}" in (
            refused.output
        )
        assert refused.exit_code in {1, 2}
    shop.more_settings = {"alerts": [{**alert, "mappings": [OURS, "of_shop"]}]}
    shop.settings()
    assert shop.segconn("run", "--all").exit_code == 0


def test_removed_package_keeps_state_name(shop, api):
    shop.segconn("run", "--all")
    shop.manifest(IDENT)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["nodes"]["model.crm.customers"]
    path.write_text(json.dumps(manifest))
    orphans = lines(shop.segconn("status", "--orphans", "--format", "json"))
    assert {one["mapping"] for one in orphans} == {THEIRS, "customers.of_shop"}
    refused = shop.segconn("reset", "customers.ident", "--yes")
    assert refused.exit_code == 2
    assert f"{THEIRS}, {OURS}" in refused.output
    assert f"Reset {THEIRS}." in shop.segconn("reset", THEIRS, "--yes").output
    assert synced(shop) == {"customers.ident": "success"}


def test_exposures_have_distinct_names(shop):
    shop.manifest(IDENT, IDENT | {"name": "a.b"}, IDENT | {"name": "a b"}, IDENT | {"name": "a_b"})
    written = shop.segconn("exposures", "--owner", "Data")
    assert written.exit_code == 0, written.output
    names = [one["name"] for one in yaml.safe_load(written.output)["exposures"]]
    assert len({name.lower() for name in names}) == 5, names
    assert {"segconn_shop_customers_ident", "segconn_crm_customers_ident"} < set(names)
