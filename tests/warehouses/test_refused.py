"""Warehouses that are not supported: the message names the reason and a way out."""

from __future__ import annotations

import json

import pytest
from standing import ADA

pytestmark = pytest.mark.parametrize("warehouse", ["duckdb_file"], indirect=True)


def built_for(shop, adapter_type):
    shop.fill(ADA)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metadata"]["adapter_type"] = adapter_type
    path.write_text(json.dumps(manifest))


def test_sqlite_is_refused_with_a_way_out(shop, api):
    built_for(shop, "sqlite")
    result = shop.run()
    assert result.exit_code == 2
    assert "SQLite is not supported: it has no md5" in result.output
    assert "dbt-duckdb" in result.output
    assert api.received == []


MAPPING = "customers.identify_customers"
COMMANDS = [
    ("run",),
    ("run", "--all", "--target", "dev"),
    ("run", "--all", "--plan", "plan.json"),
    ("retry",),
    ("baseline", MAPPING),
    ("preview",),
    ("estimate",),
    ("status",),
    ("report", "--html", "-"),
    ("history", MAPPING, "--record", "c1"),
    ("resend", MAPPING, "--record", "c1", "--yes"),
    ("reset", MAPPING, "--yes"),
    ("adopt", "customers.old", MAPPING),
    ("send-test", MAPPING, "--record", "c1"),
    ("suggest", "customers"),
    ("suggest", "customers", "--online"),
    ("diff", "--state", "target"),
    ("validate",),
    ("validate", "--online"),
    ("debug",),
    ("test",),
]
MISSING = {
    "sqlserver": "T-SQL has no `limit`, no boolean values",
    "fabric": "T-SQL has no `limit`, no boolean values",
    "clickhouse": "its deletes are applied later",
    "trino": "md5 takes bytes only",
    "athena": "md5 takes bytes only, and only its Iceberg tables can delete rows",
    "teradata": "values and checksums need SQL in its dialect",
}


LOADED = "segconn_{{ target.schema }}"  # loads the profile


@pytest.mark.parametrize(
    ("adapter", "schema", "outputs"),
    [*((adapter, "segconn", ["dev"]) for adapter in MISSING), ("sqlserver", LOADED, ["dev", "prod"])],
)
def test_adapter_without_dialect_is_refused(shop, api, adapter, schema, outputs):
    """dbt's adapter is not installed here: what is missing is said before dbt asks for the package."""
    built_for(shop, adapter)
    shop.state = {"schema": schema}
    shop.settings()
    profile = {"target": "dev", "outputs": {name: {"type": adapter, "schema": "dbo"} for name in outputs}}
    shop.write("profiles.yml", {"shop": profile})
    for command in COMMANDS:
        result = shop.segconn(*command)
        assert result.exit_code == (1 if command == ("debug",) else 2), (command, result.output)
        assert f"the adapter {adapter} is not supported: {MISSING[adapter]}" in result.output, (command, result.output)
        assert "bigquery, databricks, duckdb, postgres, redshift, snowflake and spark" in result.output
        assert "Could not find adapter" not in result.output, (command, result.output)
    assert api.received == []
