"""`python -m dbt_segconn` is `dbt-segconn`."""

from dbt_segconn.cli.program import program

program()
