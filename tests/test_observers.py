"""OpenLineage and OpenTelemetry: nothing of them is imported unless the environment switches them on.

Their own tests are in tests/integrations.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from standing import ADA, MAPPING

MODULES = ("openlineage", "opentelemetry.sdk", "dbt_segconn.integrations.open", "dbt_segconn.integrations.logs")


def test_plain_run_imports_no_observer(shop, api):
    shop.manifest(MAPPING)
    shop.table(ADA)
    code = (
        "import sys, pathlib, dbt_segconn\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "assert dbt_segconn.run(project_dir=folder, profiles_dir=folder, all=True).success\n"
        f"found = [name for name in sys.modules if name.startswith({MODULES})]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code, str(shop.dir)], check=True)
    assert len(api.received) == 1


@pytest.mark.parametrize(
    ("variable", "package", "extra"),
    [
        ("OPENLINEAGE_URL", "openlineage", "openlineage"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "opentelemetry.sdk", "opentelemetry"),
    ],
)
def test_missing_package_is_a_warning(shop, api, monkeypatch, variable, package, extra):
    if find_spec(package.partition(".")[0]) and find_spec(package):
        pytest.skip(f"{package} is installed")
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    shop.manifest(MAPPING)
    shop.table(ADA)
    result = shop.segconn("run", "--all")
    assert result.exit_code == 0
    assert f"pip install 'dbt-segconn[{extra}]'" in result.output
    assert len(api.received) == 1
