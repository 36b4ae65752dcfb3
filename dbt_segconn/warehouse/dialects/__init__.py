"""The supported warehouses: one folder for each dbt adapter, with the adapter's name.

To add a warehouse, add a folder; nothing else changes:

- `__init__.py` has `DIALECT`, a Dialect of `dialect.py`, with the fields that differ from the defaults.
- `*.sql` has macros `<adapter>__segconn_<name>`. They replace the `default__` macros that `sql/` calls by
  `adapter.dispatch`. By dbt's rules, an adapter's own macro comes first, then that of its parent adapter (Spark for
  Databricks, PostgreSQL for Redshift), then `default__`. A file has the same name as the file in `sql/`.

`tests/warehouses/test_contract.py` and `test_values.py` test the behaviour that all warehouses share.
"""
