"""A lint of SQL by type: what a warehouse refuses although it parses.

Fakes of warehouses run SQL on DuckDB, which takes more than the warehouses do. sqlglot derives the type of each
expression from the types of tables; the tables here have what the vendors' references say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

T = exp.DataType.Type
_FAMILIES = {
    "text": exp.DataType.TEXT_TYPES,
    "number": exp.DataType.NUMERIC_TYPES,
    "date": {T.DATE},
    "naive time": {T.DATETIME, T.TIMESTAMP, T.TIMESTAMPNTZ},
    "zoned time": {T.TIMESTAMPTZ, T.TIMESTAMPLTZ},
    "time of day": {T.TIME, T.TIMETZ},
    "boolean": {T.BOOLEAN},
    "binary": {T.BINARY, T.VARBINARY},
    "interval": {T.INTERVAL},
    "json": {T.JSON, T.JSONB, T.VARIANT, T.SUPER},
    "array": {T.ARRAY, T.LIST},
    "object": {T.STRUCT, T.MAP, T.OBJECT},
    "place": {T.GEOGRAPHY, T.GEOMETRY},
}
FAMILY = {one: name for name, types in _FAMILIES.items() for one in types}
TIMES = {"date", "naive time", "zoned time", "time of day"}


def _words(text: str) -> set[str]:
    return set(text.split())


# The functions that the statements may use: those of every warehouse, then those of each
_SHARED = _words("abs cast coalesce count floor lower max md5 min mod nullif replace row_number rtrim substr sum trim")
_OF_SPARK = _words(
    "array array_join base64 chr collect_list concat current_timestamp date_format length map octet_length pmod "
    "substring to_json to_utc_timestamp transform xxhash64"
)
FUNCTIONS = {
    "bigquery": _SHARED
    | _words("byte_length concat current_datetime datetime datetime_diff div extract farm_fingerprint format_date")
    | _words("format_datetime format_time if is_inf is_nan length lpad regexp_replace safe.timestamp st_astext")
    | _words("string_agg timestamp")
    | _words("to_base64 to_hex to_json_string"),
    "databricks": _SHARED | _OF_SPARK | _words("date_trunc timestampdiff"),
    "redshift": _SHARED | _words("datediff extract from_varbyte json_serialize json_size lpad st_astext to_char"),
    "snowflake": _SHARED
    | _words("base64_encode concat convert_timezone date_part datediff length listagg octet_length sysdate to_json")
    | _words("to_varchar to_variant"),
    "spark": _SHARED | _OF_SPARK | _words("assert_true ceil date datediff nvl2 to_timestamp to_unix_timestamp"),
}
# Words before a parenthesis that are no functions
_KEYWORDS = _words("and as by from in join not on or over partition select unnest values varchar when where")

# What cannot be cast to text. https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules,
# https://docs.aws.amazon.com/redshift/latest/dg/r_CAST_function.html,
# https://docs.snowflake.com/en/sql-reference/data-type-conversion
NO_TEXT: dict[str, set[str]] = {
    "bigquery": {"array", "object", "json", "place"},
    "databricks": set(),
    "redshift": {"boolean", "binary", "place"},
    "snowflake": {"array", "object", "place"},
    "spark": set(),
}
_FORMATTERS = re.compile(r"to_char|to_varchar|(date_)?format|format_\w+", re.IGNORECASE)


def lint(statements: Iterable[str], dialect: str, tables: dict[str, dict[str, str]]) -> list[str]:
    """Return the faults of statements, in their order. The first line of a statement names it.

    `tables` are the tables that exist before, by their full names: column → data type. Tables and views that the
    statements create follow.
    """
    one = _Lint(dialect, tables)
    return [
        f"{statement.strip().partition(chr(10))[0]}: {fault}"
        for statement in statements
        for fault in dict.fromkeys(one.faults(statement))
    ]


class _Lint:
    def __init__(self, dialect: str, tables: dict[str, dict[str, str]]) -> None:
        self._dialect = dialect
        self._schema = MappingSchema(dialect=dialect)
        self._columns: dict[exp.Table, dict[str, exp.DataType]] = {}
        for name, columns in tables.items():
            types = {column: exp.DataType.build(kind, dialect=dialect) for column, kind in columns.items()}
            self._remember(exp.to_table(name, dialect=dialect), types)

    def faults(self, statement: str) -> Iterator[str]:
        unknown = _functions(statement) - _KEYWORDS - FUNCTIONS[self._dialect]
        yield from (f"{self._dialect} has no function {name}" for name in sorted(unknown))
        parsed = sqlglot.parse_one(statement, read=self._dialect)
        try:
            typed = [self._typed(query) for query in _queries(parsed)]
        except OptimizeError as error:
            yield str(error)
            return
        for query in typed:
            for node in query.find_all(exp.Expression):
                yield from self._of_node(node)
        self._create(parsed, typed)
        if isinstance(parsed, exp.Insert) and typed:
            yield from self._of_insert(parsed, typed[0])

    def _typed(self, query: exp.Query) -> exp.Query:
        """Return the query with a type for each expression. Raises OptimizeError if a column is unknown."""
        whole = qualify(
            query, dialect=self._dialect, schema=self._schema, expand_alias_refs=False, quote_identifiers=False
        )
        typed: exp.Query = annotate_types(whole, schema=self._schema, dialect=self._dialect)
        return typed

    def _create(self, parsed: exp.Expression, typed: list[exp.Query]) -> None:
        """Remember the columns of a new table or view, and new columns of a table."""
        if isinstance(parsed, exp.Alter) or (isinstance(parsed, exp.Create) and parsed.kind in {"TABLE", "VIEW"}):
            columns = {column.name: column.args["kind"] for column in parsed.find_all(exp.ColumnDef)}
            columns |= {column.alias_or_name: column.type for query in typed for column in query.selects}
            self._remember(parsed.find(exp.Table), columns)

    def _remember(self, table: exp.Table, columns: dict[str, exp.DataType]) -> None:
        # a mapping's outbox is staged with several sets of columns
        self._columns[table] = self._columns.get(table, {}) | columns
        self._schema = MappingSchema(dialect=self._dialect)  # a schema keeps what it was asked before
        for known, types in self._columns.items():
            self._schema.add_table(known, types, dialect=self._dialect)

    def _of_node(self, node: exp.Expression) -> Iterator[str]:
        families = {family for one in _alike(node) if (family := _family(one))}
        if len(families) > 1:
            what = "mixed time types" if families <= TIMES else "mixed types"
            yield f"{what} ({', '.join(sorted(families))}): {self._text(node)}"
        if isinstance(node, exp.Cast) and _family(node) == "text" and _family(node.this) in NO_TEXT[self._dialect]:
            yield f"{self._dialect} cannot cast {_family(node.this)} to text: {self._text(node)}"
        if (form := _format(node)) and not isinstance(form, exp.Literal):
            yield f"the format is not constant: {self._text(node)}"

    def _of_insert(self, parsed: exp.Insert, query: exp.Query) -> Iterator[str]:
        own = self._columns[parsed.this.this]
        for target, value in zip(parsed.this.expressions, query.selects, strict=True):
            given, wanted = _family(value.unalias()), FAMILY[own[target.name].this]
            if given not in {wanted, None}:
                yield f"{target.name} is {wanted}, not {given}: {self._text(value)}"

    def _text(self, node: exp.Expression) -> str:
        return node.sql(self._dialect)[:200]


def _functions(statement: str) -> set[str]:
    bare = re.sub(r"'(?:[^'\\]|\\.|'')*'|`[^`]*`|--[^\n]*", "''", statement)
    bare = re.sub(r"(?i)\b(table|table if not exists|into) [\w.\"]+ \(", "", bare)
    return {name.lower() for name in re.findall(r"(?<![\w.])([A-Za-z_][\w.]*)\s*\(", bare)}


def _queries(parsed: exp.Expression) -> Iterator[exp.Query]:
    if isinstance(parsed, exp.Delete):
        yield exp.select("1").from_(parsed.this).where(parsed.args["where"].this)
    query = parsed if isinstance(parsed, exp.Query) else parsed.args.get("expression")
    if isinstance(query, exp.Query):
        yield query


def _family(node: exp.Expression | None) -> str | None:
    """Return the family of an expression's type; None if it fits every other, as nulls and literals do."""
    if node is None or isinstance(node, (exp.Null, exp.Literal)) or node.type is None:
        return None
    return FAMILY.get(node.type.this)


