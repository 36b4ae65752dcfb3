"""What BigQuery would scan for one mapping: in a first sync, with 0.1% of the records changed, and with no change.

usage: tests/warehouses/run.sh bigquery              (makes .venv-bigquery)
       .venv-bigquery/bin/python tests/bench/scanned.py
The syncs are real, on a server of local-bigquery, which reports no bytes. sqlglot finds the columns that a statement
reads; their sizes are those of BigQuery's types, scaled to RECORDS. As BigQuery counts: a column once for a statement,
all columns of a table from which it deletes, and at least 10 MB of each table of which it reads a column. A page reads
its part of the outbox, as if the blocks of a clustered table were as small as a page.
"""

from __future__ import annotations

import operator
import re
import sys
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlglot import exp, parse_one
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

sys.path.insert(0, str(Path(__file__).parents[1]))

from standing import WRITE_KEY, Api, new_shop, serving
from warehouses.bigquery_fake import BigQuery, serving_bigquery

import dbt_segconn
from dbt_segconn.engine import idle, ranges
from dbt_segconn.warehouse.session import Session

SMALLEST, PRICE = 10_000_000, 6.25 / 2**40
FIXED = {"BOOLEAN": 1, "DECIMAL(38,9)": 16, "DECIMAL(38,18)": 32}  # of other types but texts: 8
PER_PAGE = ("segconn_read_changes", "segconn_is_claimed")
GROWING = ("customers", "records_", "outbox_")
ROWS, RECORDS = 1_000, 1_000_000_000
SCALE = RECORDS / ROWS
MODEL = """
select 1000000000 + id as customer_id, format('Customer %05d', id) as full_name,
    format('customer%05d@mail.org', id) as email, timestamp '2026-01-01 12:00:00+00' as updated_at,
    date '2024-02-29' as signup_date, numeric '123.45' as lifetime_value, mod(id, 2) = 0 as is_subscribed,
    '+49151234567' as phone, if(id <= {changed}, 'yearly', 'annual') as plan, mod(id, 7) as order_count
from unnest(generate_array(1, {rows})) as id
"""
COLUMNS = re.findall(r"as (\w+)(?=,|\nfrom)", MODEL)
FIELDS = {"user_id": "$customer_id", "timestamp": "$updated_at", "traits": {name: f"${name}" for name in COLUMNS}}


def widths(cursor: Any, table: exp.Table) -> dict[str, int]:
    """Return the bytes of each column of a table."""
    rows = cursor.sql(f"select * from {table.catalog}.{table.db}.{table.name}")
    sums = [
        f"coalesce(sum(strlen({name}) + 2), 0)" if kind == "VARCHAR" else f"count({name}) * {FIXED.get(kind, 8)}"
        for name, kind in zip(rows.columns, map(str, rows.types), strict=True)
    ]
    (found,) = rows.aggregate(", ".join(sums)).fetchall()
    return dict(zip(rows.columns, map(int, found), strict=True))


def scanned(cursor: Any, sql: str) -> dict[str, int]:
    """Return the bytes that a statement reads of each table."""
    parsed = parse_one(sql, dialect="bigquery")
    query = parsed if isinstance(parsed, exp.Query) else parsed.args.get("expression")
    if isinstance(parsed, exp.Delete):
        query = exp.select("1").from_(parsed.this).where(parsed.args["where"].this)
    if not isinstance(query, exp.Query) or parsed.args.get("kind") == "VIEW":
        return {}
    tables = {one.name: one for one in query.find_all(exp.Table) if one.db}
    sizes = {name: widths(cursor, one) for name, one in tables.items()}
    schema = MappingSchema(dialect="bigquery")
    for name, one in tables.items():
        schema.add_table(one, dict.fromkeys(sizes[name], "string"), dialect="bigquery")
    read: dict[str, set[str]] = defaultdict(set)
    whole = qualify(query, dialect="bigquery", schema=schema, expand_alias_refs=False, quote_identifiers=False)
    for scope in traverse_scope(pushdown_projections(whole)):
        for column in scope.columns:
            if isinstance(source := scope.sources.get(column.table), exp.Table):
                read[source.name].add(column.name)
    if isinstance(parsed, exp.Delete):
        read[parsed.this.name] = set(sizes[parsed.this.name])
    return {table: sum(sizes[table][name] for name in names) for table, names in read.items()}


