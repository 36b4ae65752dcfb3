"""The warehouses that are served: one folder each, with the name that dbt gives to its adapter.

To add a warehouse, add a folder; nothing else changes:

- `__init__.py` holds `DIALECT`, a Dialect of `dialect.py`, with the fields that differ from its defaults.
- `*.sql` hold macros `<adapter>__segconn_<name>` in place of those that `sql/` calls by `adapter.dispatch`: by dbt's
  rules, the adapter's own come before those of the adapters that it builds on (Databricks on Spark, Redshift on
  PostgreSQL), and these before `default__`. All files are read; one has the name of the file in `sql/` that
  dispatches.

What must hold in every warehouse is tested by `tests/warehouses/test_contract.py` and `test_values.py`.
"""
