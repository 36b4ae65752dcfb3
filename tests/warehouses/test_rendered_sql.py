"""Every statement of a sync in each dialect: equal to the reviewed text, and without faults for the lint.

`rendered/<adapter>.sql` has the statements. If the adapter is installed, a test renders them and compares;
REWRITE=1 writes them instead. The lint needs no adapter.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from standing import ADA, new_shop
from warehouses.sql_lint import lint

RENDERED = Path(__file__).parent / "rendered"
AT = datetime(2026, 1, 2, 3, 4, 5, 678000)  # noqa: DTZ001  as the state tables have it

# What is rendered and is no statement
VALUE = "segconn_written_types"

OUTPUTS = {
    "bigquery": {"method": "oauth", "project": "shop", "dataset": "marts"},
    "databricks": {"host": "127.0.0.1", "http_path": "/sql", "token": "none", "catalog": "shop", "schema": "marts"},
    "redshift": {"host": "127.0.0.1", "port": 1, "user": "u", "password": "p", "dbname": "shop", "schema": "marts"},
    "snowflake": {
        "account": "a",
        "user": "u",
        "password": "p",
        "database": "shop",
        "warehouse": "w",
        "schema": "marts",
    },
    "spark": {"method": "session", "host": "NA", "schema": "marts"},
}
DATABASES = {"spark": None}
# A data type for every value type, as the warehouse reports it
TYPES = {
    "bigquery": "INT64; NUMERIC(38,0); NUMERIC(12,2); BIGNUMERIC; FLOAT64; BOOL; STRING; DATE; DATETIME; TIMESTAMP; "
    "TIME; INTERVAL; JSON; STRUCT<`a` INT64, `b c` ARRAY<NUMERIC>>; ARRAY<STRING>; BYTES; GEOGRAPHY; "
    "ARRAY<STRUCT<`a` FLOAT64, `at` INTERVAL>>",
    "databricks": "bigint; decimal(38,0); decimal(12,2); float; double; boolean; string; date; timestamp_ntz; "
    "timestamp; array<string>; map<string,int>; struct<a:int>; variant; binary",
    "redshift": "bigint; numeric(38,0); numeric(12,2); real; double precision; boolean; character varying(9); "
    "character(9); date; timestamp without time zone; timestamp with time zone; time without time zone; super; "
    "varbyte; geometry; interval day to second",
    "snowflake": "NUMBER(38,0); NUMBER(12,2); FLOAT; BOOLEAN; TEXT; DATE; TIMESTAMP_NTZ; TIMESTAMP_LTZ; TIMESTAMP_TZ; "
    "TIME; VARIANT; OBJECT; ARRAY; BINARY",
    "spark": "bigint; decimal(38,0); decimal(12,2); float; double; boolean; string; date; timestamp_ntz; timestamp; "
    "array<string>; map<string,int>; struct<a:int>; binary",
}


# Value types of consent columns
_CONSENT_TYPES = frozenset({"integer", "whole", "boolean", "text", "json"})


@pytest.fixture(params=sorted(OUTPUTS))
def adapter(request):
    if find_spec(f"dbt.adapters.{request.param}") is None or (request.param == "spark" and not find_spec("pyspark")):
        pytest.skip(f"dbt-{request.param} is not installed: tests/warehouses/run.sh installs it")
    return request.param


@pytest.fixture
def session(adapter, tmp_path, monkeypatch):
    """A session that records statements instead of executing them."""
    from dbt_segconn.engine.opening import Options, resolve_context
    from dbt_segconn.state.tables import SYNC_COLUMNS
    from dbt_segconn.warehouse.adapter import open_warehouse
    from dbt_segconn.warehouse.session import Session

    shop = new_shop(tmp_path, "http://127.0.0.1:9", {"type": adapter, **OUTPUTS[adapter]})
    shop.rows(ADA)
    shop.dbt("parse")
    manifest = json.loads((shop.dir / "target/manifest.json").read_text())
    warehouse = open_warehouse(resolve_context(Options(project_dir=shop.dir, profiles_dir=shop.dir)), manifest)
    session = Session(warehouse._adapter)
    # Databricks' macros query the cluster's version
    monkeypatch.setattr(warehouse._adapter, "compare_dbr_version", lambda *_: 1, raising=False)
    render, statements = Session.render, []

    def rendered(self, macro, **arguments):
        sql = render(self, macro, **arguments)
        statements.append((macro, sql))
        return sql

    def paged(self, macro, _numbers, **arguments):
        return lambda **numbers: self.rows(macro, **arguments, **numbers)

    monkeypatch.setattr(Session, "render", rendered)
    monkeypatch.setattr(Session, "paged", paged)
    monkeypatch.setattr(Session, "page", lambda _self, query, **numbers: query(**numbers))
    monkeypatch.setattr(Session, "transaction", lambda _self: nullcontext())
    monkeypatch.setattr(Session, "_execute", lambda _self, _sql: None)
    monkeypatch.setattr(Session, "_fetch", lambda _self, _sql: [(0,) * len(SYNC_COLUMNS)])
    monkeypatch.setattr(Session, "columns", lambda _self, _relation: {})
    monkeypatch.setattr(Session, "names_beside", lambda _self, _relation: {"syncs"})
    return SimpleNamespace(session=session, statements=statements)


def do_everything(session, adapter):  # noqa: PLR0915  a list of steps
    """Run every step of a sync that sends statements."""
    from dbt_segconn.project.settings import StateSettings
    from dbt_segconn.state.diff import ResendChoice
    from dbt_segconn.state.outbox import Id, MappingTables
    from dbt_segconn.state.outcomes import all_discards, discard_reasons, open_discards
    from dbt_segconn.state.tables import (
        ALERT_COLUMNS,
        DELIVERY_COLUMNS,
        DISCARD_COLUMNS,
        LOCK_COLUMNS,
        SETTLED,
        SYNC_COLUMNS,
        AlertRow,
        DiscardRow,
        HistoryRow,
        State,
    )
    from dbt_segconn.warehouse.source import Column, Source, value_type_of

    database = DATABASES.get(adapter, "shop")
    state = State(session, StateSettings(deliveries={"keep": "90 days"}), database)
    tables = MappingTables(state, "customers_identify_0123abcd")
    types = TYPES[adapter].split("; ")
    columns = [
        Column(f"column_{at}", f"column {at}", name, f"c{at}", value_type_of(name, adapter), "Europe/Berlin")
        for at, name in enumerate(types, start=1)
    ]
    exact = [
        Column("e", "exact", name, "e1", value_type_of(name, adapter, exact_decimals=True))
        for name in types
        if "(12,2)" in name
    ]
    identifier = (replace(columns[0], alias=""), Column("id", "Customer's id", "varchar", "", "text"))
    source = Source(session.relation(database, "marts", "customers"), identifier, (*columns, *exact), "0123abcd")
    meta = SimpleNamespace(sync_mode=("added", "updated"), checkpoint=None, changed_columns=False)
    model = SimpleNamespace(is_stored=True)
    mapping = SimpleNamespace(
        definition="0123456789abcdef",
        model=model,
        meta=meta,
        consent={},
        skips_unknown_consent=False,
    )
    few = replace(
        source, columns=tuple({one.value_type: one for one in columns if one.value_type in _CONSENT_TYPES}.values())
    )
    consent = {"consent": {one.key: one.key for one in few.columns}, "skips_unknown_consent": True}
    with_consent = SimpleNamespace(**vars(mapping) | consent)
    with_hashes = SimpleNamespace(
        **vars(with_consent) | {"meta": SimpleNamespace(**vars(meta) | {"changed_columns": True})}
    )
    texts = ("running", "0123456789abcdef", "0123abcd", "i-1", None)
    log = HistoryRow(
        "s-1",
        1,
        tables.mapping_id,
        "model.shop.customers",
        "customers.it's",
        "app",
        "identify",
        "added,updated",
        *texts,
        AT,
        AT,
    )
    discard = DiscardRow(
        "s-1", tables.mapping_id, "customers.it's", "0123456789abcdef", "c\\1", "added", "f00", "wasn't\nright", AT
    )

    session.set_up()
    session.render("segconn_grant", relation=state.syncs)
    for relation, columns_of_table in (
        (state.history, SYNC_COLUMNS),
        (state.discards, DISCARD_COLUMNS),
        (state.locks, LOCK_COLUMNS),
        (state.alerts, ALERT_COLUMNS),
    ):
        session.run("segconn_create_table", relation=relation, columns=columns_of_table)
    session.run("segconn_create_deliveries", relation=state.deliveries, columns=DELIVERY_COLUMNS)
    session.run("segconn_add_column", relation=state.history, name="sent", column_type="number")
    session.run("segconn_create_syncs_view", relation=state.syncs, history=state.history, columns=list(SYNC_COLUMNS))
    session.run("segconn_drop_view", relation=state.syncs)
    session.run("segconn_drop_schema", relation=state.syncs)
    session.rows("segconn_select_now")
    state.append(state.history, [log])
    state.append(state.discards, [discard])
    state.append(
        state.alerts, [AlertRow(tables.mapping_id, "example.com 0123abcd", "customers.it's", "failed", AT, AT)]
    )
    webhooks = ["example.com 0123abcd", "example.org 4567cdef"]
    session.rows("segconn_last_alerts", alerts=state.alerts, columns=list(ALERT_COLUMNS), webhooks=webhooks)
    session.rows("segconn_last_ends", syncs=state.syncs, settled=SETTLED)
    for read in (state.last_syncs, lambda: state.newest(10), lambda: state.last_sync(tables.mapping_id)):
        read()
    state.has_settled(tables.mapping_id)
    state.claim({tables.mapping_id: "t-1", "orders_0123abcd": "t-2"}, "host process 1")
    state.claims([tables.mapping_id])
    state.is_claimed("token")
    state.beat(["t-1"])
    state.release(["t-1"])
    tables.create_records()
    tables.known()
    tables.preview(mapping, source, ["added", "updated"], 5)
    tables.stage(mapping, source)
    tables.stage(with_consent, few)
    tables.count_held_back(with_consent, few)
    tables.sample(mapping, few, 3, 1000)
    diff = replace(tables.diff(mapping, few), records=tables.records)
    session.rows("segconn_count_diff", diff=diff)
    session.rows("segconn_count_few_records", tables=[tables.records] * 2, most=20_001)
    asking = replace(tables.diff(with_consent, few), records=tables.records, discards=None)
    session.rows("segconn_count_work", diffs=[diff, replace(diff, discards=None), asking])
    session.rows("segconn_mappings_with_discards", discards=state.discards)
    session.rows("segconn_describe_relations", relations=[source.relation] * 2)
    naming = [{"diff": diff, "users": [few.columns[0].alias, "record_id"], "change_types": ["added"]}]
    session.rows("segconn_count_users", naming=naming * 2, known=[*naming, {**naming[0], "users": ["record_id"]}])
    session.rows("segconn_read_one", relation=source.relation)
    state.spent(AT, besides="i-1")
    stage_windows(state, tables, mapping, replace(source, columns=(columns[0],)), columns)
    session.rows("segconn_count_changes", outbox=tables.outbox)
    tables.count_lost(source, ["added", "updated"])
    ids = [Id("user_id", ("c1",), True, ()), Id("group_id", ("c7", "record_id"), False, ("null", ""))]
    tables.doubtful_ids(ids, ids, ["added", "updated"], 5)
    tables.read(columns, ["added", "updated"], 0, 20_000)
    tables.read(few.columns, ["added"], 0, 20_000, [3, 5])
    for keeps_null in (True, False):
        if call := written_call(columns, tables.written_types(), keeps_null=keeps_null):
            tables.read_calls(tables.query_calls(call, ["added", "updated"]), 0, 20_000, 100)
    session.rows("segconn_describe_changes", outbox=tables.outbox, numbers=[1, 2])
    tables.discards.append_repeated(tables.outbox, log)
    tables.discards.count()
    open_discards(state, 10)
    discard_reasons(state, 10)
    all_discards(state, 10)
    tables.deliveries.log(replace(log, message_prefix="0f-"), AT)
    tables.settle(log, log)
    tables.deliveries.log(log, AT, upto=7)
    tables.abandon(log)
    session.run("segconn_prune_deliveries", deliveries=state.deliveries, before=AT, days=["2025-12-31", "2026-01-01"])
    for choice in ({"record_ids": ("c'1", "c2")}, {"sync_id": "s-1"}, {"where": "1 = 1 -- all"}):
        resend_records(state, mapping, few, log, ResendChoice(**choice))
    compare_hashes(session, tables, with_hashes, source, few)
    tables.hashes._are_in = lambda _relation: True
    tables.deliveries.log(log, AT, few)
    tables.settle(log, log, with_hashes=True)
    session.rows("segconn_delivery_days", deliveries=state.deliveries)
    session.rows(
        "segconn_past_of_record",
        deliveries=state.deliveries,
        syncs=state.syncs,
        discards=state.discards,
        mapping_id=tables.mapping_id,
        record_id="c\\1",
    )
    tables.forget(None, log)


def resend_records(state, mapping, source, row, choice):
    """Count the records of a choice, preview them, and mark them."""
    from dbt_segconn.state.checkpoint import Window
    from dbt_segconn.state.outbox import MappingTables, Resend

    tables = MappingTables(state, "customers_identify_0123abcd", choice)
    diff = replace(tables.diff(mapping, source), records=tables.records)
    resend = Resend(state, tables, diff)
    resend.count()
    if not choice.record_ids:
        resend.count_chosen()
    state.session.rows("segconn_count_diff", diff=replace(diff, window=Window(source.columns[0], 7)))
    resend.mark(row, SimpleNamespace(confirm=lambda: None))


def written_call(columns, value_types, *, keeps_null):
    """Return how a warehouse writes the calls of a mapping that reads all columns that it can write."""
    from dbt_segconn.engine.calls import find_written_call
    from dbt_segconn.mapping.compiler import expand

    known = {one.value_type: one for one in columns if one.value_type in value_types}
    traits = {one.key: f"${one.key}" for one in columns if one.value_type in value_types}
    if not known:
        return None
    time, text = known["timestamp"].key, known["text"].key
    ids = {"user_id": "$__segment_id", "anonymous_id": f"${text}", "timestamp": f"${time}"}
    template = f"it's ${{{text}}}\n\\"
    fields = {**ids, "locale": f"${text}", "traits": {**traits, "text": template}}
    mapping = SimpleNamespace(
        meta=SimpleNamespace(action="identify", sync_null_values=keeps_null, order_by=None),
        integrations={"All": False},
        fields=expand({"consent": {"@path": "$.context.consent"}, **fields}),
        consent={"ads": known["boolean"].key, "mail": text, "score": known["whole"].key},
        uses_segment_id=True,
    )
    call = find_written_call(mapping, columns, "prefix-", value_types)
    assert call
    return call


def compare_hashes(session, tables, with_hashes, source, few):
    """Stage column hashes, and compare them in an outbox and in a diff."""
    tables.stage(with_hashes, source)
    diff = replace(tables.diff(with_hashes, few), records=tables.records)
    arguments = {"records": tables.records, "names": source.names}
    columns = [column.key for column in few.columns]
    session.rows("segconn_count_changed_columns", outbox=tables.outbox, diff=None, **arguments, columns=columns)
    session.rows("segconn_changed_records", diff=diff, **arguments, record_ids=["c1"])


def stage_windows(state, tables, mapping, source, columns):
    """Read from a checkpoint in each column that can have one."""
    from dbt_segconn.state.checkpoint import Window
    from dbt_segconn.warehouse.source import TIMES, WHOLE_NUMBERS

    session = state.session
    state.last_records(tables.mapping_id)
    tables._has_unsettled()
    session.rows("segconn_newest", model=source.relation, column=columns[0], window=None)
    for column in (one for one in columns if one.value_type in TIMES | WHOLE_NUMBERS):
        after = 41 if column.value_type in WHOLE_NUMBERS else str(AT.date() if column.value_type == "date" else AT)
        session.rows("segconn_newest", model=source.relation, column=column, window=Window(column, after))
        if column.value_type == "timestamp":
            tables.stage(mapping, source, Window(column, after, with_unsettled=True))
            session.rows(
                "segconn_newest", model=source.relation, column=column, window=Window(column, None, before=after)
            )


def tidied(sql):
    return "\n".join(line.rstrip() for line in sql.splitlines() if line.strip())


def test_every_statement_is_the_one_that_was_reviewed(session, adapter):
    do_everything(session.session, adapter)
    text = "".join(f"-- {macro}\n{tidied(sql)};\n\n" for macro, sql in session.statements if sql and macro != VALUE)
    path = RENDERED / f"{adapter}.sql"
    if os.environ.get("REWRITE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


MODELS = {"redshift": '"shop"."marts"."customers"', "snowflake": "shop.marts.customers", "spark": "marts.customers"}


def model(name):
    """Return the model's table as it is named in the dialect, and its columns."""
    mark = '"' if name in {"redshift", "snowflake"} else "`"
    types = TYPES[name].split("; ")
    names = [f"column {at}" for at in range(1, len(types) + 1)]
    columns = dict(zip(names, types, strict=True)) | {"exact": "decimal(12,2)", "Customer's id": "varchar"}
    return MODELS.get(name, "`shop`.`marts`.`customers`"), {f"{mark}{key}{mark}": of for key, of in columns.items()}


