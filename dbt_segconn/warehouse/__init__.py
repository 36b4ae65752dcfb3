"""The only package that imports dbt-core: adapter, sessions, SQL, selection, values."""
