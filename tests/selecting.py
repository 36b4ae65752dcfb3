"""A dbt project for every method of selection, changed in every way, and what is selected of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import yaml
from click.testing import CliRunner, Result
from forked import start

SEGCONN = {
    "unique_identifier": "id",
    "mappings": [{"name": "ident", "action": "identify", "versions": "all", "fields": {"user_id": "$id"}}],
}
OF_SNAPSHOTS = {**SEGCONN, "mappings": [{**SEGCONN["mappings"][0], "records": "current"}]}
# A disabled destination: what is selected is listed, and no sync begins
SETTINGS = {"destinations": {"app": {"write_key": "not-needed", "endpoint": "http://127.0.0.1:9", "enabled": False}}}
PROJECT = {
    "name": "kit",
    "profile": "kit",
    "flags": {"send_anonymous_usage_stats": False},
    "models": {"kit": {"+materialized": "table", "+meta": {"segconn": SEGCONN}, "marts": {"+tags": ["nightly"]}}},
    "seeds": {"kit": {"+meta": {"segconn": SEGCONN}}},
    "snapshots": {"kit": {"+meta": {"segconn": OF_SNAPSHOTS}}},
}
PROFILES = {"kit": {"target": "dev", "outputs": {"dev": {"type": "duckdb", "path": "kit.duckdb"}}}}
SELECTORS = {
    "selectors": [
        {
            "name": "night",
            "definition": {"union": [{"method": "tag", "value": "nightly"}, {"exclude": ["plans"]}]},
        }
    ]
}
PROPERTIES = {
    "groups": [{"name": "sales", "owner": {"email": "sales@example.com"}}],
    "sources": [{"name": "ext", "schema": "main", "tables": [{"name": "orders", "identifier": "raw"}]}],
    "models": [
        {
            "name": "customers",
            "description": "Customers",
            "config": {"group": "sales", "access": "public"},
            "columns": [{"name": "id", "data_tests": ["unique", "not_null"]}],
        },
        {"name": "dim", "latest_version": 2, "versions": [{"v": 1}, {"v": 2}]},
        {
            "name": "pinned",
            "config": {"contract": {"enforced": True}},
            "columns": [{"name": "id", "data_type": "integer"}, {"name": "name", "data_type": "varchar"}],
        },
    ],
    "exposures": [
        {
            "name": "dash",
            "type": "dashboard",
            "owner": {"email": "jo@example.com"},
            "depends_on": ["ref('customers')"],
        }
    ],
}
SNAPSHOTS = {
    "snapshots": [
        {
            "name": "snap",
            "relation": "ref('customers')",
            "config": {"strategy": "check", "unique_key": "id", "check_cols": "all"},
        }
    ]
}
FILES: dict[str, Any] = {
    "dbt_project.yml": PROJECT,
    "profiles.yml": PROFILES,
    "selectors.yml": SELECTORS,
    "segconn.yml": SETTINGS,
    "models/properties.yml": PROPERTIES,
    "snapshots/snap.yml": SNAPSHOTS,
    "seeds/raw.csv": "id,name\n1,a\n2,b\n",
    "macros/one.sql": "{% macro one() %}{{ inner_one() }}{% endmacro %}{% macro inner_one() %}1{% endmacro %}",
    "models/stg.sql": "select id, name, {{ one() }} as one from {{ ref('raw') }}",
    "models/typed.sql": "select cast(id as {{ dbt.type_string() }}) as id from {{ ref('stg') }}",
    "models/broken.sql": "select id from nowhere",
    "models/after_broken.sql": "select id from {{ ref('broken') }}",
    "models/marts/customers.sql": "select id, name\nfrom {{ ref('stg') }}",
    "models/orders.sql": "select id from {{ source('ext', 'orders') }} -- after {{ ref('raw') }}",
    "models/marts/plans.sql": (
        "{{ config(materialized='incremental', unique_key='id') }} select id, name from {{ ref('raw') }}"
    ),
    "models/marts/dim_v1.sql": "select id, name from {{ ref('customers') }}",
    "models/marts/dim_v2.sql": "select id, name, 1 as more from {{ ref('customers') }}",
    "models/marts/pinned.sql": "select id, name from {{ ref('dim', v=1) }}",
    "tests/none_is_null.sql": "select * from {{ ref('customers') }} where id is null",
    "tests/no_plans.sql": "select * from {{ ref('plans') }}",
}
CHANGES: dict[str, Any] = {
    "seeds/raw.csv": "id,name\n1,a\n2,c\n",
    "macros/one.sql": FILES["macros/one.sql"].replace("1", "2"),
    "models/marts/plans.sql": FILES["models/marts/plans.sql"].replace("'id'", "['id']"),
    "models/marts/dim_v2.sql": FILES["models/marts/dim_v2.sql"].replace("1 as more", "2 as more"),
    "models/fresh.sql": "select id from {{ ref('raw') }}",
    "snapshots/snap.yml": json.loads(json.dumps(SNAPSHOTS).replace('"all"', '["name"]')),
    "models/typed.sql": "{{ config(alias='textual') }} " + FILES["models/typed.sql"],
}
METHODS = (
    "customers",
    "stg+",
    "+pinned",
    "@stg",
    "1+pinned",
    "tag:nightly",
    "tag:nightly,config.materialized:incremental",
    "config.materialized:table",
    "config.meta.segconn.unique_identifier:id",
    "path:models/marts",
    "path:models/properties.yml",
    "source:ext+",
    "+exposure:dash",
    "group:sales",
    "access:public",
    "version:latest",
    "package:this",
    "kit.marts.*",
    "dim.v1",
    "1+test_type:singular",
    "1+test_name:unique",
    "customers plans",
    "nothing_like_it",
)
STATES = (
    "state:new",
    "state:old",
    "state:modified",
    "state:modified+",
    "1+state:modified.body",
    "state:modified.body",
    "state:modified.configs",
    "state:modified.relation",
    "state:modified.persisted_descriptions",
    "state:modified.macros",
    "state:modified.contract",
    "state:unmodified",
    "state:modified,tag:nightly",
    "result:success",
    "result:error",
    "result:error+",
    "result:skipped",
    "1+result:fail",
    "result:fail+",
)


def write_project(folder: Path, **changes: Any) -> Path:
    """Write the project; `changes` replaces or adds files, by their paths."""
    for name, content in {**FILES, **changes}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return folder


def run(project: Path, *options: str) -> Result:
    """Run dbt-segconn in the project's folder, on a DuckDB file that need hold nothing: all mappings are disabled."""
    from dbt_segconn.commands import main

    duckdb.connect(str(project / "kit.duckdb")).close()
    before = Path.cwd()
    os.chdir(project)
    try:
        return CliRunner().invoke(main, ["run", "--all", *options])
    finally:
        os.chdir(before)