def statements(name, *macros):
    """Return the rendered statements of these macros, or of all."""
    text = (RENDERED / f"{name}.sql").read_text()
    every = [(one.partition("\n")[0].removeprefix("-- "), one) for one in text.split(";\n\n") if one.strip()]
    # sqlglot has no syntax of grants and settings, and no table of the catalog
    unread = {"segconn_grant", "segconn_open_session", "segconn_optional_settings"}
    return [one for macro, one in every if macro in (macros or {macro}) and macro not in unread]


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_dialect_accepts_every_statement(name):
    every = statements(name)
    assert len(every) > 30
    assert lint(every, name, dict([model(name)])) == []


def test_lint_finds_the_mixed_times_of_g4():
    """The first version of this statement compared DATETIME with TIMESTAMP."""
    every = statements("bigquery", "segconn_create_table", "segconn_create_syncs_view", "segconn_count_settled")
    assert "1970-01-01' as datetime" in every[-1]
    every[-1] = every[-1].replace("'1970-01-01' as datetime", "'1970-01-01' as timestamp")
    found = lint(every, "bigquery", {})
    assert len(found) == 2, "the default, and the comparison with it"
    assert all("count_settled: mixed time types (naive time, zoned time): " in fault for fault in found)


@pytest.mark.parametrize(
    ("name", "sql", "fault"),
    [
        ("bigquery", "select `column 9` > `column 10` from {}", "mixed time types (naive time, zoned time)"),
        (
            "bigquery",
            "select case when true then `column 8` else `column 9` end from {}",
            "mixed time types (date, naiv",
        ),
        ("bigquery", "select coalesce(`column 7`, `column 1`) from {}", "mixed types (number, text)"),
        ("bigquery", "select 1 from {} where `column 7` in (select `column 1` from {})", "mixed types (number, text)"),
        ("bigquery", "select format_datetime(`column 7`, `column 9`) from {}", "the format is not constant"),
        ("bigquery", "select cast(`column 13` as string) from {}", "bigquery cannot cast json to text"),
        ("bigquery", "select cast(`column 14` as string) from {}", "bigquery cannot cast object to text"),
        ("bigquery", "select cast(`column 17` as string) from {}", "bigquery cannot cast place to text"),
        ("bigquery", "select to_char(`column 9`, 'YYYY') from {}", "bigquery has no function to_char"),
        ("bigquery", "select sysdate from {}", "'sysdate' could not be resolved"),
        ("redshift", 'select cast("column 6" as varchar) from {}', "redshift cannot cast boolean to text"),
        ("redshift", 'select to_hex("column 1") from {}', "redshift has no function to_hex"),
        ("snowflake", 'select "column 7" = "column 9" from {}', "mixed time types (naive time, zoned time)"),
        ("snowflake", 'select to_varchar("column 7", "column 5") from {}', "the format is not constant"),
        ("databricks", "select `column 9` = `column 10` from {}", "mixed time types (naive time, zoned time)"),
        ("databricks", "select to_varchar(`column 9`) from {}", "databricks has no function to_varchar"),
    ],
)
def test_lint_finds(name, sql, fault):
    table, columns = model(name)
    (found,) = lint([sql.replace("{}", table)], name, {table: columns})
    assert fault in found
