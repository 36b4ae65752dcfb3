"""What a fork server does once for all its processes: dbt builds its validators when they are first used.

No database is opened: a process that is forked off has none of the threads that one would bring.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from standing import new_shop

from dbt_segconn.engine.opening import Options, resolve_context
from dbt_segconn.warehouse.adapter import open_warehouse

with tempfile.TemporaryDirectory() as folder:
    shop = new_shop(Path(folder), "http://127.0.0.1:9")
    manifest = {"metadata": {"adapter_type": "duckdb"}, "macros": {}}
    open_warehouse(resolve_context(Options(project_dir=shop.dir, profiles_dir=shop.dir)), manifest)
