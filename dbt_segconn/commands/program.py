"""The process that the command line runs in, from its first command to its exit code."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

from dbt_segconn.process_tuning import FastExit, with_rare_gc


def _open_standard_streams() -> None:
    """Open what a caller has closed (`run >&-`): else the next file, the warehouse's perhaps, would be standard output.

    What is open already stays as it is.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  open as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115


def program() -> None:
    """Run the command line and end the process."""
    _open_standard_streams()
    leaving = FastExit()
    atexit.register(leaving.leave)  # the first to be registered is the last to be called
    # pydantic's, which are looked for in everything that is installed, and would see write keys
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with with_rare_gc():
        from dbt_segconn.commands import main

        try:
            main()
        except SystemExit as end:
            leaving.code = end.code if isinstance(end.code, int) else None
            raise
