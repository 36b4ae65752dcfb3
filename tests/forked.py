"""Processes of their own that have imported dbt already: a fork server makes each of them cost some milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import open_files
import pytest

CONTEXT = multiprocessing.get_context("forkserver")
# Those that are not installed are left out
ADAPTERS = ("dbt.adapters.postgres", "dbt.adapters.redshift")
CONTEXT.set_forkserver_preload(["dbt_segconn.engine.run", "dbt.cli.main", "dbt.context.providers", *ADAPTERS, "warm"])
# The projects and profiles that dbt was run on
_SEEN: set[tuple[bytes, ...]] = set()


def start(target: Any, *arguments: Any) -> multiprocessing.process.BaseProcess:
    """Start a process that calls a function, which can be found by its name, with arguments that can be pickled."""
    _start_server()
    open_files.close()
    process = CONTEXT.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def run_dbt(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run dbt in a folder to its end. Return its exit code and its output."""
    files = (folder / "dbt_project.yml", folder / "profiles.yml")
    parsed = folder / "target/partial_parse.msgpack"
    if all(file.exists() for file in files) and not parsed.exists():
        key = tuple(file.read_bytes() for file in files)
        if key in _SEEN and (macros := _parsed_macros(*key)):
            parsed.parent.mkdir(exist_ok=True)
            parsed.write_bytes(macros)
        _SEEN.add(key)
    return _run(folder, arguments)


@cache
def _parsed_macros(project: bytes, profiles: bytes) -> bytes | None:
    """Return what dbt keeps of a project that has nothing but macros: each test need not let it parse them anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dbt_project.yml").write_bytes(project)
        (folder / "profiles.yml").write_bytes(profiles)
        _run(folder, ("parse", "--profiles-dir", name))
        kept = folder / "target/partial_parse.msgpack"
        return kept.read_bytes() if kept.exists() else None


def _run(folder: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile() as printed:
        process = start(_dbt, folder, dict(os.environ), arguments, printed.name)
        process.join()
        return process.exitcode or 0, printed.read().decode()


@cache
def _start_server() -> None:
    """Start the fork server where it finds `warm`: of sys.path it only knows what the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        forkserver.ensure_running()


def _dbt(folder: Path, environment: dict[str, str], arguments: tuple[str, ...], printed: str) -> None:
    from dbt.cli.main import cli

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["dbt", *arguments]  # which dbt records as its command
    output = os.open(printed, os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    cli(list(arguments))
