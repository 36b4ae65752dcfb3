"""The command line: the only package that prints or exits."""

from dbt_segconn.commands import authoring, docs, looks, page, upkeep  # noqa: F401  their commands join main
from dbt_segconn.commands.main import main

__all__ = ["main"]
