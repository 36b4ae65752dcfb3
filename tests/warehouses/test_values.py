"""Every value that a warehouse holds becomes the same JSON, wherever it is and whatever the session's settings."""

from __future__ import annotations

import json
import time

import pytest
from standing import MAPPING

ALL = {
    **MAPPING,
    "fields": {"user_id": "$customer_id", "traits": "$*"},
    "guards": {"allow_junk_ids": True},  # a record is called as its value: null
}

# what it is: {warehouse: (type, SQL of a value)}, JSON. `both` stands for warehouses that say it alike.
VALUES = {
    "beyond_2_53": ({"both": ("bigint", "9007199254740993")}, 9007199254740993),
    "smallest": ({"both": ("bigint", "-9223372036854775808")}, -9223372036854775808),
    "beyond_2_64": (
        {"both": ("numeric(38,0)", "12345678901234567890123456789012345678")},
        12345678901234567890123456789012345678,
    ),
    "a_sum": (
        {"duckdb": ("hugeint", "9007199254740993"), "postgres": ("numeric", "9007199254740993")},
        9007199254740993,
    ),
    "price": ({"both": ("numeric(12,2)", "12.50")}, 12.5),
    "long_decimal": ({"both": ("numeric(38,20)", "123456789012345678.90123456789012345678")}, 123456789012345680.0),
    "double": ({"both": ("double precision", "1e21")}, 1e21),
    "tenth": ({"both": ("real", "0.1")}, 0.1),
    "nan": ({"both": ("double precision", "'NaN'")}, None),
    "infinite": ({"both": ("real", "'-Infinity'")}, None),
    "flag": ({"both": ("boolean", "true")}, True),
    "zip": ({"both": ("varchar(10)", "'00123'")}, "00123"),
    "truth": ({"both": ("text", "'true'")}, "true"),
    "empty": ({"both": ("text", "''")}, ""),
    "emoji": ({"both": ("text", "'Zoë 👩‍🚀 \\ \" '' <&>'")}, "Zoë 👩‍🚀 \\ \" ' <&>"),
    "lines": ({"both": ("text", "chr(9) || chr(10) || chr(13)")}, "\t\n\r"),
    "padded": ({"both": ("char(5)", "'ab'")}, "ab"),
    "day": ({"both": ("date", "'2024-02-29'")}, "2024-02-29"),
    "at": ({"both": ("timestamp", "'2024-02-29 12:00:00'")}, "2024-02-29T12:00:00.000Z"),
    "at_micros": ({"both": ("timestamp", "'2024-02-29 12:00:00.123456'")}, "2024-02-29T12:00:00.123456Z"),
    "at_zone": ({"both": ("timestamptz", "'2024-02-29 12:00:00.5+02'")}, "2024-02-29T10:00:00.500Z"),
    "at_last": ({"both": ("timestamp", "'9999-12-31 23:59:59.999'")}, "9999-12-31T23:59:59.999Z"),
    "day_bc": ({"duckdb": ("date", "'0044-03-15 (BC)'"), "postgres": ("date", "'0044-03-15 BC'")}, "-0043-03-15"),
    "day_1_bc": ({"duckdb": ("date", "'0001-03-15 (BC)'"), "postgres": ("date", "'0001-03-15 BC'")}, "0000-03-15"),
    "at_bc": (
        {"duckdb": ("timestamp", "'0044-03-15 (BC) 12:00:00'"), "postgres": ("timestamp", "'0044-03-15 12:00:00 BC'")},
        "-0043-03-15T12:00:00.000000Z",
    ),
    "day_never": ({"both": ("date", "'infinity'")}, None),
    "at_never": ({"both": ("timestamptz", "'-infinity'")}, None),
    "hour": ({"both": ("time", "'12:34:56.5'")}, "12:34:56.5"),
    "took": ({"both": ("interval", "'14 months 3 days 4 hours 5 minutes 6.5 seconds'")}, "P1Y2M3DT4H5M6.5S"),
    "took_back": ({"both": ("interval", "'-14 months -90.5 seconds'")}, "P-1Y-2MT-1M-30.5S"),
    "took_nothing": ({"both": ("interval", "'0 seconds'")}, "PT0S"),
    "uuid": ({"both": ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'")}, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "doc": (
        {"both": ("json", """'{"b": {"c": [1, null, 1.50]}, "a": 12345678901234567890123}'""")},
        {"b": {"c": [1, None, 1.5]}, "a": 12345678901234567890123},
    ),
    "doc_text": ({"both": ("text", """'{"a": 1}'""")}, '{"a": 1}'),
    "words": ({"both": ("text[]", "array['x', null, 'a\"b']")}, ["x", None, 'a"b']),
    "numbers": ({"both": ("integer[]", "array[1, 2]")}, [1, 2]),
    "nan_inside": (
        {"both": ("double precision[]", "array['0.5', 'NaN', '-Infinity']::double precision[]")},
        [0.5, None, None],
    ),
    "bytes": ({"duckdb": ("blob", r"'\x00\xFFa'"), "postgres": ("bytea", r"'\x00ff61'")}, "AP9h"),
    "mood": ({"both": ("mood", "'sad'")}, "sad"),
    "person": ({"both": ("person", "row('Ada', 36)")}, {"name": "Ada", "age": 36}),
    "missing": ({"both": ("integer", "null")}, None),
}

# What only one of them has
OWN = {
    "duckdb": {
        "nul": ("varchar", "'a' || chr(0) || 'b'", "a\0b"),
        "map": ("map(varchar, integer)", "map {'a': 1}", {"a": 1}),
        "union": ("union(number integer, word varchar)", "union_value(word := 'x')", {"word": "x"}),
        "tiny": ("utinyint", "255", 255),
        "nanos": ("timestamp_ns", "'2024-02-29 12:00:00.123456400'", "2024-02-29T12:00:00.123456Z"),
        "seconds": ("timestamp_s", "'2024-02-29 12:00:00'", "2024-02-29T12:00:00.000Z"),
        "bits": ("bit", "'101'", "101"),
    },
    "postgres": {
        "document": ("jsonb", """'{"b": [1.50], "a": null}'""", {"a": None, "b": [1.5]}),
        "document_nul": ("json", r"""'{"a": "\u0000"}'""", {"a": "\0"}),
        "document_null": ("jsonb", "'null'", None),
        "grid": ("integer[][]", "array[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        "range": ("int4range", "'[1,5)'", "[1,5)"),
        "span": ("tstzrange", "'[2024-01-01 12:00:00+02,)'", '["2024-01-01 10:00:00+00",)'),
        "cash": ("money", "'12.50'", 12.5),
        "precise": ("numeric", "0.10", 0.1),
        "whole": ("numeric", "12.00", 12),
        "not_a_number": ("numeric(10,2)", "'NaN'", None),
        "not_whole": ("numeric(10,0)", "'NaN'", None),
        "enormous": ("numeric", "1e400 + 0.5", None),
        "address": ("inet", "'192.168.0.1/24'", "192.168.0.1/24"),
        "bits": ("bit varying", "'101'", "101"),
        "place": ("point", "'(1,2)'", "(1,2)"),
        "hour_zone": ("timetz", "'12:34:56+02'", "12:34:56+02"),
        "postcode": ("postcode", "'00123'", "00123"),
        "took_forever": ("interval", "'infinity'", None),
    },
}
SETUP = {
    "duckdb": [
        "create type mood as enum ('sad', 'happy')",
        "create type person as struct(name text, age integer)",
    ],
    "postgres": [
        "create type mood as enum ('sad', 'happy')",
        "create type person as (name text, age integer)",
        "create domain postcode as varchar(5)",
    ],
}
# Values that JSON cannot hold
LOST = {"duckdb": 4, "postgres": 7}


# The same values in the words of warehouses that have no such types; `own` are those that VALUES lacks
SAID = {
    "spark": {
        "beyond_2_53": "cast(9007199254740993 as bigint)",
        "smallest": "cast('-9223372036854775808' as bigint)",
        "beyond_2_64": "cast('12345678901234567890123456789012345678' as decimal(38,0))",
        "price": "cast('12.50' as decimal(12,2))",
        "long_decimal": "cast('123456789012345678.90123456789012345678' as decimal(38,20))",
        "double": "cast('1e21' as double)",
        "tenth": "cast('0.1' as float)",
        "nan": "cast('NaN' as double)",
        "infinite": "cast('-Infinity' as float)",
        "flag": "true",
        "zip": "'00123'",
        "truth": "'true'",
        "empty": "''",
        "emoji": r"""'Zoë 👩‍🚀 \\ " \' <&>'""",
        "lines": r"'\t\n\r'",
        "day": "date'2024-02-29'",
        "at": "timestamp_ntz'2024-02-29 12:00:00'",
        "at_micros": "timestamp_ntz'2024-02-29 12:00:00.123456'",
        "at_zone": "timestamp'2024-02-29 12:00:00.5+02:00'",
        "at_last": "timestamp_ntz'9999-12-31 23:59:59.999'",
        "doc_text": """'{"a": 1}'""",
        "words": """array('x', null, 'a"b')""",
        "numbers": "array(1, 2)",
        "nan_inside": "array(0.5D, double('NaN'), double('-Infinity'))",
        "bytes": "X'00FF61'",
        "person": "named_struct('name', 'Ada', 'age', 36)",
        "missing": "cast(null as int)",
    },
    "bigquery": {
        "beyond_2_53": "9007199254740993",
        "smallest": "-9223372036854775808",
        "price": "numeric '12.50'",
        "double": "1e21",
        "nan": "cast('NaN' as float64)",
        "infinite": "cast('-inf' as float64)",
        "flag": "true",
        "zip": "'00123'",
        "truth": "'true'",
        "empty": "''",
        "emoji": r"""'Zoë 👩‍🚀 \\ " \' <&>'""",
        "lines": r"'\t\n\r'",
        "day": "date '2024-02-29'",
        "at": "datetime '2024-02-29 12:00:00'",
        "at_micros": "datetime '2024-02-29 12:00:00.123456'",
        "at_zone": "timestamp '2024-02-29 12:00:00.5+02:00'",
        "at_last": "datetime '9999-12-31 23:59:59.999'",
        "hour": "time '12:34:56.5'",
        "took": "interval '1-2 3 4:5:6.5' year to second",
        "took_back": "interval '-1-2 0 -0:1:30.5' year to second",
        "took_nothing": "interval 0 day",
        "doc_text": """'{"a": 1}'""",
        "numbers": "[1, 2]",
        "nan_inside": "[0.5, cast('NaN' as float64), cast('-inf' as float64)]",
        "bytes": "from_hex('00ff61')",
        "person": "struct('Ada' as name, 36 as age)",
        "missing": "cast(null as int64)",
    },
    "snowflake": {
        "beyond_2_53": "cast(9007199254740993 as number(38,0))",
        "smallest": "cast('-9223372036854775808' as number(38,0))",
        "price": "cast('12.50' as number(12,2))",
        "long_decimal": "cast('123456789012345678.90123456789012345678' as number(38,20))",
        "double": "cast('1e21' as float)",
        "nan": "cast('NaN' as float)",
        "infinite": "cast('-inf' as float)",
        "flag": "true",
        "zip": "'00123'",
        "truth": "'true'",
        "empty": "''",
        "emoji": r"""'Zoë 👩‍🚀 \\ " \' <&>'""",
        "lines": r"'\t\n\r'",
        "day": "cast('2024-02-29' as date)",
        "at": "cast('2024-02-29 12:00:00' as timestamp_ntz)",
        "at_micros": "cast('2024-02-29 12:00:00.123456' as timestamp_ntz)",
        "at_zone": "cast('2024-02-29 12:00:00.5 +0200' as timestamp_tz)",
        "doc": """parse_json('{"b": {"c": [1, null, 1.50]}, "a": 12345678901234567890123}')""",
        "doc_text": """'{"a": 1}'""",
        "numbers": "array_construct(1, 2)",
        "bytes": "to_binary('00FF61', 'HEX')",
        "person": "object_construct('name', 'Ada', 'age', 36)",
        "missing": "cast(null as integer)",
    },
    "redshift": {
        "beyond_2_53": "cast('9007199254740993' as bigint)",
        "smallest": "cast('-9223372036854775808' as bigint)",
        "beyond_2_64": "cast('12345678901234567890123456789012345678' as numeric(38,0))",
        "price": "cast('12.50' as numeric(12,2))",
        "long_decimal": "cast('123456789012345678.90123456789012345678' as numeric(38,20))",
        "double": "cast('1e21' as double precision)",
        "tenth": "cast('0.1' as real)",
        "nan": "cast('NaN' as double precision)",
        "infinite": "cast('-Infinity' as real)",
        "flag": "true",
        "zip": "cast('00123' as varchar(10))",
        "truth": "cast('true' as varchar(10))",
        "empty": "cast('' as varchar(10))",
        "emoji": r"""cast('Zoë 👩‍🚀 \ " '' <&>' as varchar(60))""",
        "lines": r"cast(E'\t\n\r' as varchar(9))",
        "padded": "cast('ab' as char(5))",
        "day": "cast('2024-02-29' as date)",
        "at": "cast('2024-02-29 12:00:00' as timestamp)",
        "at_micros": "cast('2024-02-29 12:00:00.123456' as timestamp)",
        "at_zone": "cast('2024-02-29 12:00:00.5+02' as timestamptz)",
        "at_last": "cast('9999-12-31 23:59:59.999' as timestamp)",
        "day_bc": "cast('0044-03-15 BC' as date)",
        "day_1_bc": "cast('0001-03-15 BC' as date)",
        "at_bc": "cast('0044-03-15 12:00:00 BC' as timestamp)",
        "hour": "cast('12:34:56.5' as time)",
        "took": "cast('14 months 3 days 4 hours 5 minutes 6.5 seconds' as interval)",
        "doc": """cast('{"b": {"c": [1, null, 1.50]}, "a": 12345678901234567890123}' as super)""",
        "doc_text": """cast('{"a": 1}' as varchar(20))""",
        "words": r"""cast('["x", null, "a\"b"]' as super)""",
        "bytes": r"cast('\x00ff61' as varbyte)",
        "missing": "cast(null as integer)",
    },
}
LOST |= {"spark": 2, "snowflake": 2, "redshift": 2, "bigquery": 2}


def say(warehouse):
    """Return the columns of the model: name → (type, SQL of a value, its JSON); no type where the value has it."""
    name = warehouse.name
    if name in SAID:
        return {key: (None, sql, VALUES[key][1]) for key, sql in SAID[name].items()}
    shared = {key: (*(says.get(name) or says["both"]), expected) for key, (says, expected) in VALUES.items()}
    return {**shared, **OWN[name]}


@pytest.fixture
def matrix(shop, warehouse):
    """A model with a column for each kind of value: one record has them all, the other only nulls."""
    for statement in SETUP.get(warehouse.name, ()):
        warehouse.execute(statement)
    columns = say(warehouse)
    if warehouse.name in SAID:
        values = ", ".join(f"{sql} as {warehouse.quote(key)}" for key, (_, sql, _) in columns.items())
        warehouse.execute(
            f"create table {warehouse.schema}.customers {warehouse.storage} as select 'full' as customer_id, {values} "
            f"union all select 'null', {', '.join('null' for _ in columns)}"
        )
    else:
        shop.make(
            ", ".join(["customer_id varchar(9)", *(f'"{key}" {kind}' for key, (kind, _, _) in columns.items())]),
            ", ".join(["'full'", *(sql for _, sql, _ in columns.values())]),
            ", ".join(["'null'", *("null" for _ in columns)]),
        )
    shop.manifest(ALL)
    return {key: expected for key, (_, _, expected) in columns.items()}


def traits(api):
    return {
        call["userId"]: {key: v for key, v in call["traits"].items() if key.lower() != "customer_id"}
        for call in api.calls()
    }


def test_every_kind_of_value_arrives_as_the_same_json(shop, api, warehouse, matrix):
    result = shop.run()
    assert result.exit_code == 0, result.output
    arrived = traits(api)
    assert {key: value for key, value in arrived["full"].items() if value != matrix[key]} == {}
    assert list(arrived["full"]) == sorted(matrix)
    whole = {"beyond_2_53", "beyond_2_64", "a_sum"} & set(matrix)
    assert {type(arrived["full"][key]) for key in whole} == {int}
    assert set(arrived["null"].values()) == {None}
    assert f"{LOST[warehouse.name]} values that JSON cannot hold (NaN, infinity): sent as null" in result.output


# Settings of another client of a pooler, on the connection of each transaction
OF_OTHERS = {
    "TimeZone": "America/St_Johns",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "extra_float_digits": "-3",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "search_path": "nowhere",
}


def share_by_a_pooler(monkeypatch):
    """Give each transaction a connection with those settings, and check that it leaves them as they were."""
    from dbt.adapters.sql import SQLConnectionManager

    begin, commit = SQLConnectionManager.begin, SQLConnectionManager.commit
    ended = []

    def handed_over(manager):
        handle = manager.get_thread_connection().handle
        with handle.cursor() as cursor:
            for name, value in OF_OTHERS.items():
                cursor.execute("select set_config(%s, %s, false)", (name, value))
        handle.commit()
        return begin(manager)

    def given_back(manager):
        connection = commit(manager)
        with connection.handle.cursor() as cursor:
            cursor.execute("select " + ", ".join(f"current_setting('{name}')" for name in OF_OTHERS))
            ended.append(cursor.fetchone())
        connection.handle.commit()
        return connection

    monkeypatch.setattr(SQLConnectionManager, "begin", handed_over)
    monkeypatch.setattr(SQLConnectionManager, "commit", given_back)
    return ended


def test_checksums_depend_on_no_session_and_no_machine(shop, api, warehouse, matrix, monkeypatch):
    shop.run()
    before = traits(api)
    if warehouse.name in SAID:
        pytest.skip("its sessions have one time zone, as the fixture starts them")
    warehouse.set_time_zone("America/St_Johns")
    ended = []
    with monkeypatch.context() as patch:
        if warehouse.name == "postgres":
            for setting in ("datestyle to 'German'", "intervalstyle to 'sql_standard'", "extra_float_digits to -3"):
                warehouse.execute(f"alter database {warehouse.database} set {setting}")
            assert warehouse.query("show timezone") == [("America/St_Johns",)]
            ended = share_by_a_pooler(patch)
        else:
            warehouse.settings |= {"Calendar": "buddhist", "integer_division": "true", "default_order": "DESC"}
        shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": {"dev": warehouse.output}}})
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        again = shop.run()
        afresh = shop.run("--full-refresh")
    time.tzset()
    assert "ADDED 0 UPDATED 0 DELETED 0" in again.output
    assert "ADDED 2" in afresh.output
    assert traits(api) == before
    assert set(ended) == ({tuple(OF_OTHERS.values())} if warehouse.name == "postgres" else set())


@pytest.mark.parametrize("warehouse", ["duckdb_file"], indirect=True)
def test_settings_of_a_duckdb_profile_change_neither_ids_nor_order(shop, api, warehouse):
    warehouse.settings |= {"default_collation": "NOCASE", "default_order": "DESC", "default_null_order": "nulls_first"}
    shop.write("profiles.yml", {"shop": {"target": "dev", "outputs": {"dev": warehouse.output}}})
    shop.manifest({**MAPPING, "fields": {"user_id": "$email", "traits": {"plan": "$plan"}}, "order_by": "plan"})
    columns = "customer_id varchar, email varchar, plan integer"
    shop.make(columns, "'a', 'ada', 1", "'A', 'ada', 3", "'c', 'ada', 2", "'d', 'ada', null")
    assert shop.run().exit_code == 0
    assert [call["traits"]["plan"] for call in api.calls()] == [None, 1, 2, 3]
    shop.make(columns, "'A', 'ada', 3", "'b', 'ada', 1", "'c', 'ada', 2", "'d', 'ada', null")
    assert "ADDED 1 UPDATED 0 DELETED 1" in shop.run().output


# What warehouses call a timestamp without a zone, one with a zone, and a double
TYPES = {
    "bigquery": ("datetime", "timestamp", "float64"),
    "spark": ("timestamp_ntz", "timestamp", "double"),
    "snowflake": ("timestamp_ntz", "timestamp_tz", "float"),
}


def fill(warehouse, **columns):
    """Make the model a table of one record, from SQL in which {naive}, {zoned} and {double} are types."""
    naive, zoned, double = TYPES.get(warehouse.name, ("timestamp", "timestamptz", "double precision"))
    values = ", ".join(f"{sql} as {name}" for name, sql in columns.items()).format(
        naive=naive, zoned=zoned, double=double
    )
    name = f"{warehouse.schema}.customers"
    warehouse.execute(
        f"create table {name} {getattr(warehouse, 'storage', '')} as select 'c1' as customer_id, {values}"
    )


def small(traits_of):
    return {key.lower(): value for key, value in traits_of["c1"].items()}


def test_decimals_keep_all_their_digits_as_text_when_asked(shop, api, warehouse):
    if warehouse.name == "bigquery":
        pytest.skip("it keeps no zeros at the end of decimals; test_bigquery.py has its own")
    fill(
        warehouse,
        price="cast('12.50' as decimal(12,2))",
        rate="cast('123456789012345678.90123456789012345678' as decimal(38,20))",
        total="cast('123456789012345678' as decimal(38,0))",
        share="cast('0.5' as {double})",
    )
    shop.manifest({**ALL, "decimals": "text"})
    shop.run()
    assert small(traits(api)) == {
        "price": "12.50",
        "rate": "123456789012345678.90123456789012345678",
        "total": 123456789012345678,
        "share": 0.5,
    }
    shop.manifest(ALL)
    assert "1 known records are sent again" in shop.run().output
    assert {key.lower(): value for key, value in api.calls()[-1]["traits"].items()}["price"] == 12.5


def test_naive_timestamps_use_declared_zone(shop, api, warehouse):
    fill(
        warehouse,
        summer="cast('2024-07-01 12:00:00.25' as {naive})",
        winter="cast('2024-01-01 00:30:00' as {naive})",
        zoned="cast('2024-07-01 12:00:00+00:00' as {zoned})",
        day="cast('2024-07-01' as date)",
    )
    shop.manifest(ALL, timezone="Europe/Berlin")
    shop.run()
    assert small(traits(api)) == {
        "summer": "2024-07-01T10:00:00.250Z",
        "winter": "2023-12-31T23:30:00.000Z",
        "zoned": "2024-07-01T12:00:00.000Z",
        "day": "2024-07-01",
    }


@pytest.mark.parametrize("warehouse", ["duckdb_file", "postgres"], indirect=True)
def test_hours_that_a_zone_skips_or_has_twice_are_read_alike(shop, api, warehouse):
    fill(
        warehouse,
        skipped="cast('2024-03-31 02:30:00' as {naive})",
        doubled="cast('2024-10-27 02:30:00' as {naive})",
        never="cast('infinity' as {naive})",
    )
    shop.manifest(ALL, timezone="Europe/Berlin")
    result = shop.run()
    assert small(traits(api)) == {
        "skipped": "2024-03-31T01:30:00.000Z",
        "doubled": "2024-10-27T01:30:00.000Z",
        "never": None,
    }
    assert "1 value that JSON cannot hold" in result.output


@pytest.mark.parametrize(("zone", "reason"), [("Europe/Berln", "Europe/Berlin"), ("'; drop", "must match pattern")])
def test_a_zone_that_nobody_knows_is_an_error_of_the_configuration(shop, zone, reason):
    shop.fill(("c1", "", ""))
    shop.manifest(ALL, timezone=zone)
    result = shop.run()
    assert result.exit_code == 2
    assert "timezone" in result.output
    assert reason in result.output


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)  # DuckDB refuses it itself
def test_json_text_that_is_not_unicode_is_discarded(shop, api):
    shop.make("customer_id varchar(9), doc json", r"""'c1', '{"a": "\ud800"}'""", "'c2', '{}'")
    shop.manifest(ALL)
    result = shop.run()
    assert result.exit_code == 1
    assert traits(api) == {"c2": {"doc": {}}}
    assert "UTF-8" in json.loads(shop.segconn("status", "--discards", "--format", "json").output)["reason"]
