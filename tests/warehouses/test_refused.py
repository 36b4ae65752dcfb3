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


@pytest.mark.parametrize(
    ("command", "adapter", "missing"),
    [
        ("run", "trino", "md5 takes bytes only"),
        ("run", "sqlserver", "T-SQL has no"),
        ("validate", "clickhouse", "its deletes are applied later"),
        ("validate", "teradata", "values and checksums need SQL in its dialect"),
    ],
)
def test_adapter_without_dialect_is_refused(shop, api, command, adapter, missing):
    built_for(shop, adapter)
    result = shop.segconn(command, *(["--all"] if command == "run" else []))
    assert result.exit_code == 2
    assert f"the adapter {adapter} is not supported: {missing}" in result.output
    assert "bigquery, databricks, duckdb, postgres, redshift, snowflake and spark" in result.output
    assert api.received == []
