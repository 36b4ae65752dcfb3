"""Macros of a project change neither what is sent nor what counts as changed."""

from __future__ import annotations

import json
from itertools import product

import pytest
import yaml
from standing import ADA, BOB

LONG = ("c" * 40, "long@example.com", "pro")

# What projects and packages override, and what shadows this package's own
OVERRIDES = {
    "default__hash(field)": "md5({{ field }} || 'salt')",
    "{adapter}__hash(field)": "md5({{ field }} || 'pepper')",
    "default__length(expression)": "1",
    "default__type_string()": "varchar(20)",
    "{adapter}__type_string()": "varchar(20)",
    "{adapter}__type_timestamp()": "date",
    "type_float()": "integer",
    "default__type_bigint()": "smallint",
    "{adapter}__datediff(first_date, second_date, datepart)": "1000000",
    "{adapter}__get_columns_in_relation(relation)": "{{ return([]) }}",
    "segconn_value(column)": "{{ return(\"'shadowed'\") }}",
    "{adapter}__segconn_text(column, data_type)": "{{ return(\"'shadowed'\") }}",
    "{adapter}__segconn_checksum(signature, columns)": "{{ return('md5(now()::varchar)') }}",
    "segconn_read_changes()": "select 1",
}


@pytest.fixture
def override(shop, warehouse):
    """Add the overrides of the root project and of a package to the manifest, as dbt writes them."""

    def add():
        path = shop.dir / "target/manifest.json"
        manifest = json.loads(path.read_text())
        template = manifest["macros"]["macro.dbt.default__hash"]
        for package, (head, body) in product(("shop", "dbt_utils"), OVERRIDES.items()):
            head = head.replace("{adapter}", warehouse.name)  # noqa: PLW2901
            name = head.partition("(")[0]
            uid = f"macro.{package}.{name}"
            sql = f"{{% macro {head} %}}{body}{{% endmacro %}}"
            manifest["macros"][uid] = {
                **template,
                "package_name": package,
                "name": name,
                "unique_id": uid,
                "macro_sql": sql,
            }
        path.write_text(json.dumps(manifest))
        project = yaml.safe_load((shop.dir / "dbt_project.yml").read_text())
        dispatch = [{"macro_namespace": "dbt", "search_order": ["dbt_utils", "shop", "dbt"]}]
        shop.write("dbt_project.yml", {**project, "dispatch": dispatch})

    return add


def test_macros_of_the_project_change_no_value_and_no_checksum(shop, api, override):
    assert shop.synced(ADA, LONG).exit_code == 0
    override()
    result = shop.synced(ADA, LONG, BOB)
    assert result.exit_code == 0, result.output
    assert "ADDED 1 UPDATED 0 DELETED 0" in result.output
    assert {call["userId"] for call in api.calls()} == {"c1", LONG[0], "c2"}
    assert api.calls()[-1]["traits"] == {"email": "bob@example.com", "plan": "free"}