def pages(changes: float, width: float) -> int:
    """Return the number of pages of this many changes, with texts of `width` bytes in all."""
    most = min(ranges.PAGE, ranges.PAGE_VALUES // len(COLUMNS), ranges.PAGE_BYTES / width)
    size, count = ranges.FIRST_PAGE, 0
    while changes > 0:
        changes, size, count = changes - size, min(most, size * ranges.GROWTH), count + 1
    return count


def show(title: str, scans: list[Any], changes: int, width: float) -> None:
    """Print what the statements of a run scan. A scan is a macro, the change numbers of a page, and bytes by table."""
    times = Counter(macro for macro, _, _ in scans)
    more = pages(changes * SCALE, width) - times[PER_PAGE[0]]
    times += Counter(dict.fromkeys(PER_PAGE, more))
    last = max((page[1] for _, page, _ in scans if page), default=1)
    billed: dict[str, Counter[str]] = defaultdict(Counter)
    for macro, page, tables in scans:
        part = (page[1] - page[0]) / last if page else 1.0
        for table, size in tables.items():
            bytes_read = size * SCALE * part if table.startswith(GROWING) else size
            billed[macro][table.partition("_customers")[0]] += max(SMALLEST, int(bytes_read))
    for macro in PER_PAGE:
        billed[macro] = Counter({table: max(size, times[macro] * SMALLEST) for table, size in billed[macro].items()})
    print(f"\n{title}\n\n| statement | times | GB of each table |\n|---|---|---|")
    for macro, tables in filter(operator.itemgetter(1), billed.items()):
        print(
            f"| {macro} | {times[macro]:,} | {', '.join(f'{name} {size / 1e9:.2f}' for name, size in tables.items())} |"
        )
    total = sum(sum(tables.values()) for tables in billed.values())
    print(f"\n{total / 1e9:,.2f} GB: {total * PRICE:.2f} USD")


def main() -> None:
    """Sync one mapping three times, and show what each run scans."""
    api, scans, macros, found = Api(), [], {}, [1.0]
    jobs, render, width = import_module("local_bigquery.jobs.query"), Session.render, ranges._width

    def rendered(session: Session, macro: str, **arguments: Any) -> str:
        sql = render(session, macro, **arguments)
        macros[sql] = macro
        return sql

    with TemporaryDirectory() as name, serving(api) as endpoint, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        with serving_bigquery(folder) as server:
            execute = jobs.execute

            def executed(cursor: Any, project: str, job: str, config: Any, **named: Any) -> Any:
                sql = re.sub(r"(?s)^\s*/\*.*?\*/\s*", "", config.query)
                page = re.search(r"change_number > (\d+) and change_number <= (\d+)", sql)
                if sql in macros:
                    scans.append((macros[sql], page and [*map(int, page.groups())], scanned(cursor, sql)))
                return execute(cursor, project, job, config, **named)

            patch.setattr(jobs, "execute", executed)
            patch.setattr(ranges, "_width", lambda page: found.append(width(page)) or found[-1])
            patch.setattr(Session, "render", rendered)
            patch.setattr(idle, "COMPARED_FIRST", ROWS // 2)  # as if the model was large
            patch.setenv("WK", WRITE_KEY)
            warehouse = BigQuery(server, "marts")
            shop = new_shop(folder, endpoint, warehouse.output)
            shop.write("models/customers.sql", "select 1 as customer_id")
            shop.mappings({"name": "identify", "action": "identify", "fields": FIELDS}, tests=False)
            shop.dbt("parse")
            warehouse.execute("create schema marts")
            for title, changed in ("First sync", 0), ("0.1% changed", ROWS // 1000), ("Nothing changed", None):
                if changed is not None:
                    model = MODEL.format(rows=ROWS, changed=changed)
                    warehouse.execute(f"create or replace table marts.customers as {model}")
                api.forget()
                scans.clear()
                result = dbt_segconn.run(all=True, project_dir=shop.dir)
                assert result.success, result
                show(title, scans, len(api.calls()), max(found))


if __name__ == "__main__":
    main()