def _alike(node: exp.Expression) -> list[exp.Expression | None]:
    """Return the operands that must have one type."""
    if isinstance(node, (exp.Coalesce, exp.Greatest, exp.Least)):
        return [node.this, *node.expressions]
    if isinstance(node.args.get("expression"), (exp.All, exp.Any)):  # Snowflake's `not in` of a query
        return [node.this, *node.expression.this.selects]
    if isinstance(node, (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Nullif)):
        return [node.this, node.expression]
    if isinstance(node, exp.In):
        query = node.args.get("query")
        return [node.this, *node.expressions, *(query.this.selects if query else ())]
    if isinstance(node, exp.Between):
        return [node.this, node.args["low"], node.args["high"]]
    if isinstance(node, exp.Case):
        return [*(one.args["true"] for one in node.args["ifs"]), node.args.get("default")]
    if isinstance(node, exp.If) and not isinstance(node.parent, exp.Case):
        return [node.args["true"], node.args.get("false")]
    return []


def _format(node: exp.Expression) -> exp.Expression | None:
    if isinstance(node, exp.Anonymous) and _FORMATTERS.fullmatch(node.name) and len(node.expressions) > 1:
        return node.expressions[1]
    return node.args.get("format") if isinstance(node, exp.Func) and not isinstance(node, exp.Cast) else None
