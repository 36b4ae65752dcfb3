"""Identifiers of every type, and columns of every name, in every warehouse."""

from __future__ import annotations

import json

import pytest
from standing import MAPPING

LONGEST = "the_longest_name_that_postgresql_takes_has_sixty_three_letters_"
RECORD = {**MAPPING, "sync_mode": ["added", "updated", "deleted"], "fields": {"user_id": "$__segment_id"}}


def users(api):
    return [call["userId"] for call in api.received]


@pytest.mark.parametrize(
    ("data_type", "one", "other", "record_ids"),
    [
        ("bigint", "9007199254740993", "9007199254740994", ["9007199254740993", "9007199254740994"]),
        ("numeric(20,0)", "18446744073709551617", "1", ["1", "18446744073709551617"]),
        ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000001'", None),
        ("varchar(40)", "'Ada'", "'ada'", ["Ada", "ada"]),
        ("text", "'00123'", "'0123 '", ["00123", "0123 "]),
        ("date", "'2024-02-29'", "'2024-03-01'", ["2024-02-29", "2024-03-01"]),
        (
            "timestamp",
            "'2024-02-29 12:00'",
            "'2024-02-29 12:00:00.5'",
            ["2024-02-29T12:00:00.000Z", "2024-02-29T12:00:00.500Z"],
        ),
        ("boolean", "true", "false", ["false", "true"]),
    ],
)
def test_a_record_is_told_by_the_text_of_its_identifier(shop, api, warehouse, data_type, one, other, record_ids):
    if data_type == "uuid" and warehouse.name == "bigquery":
        pytest.skip("BigQuery has no such type")
    shop.manifest(RECORD)
    columns = f"customer_id {data_type}, email varchar(20)"
    shop.make(columns, f"{one}, 'a'", f"{other}, 'b'")
    assert shop.run().exit_code == 0
    expected = record_ids or [
        "00000000-0000-0000-0000-000000000001",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ]
    assert sorted(users(api)) == expected
    api.forget()
    shop.make(columns, f"{one}, 'a'")
    assert "ADDED 0 UPDATED 0 DELETED 1" in shop.run().output
    assert len(users(api)) == 1


A, B, C, NEW = (tuple(f"{name}{at}" for at in range(3)) for name in ("ca", "cb", "cc", "new"))
A2, A3, NEW2 = (A[0], "x", "y"), (A[0], "z", "y"), (NEW[0], "x", "y")
# Rows of a model whose records are A, B and C: with two that are not unique, unless a test says otherwise
REPEATED = {
    "both as the record": ([A, A, B, C], 2, 0),
    "one changed": ([A, B, A2, C], 2, 0),
    "both changed": ([A2, A3, B, C], 2, 0),
    "both changed alike": ([A2, B, C, A2], 2, 0),
    "both new": ([A, B, C, NEW, NEW], 2, 0),
    "both new, unlike": ([A, B, C, NEW, NEW2], 2, 0),
    "three as the record": ([A, A, A, B, C], 3, 0),
    "three, one changed": ([A, A, A2, B, C], 3, 0),
    "as many rows as records": ([A, A, B], 2, 1),
    "two pairs": ([A, A, B, B, NEW, C], 4, 0),
}


@pytest.mark.parametrize("kind", ["table", "view"])
def test_repeated_identifier_is_always_found(shop, api, warehouse, kind):
    """Each in a sync of its own: what it does to the counts, no other hides."""
    shop.manifest({**MAPPING, "sync_mode": ["updated"]})
    if kind == "view":
        path = shop.dir / "target/manifest.json"
        path.write_text(path.read_text().replace('"materialized": "table"', '"materialized": "view"'))
    shop.fill(A, B, C)
    assert shop.segconn("baseline", f"customers.{MAPPING['name']}").exit_code == 0
    for case, (rows, repeated, deleted) in REPEATED.items():
        shop.fill(*rows)
        shop.run()
        counts = shop.counts()
        assert (counts["unidentified"], counts["deleted"], counts["updated"]) == (repeated, deleted, 0), case
    shop.fill(A2, B, C)
    assert shop.run().exit_code == 0
    assert users(api) == [A[0]]


GONE = {
    **MAPPING,
    "action": "track",
    "sync_mode": ["added", "deleted"],
    "fields": {
        "user_id": "$customer_id",
        "event_name": {"@template": "{{event}}"},
        "properties": {"id": "$customer_id", "tenant": "$tenant", "mail": "$email", "text": "${customer_id}!"},
    },
}


