"""The only package that imports dbt-core: adapter, sessions, SQL, selection, values."""

from dbt_segconn.process_tuning import compile_dbt_lazily

compile_dbt_lazily()  # before the first import of dbt
