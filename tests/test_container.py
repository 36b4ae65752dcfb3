"""The container image: its command as a user without rights, on a read-only project, ended by a signal."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import open_files
import pytest
from standing import MAPPING, PROGRAM, wait_for

DOCKERFILE = (Path(__file__).parents[1] / ".docker/Dockerfile").read_text()
KEYS = ("ENTRYPOINT", "CMD")
RECORDS = 20_000
# root obeys no file mode, unless it has given its capabilities up
UNPRIVILEGED = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def in_image(project, work):
    """The environment and the command of the image, with other folders."""
    found = dict(re.findall(r"^ENV (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
    places = {"/project": str(project), "/work": str(work)}
    environment = {
        name: re.sub(r"^/(project|work)\b", lambda place: places[place[0]], value) for name, value in found.items()
    }
    entrypoint, command = (json.loads(re.search(rf"^{key} (.*)$", DOCKERFILE, re.MULTILINE)[1]) for key in KEYS)
    assert entrypoint == [Path(PROGRAM).name]
    return {**os.environ, **environment, "PATH": os.environ["PATH"]}, [*UNPRIVILEGED, PROGRAM, *command]


@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(UNPRIVILEGED) and not shutil.which("setpriv"), reason="root obeys no file mode here")
def test_read_only_project_resumes_after_sigterm(shop, api, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    shop.settings(concurrency=1)
    shop.manifest(MAPPING)
    shop.many(RECORDS)
    open_files.close()
    for name in ("target", "shop.duckdb"):
        (shop.dir / name).rename(work / name)
    duckdb = {"type": "duckdb", "path": str(work / "shop.duckdb")}
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": {"dev": duckdb}}})
    files = sorted(shop.dir.rglob("*"))
    for path in (*files, shop.dir):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment, command = in_image(shop.dir, work)
    assert subprocess.run([*UNPRIVILEGED, "touch", shop.dir / "new"], check=False, capture_output=True).returncode

    def start():
        return subprocess.Popen(
            [*command, "--all"],
            env=environment,
            cwd=shop.dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    api.delay = 0.3
    process = start()
    wait_for(lambda: len(api.sizes) > 1 or process.poll() is not None, 300)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert 0 < len(api.accepted) < RECORDS
    api.delay = 0
    process = start()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "RESUMED" in output
    assert len(api.accepted) == len({call["userId"] for call in api.calls()}) == RECORDS
    assert (work / "target/segconn/run_results.json").is_file()
    for path in (*files, shop.dir):
        path.chmod(0o755)
    assert sorted(shop.dir.rglob("*")) == files
