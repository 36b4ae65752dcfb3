"""`python -m dbt_segconn` is `dbt-segconn`."""

from dbt_segconn.commands.program import program

program()
