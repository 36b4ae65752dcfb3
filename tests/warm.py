"""What a fork server does once for all its processes: dbt builds its validators and templates when they are first used.

No database is opened: a process that is forked off has none of the threads that one would bring.
"""

from __future__ import annotations

import gc
import json
import tempfile
from pathlib import Path
from typing import Any

from dbt.artifacts.schemas import base
from dbt.cli.main import dbtRunner
from dbt_common.clients.jinja import template_cache
from dbt_common.tests import enable_test_caching
from dbt_common.utils.encoding import JSONEncoder
from standing import ADA, new_shop

from dbt_segconn.engine.opening import Options, resolve_context
from dbt_segconn.warehouse.adapter import open_warehouse

# Folders of dbt's macros that neither a table nor a test of the shop uses
UNUSED = ("unit_test", "snapshots", "seeds", "python_model", "incremental", "clone", "functions", "materialized_view")


def write_json(path: str, data: dict[str, Any]) -> bool:
    """Write the same text as dbt does, from C instead of Python."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(data, cls=JSONEncoder), encoding="utf-8")
    return True


base.write_json = write_json
enable_test_caching()  # of dbt's own tests: the same text of a macro is parsed once
with tempfile.TemporaryDirectory() as folder:
    shop = new_shop(Path(folder), "http://127.0.0.1:9")
    shop.rows(ADA)
    place = ["--project-dir", str(shop.dir), "--profiles-dir", str(shop.dir)]
    # The static parser starts threads, for which a forked process would wait for ever
    parse = ["--quiet", "--log-level-file", "none", "--no-static-parser", "parse", *place]
    parsed = dbtRunner().invoke(parse)
    dbtRunner().invoke(parse)  # reads what the first has kept
    for macro in parsed.result.macros.values():
        if not any(part in macro.original_file_path for part in UNUSED):
            template_cache.get_node_template(macro)
    manifest = {"metadata": {"adapter_type": "duckdb"}, "macros": {}}
    open_warehouse(resolve_context(Options(project_dir=shop.dir, profiles_dir=shop.dir)), manifest)
# Nothing of this is garbage, nor worth looking for it
gc.freeze()
