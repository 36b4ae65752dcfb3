"""A debugger as a process of its own, as a user runs it."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path

from standing import PROGRAM


@contextmanager
def debugger_process(*options):
    """Run `dbt-segconn debugger` as a process; yields its URL and a function that returns its peak of memory in MB."""
    command = [PROGRAM, "debugger", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def peak():
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) / 1024

        try:
            yield process.stdout.readline().split()[2], peak
        finally:
            process.terminate()
            process.wait(10)
