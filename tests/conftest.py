"""Fixtures: a Tracking API, and a dbt project that delivers to it."""

from __future__ import annotations

import shutil

import pytest
from standing import MAPPING, WRITE_KEY, Api, Shop, serving


@pytest.fixture
def api():
    api = Api()
    with serving(api) as url:
        api.url = url
        yield api


@pytest.fixture
def shop(tmp_path, api, monkeypatch):
    monkeypatch.setenv("WK", WRITE_KEY)
    for name in ("DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    shop = Shop(tmp_path / "shop", api.url)
    shop.write(
        "dbt_project.yml",
        {
            "name": "shop",
            "profile": "shop",
            "flags": {"send_anonymous_usage_stats": False},
            "models": {"+materialized": "table"},
        },
    )
    shop.write(
        "profiles.yml",
        {"shop": {"target": "dev", "outputs": {"dev": {"type": "duckdb", "path": "shop.duckdb"}}}},
    )
    shop.settings()
    shop.mappings(MAPPING)
    yield shop
    assert WRITE_KEY not in "".join(shop.outputs), "a write key has reached the output"
    for path in (shop.dir / "target/segconn").glob("*"):
        assert WRITE_KEY not in path.read_text(), "a write key has reached an artifact"
    shutil.rmtree(shop.dir, ignore_errors=True)
