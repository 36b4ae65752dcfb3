"""The command line: the only package that prints or exits."""

from dbt_segconn.cli import upkeep  # noqa: F401  its commands join main
from dbt_segconn.cli.commands import main

__all__ = ["main"]
