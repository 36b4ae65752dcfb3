"""The command line: the only package that prints or exits."""

from dbt_segconn.cli import authoring, looks, page, upkeep  # noqa: F401  their commands join main
from dbt_segconn.cli.commands import main

__all__ = ["main"]