@pytest.mark.parametrize(
    ("data_type", "literal", "value", "text"),
    [
        ("varchar(40)", "'00123'", "00123", "00123"),
        ("text", r"'a|b\c'", r"a|b\c", r"a|b\c"),
        ("integer", "7", 7, "7"),
        ("bigint", "9007199254740993", 9007199254740993, "9007199254740993"),
        ("numeric(20,0)", "18446744073709551617", 18446744073709551617, "18446744073709551617"),
        ("numeric(9,2)", "1.50", 1.5, "1.5"),
        ("double precision", "2.5", 2.5, "2.5"),
        ("boolean", "true", True, "true"),
        ("date", "'2024-02-29'", "2024-02-29", "2024-02-29"),
        ("timestamp", "'2024-02-29 12:00'", "2024-02-29T12:00:00.000Z", "2024-02-29T12:00:00.000Z"),
    ],
)
def test_deleted_record_keeps_identifier(shop, api, warehouse, data_type, literal, value, text):
    """Half of the types stand alone, half in an identifier of two columns."""
    identifier = "CUSTOMER_ID" if len(data_type) % 2 else ["tenant", "customer_id"]
    shop.manifest(GONE, unique_identifier=identifier)
    columns = f"customer_id {data_type}, tenant varchar(9), email varchar(20)"
    literal = warehouse.literal(value) if literal.startswith("'") and data_type != "timestamp" else literal
    shop.make(columns, f"{literal}, 't|1', 'a'")
    assert shop.run().exit_code == 0
    shop.make(columns)
    assert shop.run("--allow-guarded", "customers.identify_customers").exit_code == 0
    tenant = "t|1" if isinstance(identifier, list) else None
    added, deleted = api.calls()
    assert added["userId"] == deleted["userId"] == text
    assert added["properties"] == {"id": value, "tenant": "t|1", "mail": "a", "text": f"{text}!"}
    assert deleted["properties"] == {"id": value, "tenant": tenant, "mail": None, "text": f"{text}!"}
    assert type(added["properties"]["id"]) is type(deleted["properties"]["id"])


def test_junk_and_shared_ids_are_counted(shop, api):
    shop.make("customer_id varchar(9), number bigint", "'None', 0", "' null', -1", *(f"'c{at}', 7" for at in range(7)))
    by_number = {**MAPPING, "name": "other", "fields": {"user_id": "$number"}}
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id"}}, by_number)
    output = shop.run().output
    assert "2 records have a placeholder as user_id ('none' 1, 'null' 1)" in output
    assert "2 records have a placeholder as user_id ('-1' 1, '0' 1)" in output
    assert "1 value of user_id ($number) is shared by more than 1 record, by up to 7" in output
    assert api.received == []


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_enumeration_may_identify_records(shop, api, warehouse):
    warehouse.execute("create type plan as enum ('pro', 'free')")
    shop.manifest(RECORD, unique_identifier="plan")
    shop.make("plan plan, email text", "'pro', 'a'", "'free', 'b'")
    shop.run()
    assert sorted(users(api)) == ["free", "pro"]


def test_columns_of_any_name_are_found_as_dbt_finds_them(shop, api, warehouse):
    odd = "it's" if warehouse.name == "bigquery" else 'it"s'  # BigQuery has no quotation marks in names
    names = ("customerId", "tenantId", "select", "two words", "Größe", LONGEST, odd, "MiXed")
    shop.make(
        ", ".join(f"{warehouse.quote(name)} {'varchar(9)' if name == 'tenantId' else 'integer'}" for name in names),
        "1, 't', 2, 3, 4, 5, 6, 7",
        "2, 't', 2, 3, 4, 5, 6, 7",
    )
    fields = {
        "user_id": "$customerid",
        "traits": {
            "select": "$select",
            "words": {"@path": "$.properties['two words']"},
            "größe": {"@path": "$.properties.Größe"},
            "longest": f"${LONGEST}",
            "whole": "$*",
            "mixed": "${mixed} and ${MiXed}",
        },
    }
    shop.manifest({**MAPPING, "fields": fields}, unique_identifier=["tenantid", "customerId"])
    result = shop.run()
    assert result.exit_code == 0, result.output
    assert sorted(users(api)) == ["1", "2"]
    assert api.calls()[0]["traits"] == {
        "select": 2,
        "words": 3,
        "größe": 4,
        "longest": 5,
        "mixed": "7 and 7",
        "whole": {
            "customerid": 1,
            "tenantId": "t",
            "select": 2,
            "two words": 3,
            "Größe": 4,
            LONGEST: 5,
            odd: 6,
            "mixed": 7,
            "MiXed": 7,
        },
    }
    assert "ADDED 0 UPDATED 0" in shop.run().output


def test_a_whole_record_names_columns_as_the_warehouse_or_else_the_mapping_does(shop, api, warehouse):
    mixed, order = map(warehouse.quote, ("MiXed", "order"))
    shop.make(f"customer_id varchar(9), {mixed} integer, {order} integer", "'c1', 1, 2")
    shop.manifest({**MAPPING, "fields": {"user_id": "$CUSTOMER_ID", "traits": "$*"}})
    shop.run()
    assert api.calls()[0]["traits"] == {"CUSTOMER_ID": "c1", "MiXed": 1, "order": 2}


def test_a_column_that_is_not_there_is_named_with_those_that_are(shop, api):
    shop.fill(("c1", "", ""))
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"email": "$e_mail"}}})
    result = shop.run()
    assert result.exit_code == 2
    assert "column 'e_mail' is not in" in result.output
    assert "customer_id" in result.output
    assert api.received == []


def test_models_and_mappings_of_the_longest_names_have_tables_of_their_own(shop, api, warehouse):
    names = [f"{LONGEST}{at}" for at in range(2)]
    shop.manifest(*({**MAPPING, "name": name} for name in names))
    shop.synced(("c1", "ada@example.com", "pro"))
    assert len(api.calls()) == 2
    views = f"{warehouse.state_schema}.information_schema" if warehouse.name == "bigquery" else "information_schema"
    tables = warehouse.query(f"select table_name from {views}.tables where table_schema = '{warehouse.state_schema}'")
    records = [name for (name,) in tables if name.startswith("records_")]
    assert len(records) == 2
    assert max(map(len, records)) == 63
    assert json.loads(shop.segconn("status", "--format", "json").output.splitlines()[0])["status"] == "success"