def selected(project: Path, *options: str) -> set[str]:
    """Return the names of the models that a run would sync."""
    result = run(project, *options)
    assert result.exit_code == 0, result.output
    return set(re.findall(r"SKIP (\S+)\.ident ", result.output))


def listed(project: Path, selections: Iterable[tuple[str, ...]]) -> list[set[str]]:
    """Return what `dbt ls` of dbt-core selects by each of these options, of models, seeds and snapshots."""
    answers = project / "listed.json"
    process = start(_list, project, dict(os.environ), list(selections), answers)
    process.join()
    assert process.exitcode == 0
    return [set(map(name_of, found)) for found in json.loads(answers.read_text())]


def name_of(unique_id: str) -> str:
    """Return what a model is called in the lines of a run."""
    return unique_id.split(".", 2)[2]


def _list(project: Path, environment: dict[str, str], selections: list[tuple[str, ...]], answers: Path) -> None:
    from dbt.cli.main import dbtRunner

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(project)
    fixed = ["--quiet", "--log-level", "none", "--profiles-dir", str(project)]
    manifest = dbtRunner().invoke(["parse", *fixed]).result
    types = [word for name in ("model", "seed", "snapshot") for word in ("--resource-type", name)]
    keys = ["--output", "json", "--output-keys", "unique_id"]
    found = [dbtRunner(manifest=manifest).invoke(["ls", *fixed, *types, *keys, *words]) for words in selections]
    assert all(one.success for one in found), [one.exception for one in found]
    answers.write_text(json.dumps([[json.loads(line)["unique_id"] for line in one.result] for one in found]))
