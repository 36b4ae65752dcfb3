"""The program, also `python -m dbt_segconn`: standard streams, garbage collection, exit code."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

from dbt_segconn.process_tuning import FastExit, with_rare_gc


def _open_standard_streams() -> None:
    """Open standard streams that the caller closed (`run >&-`).

    Otherwise the next opened file, such as the warehouse, would become standard output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  open until the process ends
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115


def program() -> None:
    """Run the command line and end the process."""
    _open_standard_streams()
    fast_exit = FastExit()
    atexit.register(fast_exit.leave)  # the first registered handler is called last
    # pydantic would load plugins from all installed packages, and they could read write keys
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with with_rare_gc():
        # imported here, with rare garbage collection, and after the variable is set
        from dbt_segconn.commands import main

        try:
            main()
        except SystemExit as end:
            fast_exit.code = end.code if isinstance(end.code, int) else None
            raise


if __name__ == "__main__":
    program()
