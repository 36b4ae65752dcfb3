"""Warehouses that are not served say so, and what to do."""

from __future__ import annotations

import json

import pytest
from standing import ADA


@pytest.mark.parametrize("warehouse", ["duckdb_file"], indirect=True)
def test_sqlite_is_refused_with_a_way_out(shop, api):
    shop.fill(ADA)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metadata"]["adapter_type"] = "sqlite"
    path.write_text(json.dumps(manifest))
    result = shop.run()
    assert result.exit_code == 2
    assert "SQLite has no md5" in result.output
    assert "dbt-duckdb" in result.output
    assert api.received == []
