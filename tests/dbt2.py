"""A real dbt 2 with a DuckDB driver, from PyPI's and npm's packages: installed once, into a folder that stays."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DBT = "dbt-core-experimental-parser==2.0.0a4"  # the one release of dbt 2 that is a whole wheel
DRIVER = "@duckdb/node-bindings-linux-x64@1.4.1-r.4"  # libduckdb with the entry point that dbt 2 calls
HOME = Path(__file__).parents[1] / ".dbt2"
# How long a failed installation is taken for the answer, so that each worker of a run need not wait for it
FAILURE_LASTS = 600
REQUIRED = "SEGCONN_DBT2"
LIBRARY = "libduckdb.so"
MANIFEST = """\
manifest_version = 1
name = 'duckdb'
[ADBC]
version = '1.1.0'
[Driver]
entrypoint = 'duckdb_adbc_init'
[Driver.shared]
linux_amd64 = '{library}'
"""


class NotInstalledError(Exception):
    """The platform, npm or a package is missing."""


@dataclass(frozen=True)
class Dbt2:
    """An installed dbt 2.

    Its DuckDB is 1.4.1: it opens no file that a newer DuckDB has created, but those that it has created itself, also
    after a newer one has written to them. So dbt 2 has to build a project first.
    """

    folder: Path

    def run(self, project: Path, *arguments: str) -> tuple[int, str]:
        """Run dbt 2 in a folder to its end. Return its exit code and its output."""
        environment = os.environ | {"ADBC_DRIVER_PATH": str(self.folder), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        command = [self.folder / "python/bin/dbt-core-experimental-parser", *arguments, "--profiles-dir", project]
        done = subprocess.run(
            command, cwd=project, env=environment, check=False, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def dbt2() -> Dbt2:
    """Return dbt 2; skip where it cannot be installed, or fail where SEGCONN_DBT2=required."""
    try:
        return Dbt2(_installed())
    except NotInstalledError as error:
        give_up = pytest.fail if os.environ.get(REQUIRED) == "required" else pytest.skip
        give_up(f"dbt 2 cannot be installed here: {error}")


def _installed() -> Path:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NotInstalledError(f"its packages are for linux on x86_64, not {sys.platform} on {platform.machine()}")
    folder = HOME / f"{DBT}-{DRIVER}".replace("/", "-")
    with _alone():
        if not folder.exists():
            _refuse_again()
            try:
                _install(folder)
            except NotInstalledError as error:
                (HOME / "failure").write_text(str(error))
                raise
        (folder / "duckdb.toml").write_text(MANIFEST.format(library=folder / LIBRARY))
    return folder


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process is installing."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _refuse_again() -> None:
    failure = HOME / "failure"
    is_recent = failure.exists() and time.time() - failure.stat().st_mtime < FAILURE_LASTS
    if is_recent and os.environ.get(REQUIRED) != "required":
        raise NotInstalledError(failure.read_text())


def _install(folder: Path) -> None:
    """Install into a folder that gets its name when it is complete."""
    if not shutil.which("npm"):
        raise NotInstalledError("npm is not on the PATH")
    with tempfile.TemporaryDirectory(dir=HOME) as name:
        new = Path(name) / "new"
        new.mkdir()
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
        _run(new, *pip, "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", new / "python", DBT)
        _run(new, "npm", "pack", "--silent", "--fetch-retries=1", DRIVER)
        (archive,) = new.glob("*.tgz")
        with tarfile.open(archive) as packed, (new / LIBRARY).open("wb") as library:
            shutil.copyfileobj(packed.extractfile(f"package/{LIBRARY}"), library)
        archive.unlink()
        new.rename(folder)


def _run(folder: Path, *command: str | Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{command[0]} has not ended after 300 seconds") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr + error.stdout).strip().splitlines()
        raise NotInstalledError(next((line for line in lines if "error" in line.lower()), str(error))) from None
