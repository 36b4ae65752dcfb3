"""A column that is stored in another type, and whose JSON is the same, sends nothing again."""

from __future__ import annotations

import pytest
from standing import MAPPING

ALL = {**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}}

# SQL of a value in the types that give the same JSON for it; the first is where each starts from
SAME = {
    "whole": ("12::numeric(10,0)", "12::bigint", "12::double precision"),
    "count": ("12::integer", "12::numeric(12,2)"),
    "long": ("9007199254740993::bigint", "9007199254740993::numeric(38,0)"),
    "large": ("123456789012345680::bigint", "123456789012345680::double precision"),
    "price": ("12.5::numeric(12,2)", "12.5::double precision", "12.50::numeric(14,4)"),
    "tenth": ("0.1::real", "0.1::double precision", "0.1::numeric(4,3)"),
    "minus": ("-7::smallint", "-7::real", "-7::bigint"),
    "zip": ("'00123'::varchar(9)", "'00123'::text", "'00123'::char(5)"),
    "at": (
        "'2024-02-29 12:00:00.5'::timestamp",
        "'2024-02-29 14:00:00.5+02'::timestamptz",
        "'2024-02-29T12:00:00.500Z'::text",
    ),
    "day": ("'2024-02-29'::date", "'2024-02-29'::text"),
    "mood": ("'sad'::mood", "'sad'::text"),
    "id": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::text"),
    "doc": ("""'{"a":[1,null,"x"]}'::json""", """'{"a": [1, null, "x"]}'::jsonb"""),
    "list": ("array[1, 2]", "'[1, 2]'::json", "array[1, 2]::bigint[]"),
    "nothing": ("null::integer", "null::text", "null::json"),
}
OWN = {
    "duckdb": {
        "person": ("{'name': 'Ada', 'age': 36}", """'{"name": "Ada", "age": 36}'::json"""),
        "huge": ("12::hugeint", "12::utinyint"),
    },
    "postgres": {
        "any": ("12.5::numeric", "12.5::double precision"),
        "any_whole": ("12.00::numeric", "12::bigint"),
        "third": ("1.0 / 3::numeric", "1.0::double precision / 3"),
        "odd": ("""'{"b": "x", "a": "\\u0041"}'::json""", """'{"a": "A", "b": "x"}'::jsonb"""),
        "nul": (r"""'{"a": "\u0000"}'::json""", r"""'{"a": "\u0000"}'::json"""),
        "person": ("row('Ada', 36)::person", """'{"age": 36, "name": "Ada"}'::jsonb"""),
    },
}
DIFFERENT = (
    ("1::integer", "'1'::text"),
    ("true", "'true'::text"),
    ("true", "1::integer"),
    ("''::text", "null::text"),
    ("null::boolean", "false"),
    ("""'[1]'::json""", "'[1]'::text"),
    ("9007199254740993::bigint", "9007199254740992::bigint"),
    ("-12::integer", "12::integer"),
)
TYPES = {
    "duckdb": ("type mood as enum ('sad')",),
    "postgres": ("type mood as enum ('sad')", "type person as (name text, age integer)"),
}


@pytest.fixture
def store(shop, warehouse):
    """Make the model a table of one record, with a column for each SQL value."""
    for statement in TYPES[warehouse.name]:
        warehouse.execute(f"create {statement}")
    shop.manifest(ALL)

    def store(values):
        if warehouse.name == "duckdb":
            values = {key: sql.replace("::jsonb", "::json") for key, sql in values.items()}
        columns = ", ".join(f'{sql} as "{name}"' for name, sql in values.items())
        warehouse.execute(f"drop table if exists {warehouse.schema}.customers")
        warehouse.execute(f"create table {warehouse.schema}.customers as select 'c1' as customer_id, {columns}")

    return store


def test_a_type_that_gives_the_same_json_sends_nothing(shop, api, warehouse, store):
    forms = {**SAME, **OWN[warehouse.name]}
    store({name: values[0] for name, values in forms.items()})
    assert "ADDED 1" in shop.run().output
    for at in range(1, max(map(len, forms.values()))):
        store({name: values[at % len(values)] for name, values in forms.items()})
        result = shop.run()
        assert result.exit_code == 0, result.output
        assert "ADDED 0 UPDATED 0 DELETED 0" in result.output, at
    assert len(api.calls()) == 1


def test_another_json_is_always_sent(shop, api, store):
    names = [f"v{nth}" for nth in range(len(DIFFERENT))]
    mappings = (
        {**ALL, "name": name, "fields": {"user_id": "$customer_id", "traits": {"value": f"${name}"}}} for name in names
    )
    shop.manifest(*mappings)
    store({name: before for name, (before, _) in zip(names, DIFFERENT, strict=True)})
    assert len(shop.run().artifact(shop.dir)["results"]) == len(names)
    store({name: after for name, (_, after) in zip(names, DIFFERENT, strict=True)})
    results = shop.run(*(f"--allow-guarded=customers.{name}" for name in names)).artifact(shop.dir)["results"]
    assert [one["name"] for one in results if one["counts"]["updated"] != 1] == []


def test_an_update_by_the_type_of_a_json_column_alone_is_guarded(shop, api, store):
    store({"doc": "array[1.5, 2]::real[]"})
    shop.run()
    store({"doc": """'[1.50, 2]'::text"""})
    result = shop.run()
    assert result.exit_code == 1
    assert len(api.calls()) == 1
    assert "1 of 1 known records count as updated, perhaps only by their type" in result.output
