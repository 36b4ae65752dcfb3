"""Tools that start dbt or watch runs, each optional and in a module of its own."""
