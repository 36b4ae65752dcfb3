"""The command line: the only package that prints or exits. A command is a module of this package.

Importing the package imports each of its modules, and a module registers its commands with `command(group=...)`.
So modules import what is slow to import, such as the warehouse, inside functions: `--help` stays fast.
"""

from importlib import import_module
from pkgutil import iter_modules

from dbt_segconn.commands.main import main

for _module in iter_modules(__path__):
    if not _module.ispkg:  # `terminal` has no commands
        import_module(f"{__name__}.{_module.name}")

__all__ = ["main"]
