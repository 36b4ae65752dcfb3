"""Warehouses that commit each statement separately: one that conflicts with others is repeated alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import pytest
from standing import ADA, BOB, EVE

from dbt_segconn.warehouse import dialect, session
from dbt_segconn.warehouse.dialects.bigquery import DIALECT as BIGQUERY
from dbt_segconn.warehouse.dialects.databricks import DIALECT as DATABRICKS

pytestmark = pytest.mark.parametrize("warehouse", ["duckdb_file"], indirect=True)
WORDS = {
    "databricks": (DATABRICKS, ["[DELTA_CONCURRENT_APPEND] ConcurrentAppendException: Files were added to the table"]),
    "bigquery": (
        BIGQUERY,
        [
            "Could not serialize access to table p:d.history due to concurrent update",
            "Resources exceeded during query execution: Too many DML statements outstanding against table p:d.locks",
            "Exceeded rate limits: too many table update operations for this table.",
        ],
    ),
}


@pytest.mark.parametrize("adapter", WORDS)
def test_conflicting_statement_is_repeated_alone(shop, api, monkeypatch, adapter):
    from dbt.adapters.duckdb import DuckDBAdapter
    from dbt_common.exceptions import DbtDatabaseError

    words, texts = WORDS[adapter]
    monkeypatch.setattr(session, "CONFLICT_SECONDS", 0.01)
    told = {"commits_together": words.commits_together, "conflict": words.conflict}
    duckdb = replace(dialect.known_dialect("duckdb"), **told)
    monkeypatch.setattr(session, "find_dialect", lambda _adapter: duckdb)
    execute, met, texts = DuckDBAdapter.execute, [], cycle(texts)

    def conflicting(self, sql, **options):
        if sql not in met:
            met.append(sql)
            raise DbtDatabaseError(next(texts))
        return execute(self, sql, **options)

    monkeypatch.setattr(DuckDBAdapter, "execute", conflicting)
    first = shop.synced(ADA, BOB, EVE)
    second = shop.synced(("c1", "new@example.com", "pro"), BOB)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert len(api.received) == 4
    assert len(met) > 10
    assert "ADDED 0 UPDATED 0 DELETED 0" in shop.run().output


def test_statement_that_always_conflicts_fails_the_sync(shop, api, monkeypatch):
    from dbt.adapters.duckdb import DuckDBAdapter
    from dbt_common.exceptions import DbtDatabaseError

    words, (text,) = WORDS["databricks"]
    monkeypatch.setattr(session, "CONFLICT_SECONDS", 0.001)
    duckdb = replace(dialect.known_dialect("duckdb"), commits_together=False, conflict=words.conflict)
    monkeypatch.setattr(session, "find_dialect", lambda _adapter: duckdb)
    tried = []

    def conflicting(_self, sql, **_options):
        tried.append(sql)
        raise DbtDatabaseError(text)

    shop.fill(ADA)
    with monkeypatch.context() as broken:
        broken.setattr(DuckDBAdapter, "execute", conflicting)
        result = shop.run()
    assert result.exit_code in (1, 2)
    assert "DELTA_CONCURRENT_APPEND" in result.output
    assert len(tried) == session.ATTEMPTS
    assert shop.run().exit_code == 0
    assert len(api.received) == 1
