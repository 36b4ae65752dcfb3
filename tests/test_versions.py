"""A mapping syncs the latest version of its model. `adopt` moves its records to a new version."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING

IDENT = {**MAPPING, "name": "ident"}
TABLES = {"1": "customers_v1", "2": "dim", "3": "dim_three"}


def meta(**mapping):
    return {"segconn": {"unique_identifier": "customer_id", "mappings": [{**IDENT, **mapping}]}}


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def shop(shop):
    """Version 1 lacks column `plan`; version 2 has an alias and its own block; version 3 has another file name."""
    own = {"segconn": {**meta(destination="app")["segconn"], "unique_identifier": ["customer_id"]}}
    versions = [
        {"v": 1},
        {"v": 2, "config": {"alias": "dim", "meta": own}},  # dbt-core appends the model's lists to its lists
        {"v": 3, "defined_in": "three", "config": {"alias": "dim_three"}},
    ]
    model = {"name": "customers", "latest_version": 2, "config": {"meta": meta()}, "versions": versions}
    shop.write("models/customers.yml", {"models": [model]})
    for name in ("customers_v2", "three"):
        shop.write(f"models/{name}.sql", "select 'c1' as customer_id, 'ada@example.com' as email, 'pro' as plan")
    shop.write("models/customers_v1.sql", "select 'c1' as customer_id, 'ada@example.com' as email")
    return shop


@pytest.fixture
def declare(shop, kept):
    """Return a function that changes the manifest like another YAML, without parsing."""
    shop.parse(kept)
    path = shop.dir / "target/manifest.json"

    def change(latest, **of_version):
        manifest = json.loads(kept["manifest"])
        for node in list(manifest["nodes"].values()):
            node["latest_version"] = latest
            node["config"]["meta"] = of_version.get(f"v{node['version']}", meta(**of_version.get("mapping", {})))
            if node["version"] == 3 and latest == 2:
                del manifest["nodes"][node["unique_id"]]
        path.write_text(json.dumps(manifest))

    return change


def run(shop, *rows):
    for table in TABLES.values():
        shop.table(*rows, name=f"main.{table}")
    return shop.segconn("run", "--all")


def names(shop, result):
    return [one["name"] for one in result.artifact(shop.dir)["results"]]


def test_only_the_latest_version_is_synced(shop, api):
    shop.dbt("run")
    result = shop.segconn("run")
    assert result.exit_code == 0, result.output
    assert names(shop, result) == ["customers.v2.ident"]
    assert "Not synced, by `versions` of their mappings (latest by default): customers.v1, customers.v3.\n" in (
        result.output
    )
    assert len(api.received) == 1
    told = shop.segconn("validate")
    assert told.exit_code == 0, told.output
    assert "Not synced, by `versions` (latest by default): customers.v1.ident, customers.v3.ident.\n" in told.output
    assert "1 mapping on 1 model" in told.output


def test_new_version_adopts_old_records(shop, api, declare):
    declare(2, mapping={"versions": "all"})
    assert names(shop, run(shop, ADA, BOB)) == ["customers.v1.ident", "customers.v2.ident"]
    declare(3, v3=meta(fields={**IDENT["fields"], "anonymous_id": "$email"}))
    api.forget()
    blocked = run(shop, ADA, BOB, EVE)
    assert blocked.exit_code == 1
    assert "run `dbt-segconn adopt customers.v2.ident customers.v3.ident` to keep them" in blocked.output
    assert "adopt customers.v1" not in blocked.output
    assert api.received == []
    adopted = shop.segconn("adopt", "customers.v2.ident", "customers.v3.ident")
    assert adopted.exit_code == 0, adopted.output
    assert run(shop, ADA, BOB, EVE).exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c3"]
    declare(
        2, mapping={"name": "renamed"}, v2=meta(name="renamed", fields={**IDENT["fields"], "anonymous_id": "$email"})
    )
    assert "adopt customers.v3.ident customers.v2.renamed`" in run(shop, ADA, BOB, EVE).output, "back, and renamed"


def test_versions_may_be_listed(shop, api, declare):
    declare(3, mapping={"versions": [1, "3"]}, v2=meta(versions=[7]))
    result = shop.segconn("validate")
    assert result.exit_code == 1
    assert "versions: the model has no version 7. Versions: 1, 2, 3." in result.output
    declare(3, mapping={"versions": [1, "3"]})
    assert names(shop, run(shop, ADA)) == ["customers.v1.ident", "customers.v3.ident"]
    declare(3, mapping={"versions": 2})
    assert "versions: must be latest, all, or a list of versions, such as [1, 2]" in run(shop, ADA).output


def test_diff_names_old_version(shop, declare):
    declare(2)
    (shop.dir / "prod").mkdir()
    (shop.dir / "prod/manifest.json").write_bytes((shop.dir / "target/manifest.json").read_bytes())
    declare(3, v3=meta(fields={**IDENT["fields"], "anonymous_id": "$email"}))
    result = shop.segconn("diff", "--state", str(shop.dir / "prod"))
    assert "> customers.v3.ident (renamed)" in result.output
    assert "`dbt-segconn adopt customers.v2.ident customers.v3.ident`" in result.output
