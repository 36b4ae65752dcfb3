"""A connection to the warehouse for one thread: run statements, return rows, mask values of rows in errors."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any, TypeVar
from uuid import uuid4

from dbt_segconn.errors import ConfigurationError, ConflictError, SegconnError, WarehouseError
from dbt_segconn.project.artifacts import Model
from dbt_segconn.warehouse.dialect import Dialect, find_dialect, place_of

# A transaction that conflicts with concurrent ones is run this often, with random waits that become longer
ATTEMPTS = 10
CONFLICT_SECONDS = 1.0
# Relations whose columns one statement reads
DESCRIBED_TOGETHER = 50
# Repetitions of a process take turns: they would conflict with each other again
_TURNS = threading.Lock()
MASK = "'…'"

# Lines that databases append: whole rows, the statement, values of parameters
_ADDED = re.compile(r"^\s*(DETAIL|LINE \d+|CONTEXT|QUERY|STATEMENT|PARAMETERS)\b.*", re.MULTILINE | re.DOTALL)
_NAMED = r'\b(?:column|relation|table|constraint|type|index|schema|domain|function) "[\w.$]+"'
# From the first quotation mark to the last, as values may contain some; without a second one, to the end
_QUOTED = r"""["'`].*["'`]|["'`].*\Z"""
# BigQuery does not quote values: `Bad int64 value: …`, `Division by zero: …`
_UNQUOTED = "(?:(?<=value: )|(?<=zero: )|(?<=overflow: )).+"
_VALUES = re.compile(rf"(?P<named>{_NAMED})|{_QUOTED}|{_UNQUOTED}|\d{{5,}}", re.DOTALL)
_STATE = re.compile(r"SQLSTATE: (\w{5})")


def masked_text(error: BaseException, dialect: Dialect) -> tuple[str, bool]:
    """Return the text of an error without values of rows, and whether any value was masked.

    dbt wraps the driver's error, so its causes are checked, too. The text is cut after the line of the first value,
    because DuckDB repeats the value below it.
    """
    text = str(error).strip()
    if not any(_is_about_rows(one, dialect) for one in _chain(error)):
        return text, False
    masked = _VALUES.sub(lambda found: found["named"] or MASK, _ADDED.sub("", text))
    head, mask, tail = masked.partition(MASK)
    return f"{head}{mask}{tail.partition(chr(10))[0]}".strip(), True


def _is_about_rows(error: BaseException, dialect: Dialect) -> bool:
    if dialect.row_errors & {one.__name__ for one in type(error).__mro__}:
        return True
    # some drivers, such as Snowflake's, have one exception class for all SQL errors
    return any(state.startswith(dialect.row_states) for state in _states(error, dialect.sqlstates))


def _states(error: BaseException, names: Iterable[str]) -> Iterator[str]:
    """Yield the SQLSTATE of an error, which drivers have under different names."""
    for name in names:
        state = getattr(error, name, None)
        with suppress(Exception):  # pyspark calls its JVM
            state = state() if callable(state) else state
        if isinstance(state, str):
            yield state
    yield from _STATE.findall(str(error))  # of Spark and Databricks
    fields = error.args[0] if error.args else None  # of Redshift's driver
    if isinstance(fields, dict) and "C" in fields:
        yield str(fields["C"])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


Row = tuple[Any, ...]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class PagedQuery:
    """A query with a mark for each number that differs from page to page."""

    sql: str
    marks: Mapping[str, str]


class Session:
    """One dbt connection that runs the SQL macros of this package.

    Only the thread that opened a session may use it. Outside `transaction()`, each statement is committed separately.
    """

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self.adapter_type: str = adapter.type()
        self.dialect = find_dialect(self.adapter_type)
        self._open = False
        self._settings = ""  # of a transaction, sent with its first statement
        self._described: dict[str, dict[str, str]] = {}

    @property
    def place(self) -> str:
        """The open target and its place, for messages."""
        config = self._adapter.config
        return f"target {config.target_name} ({place_of(config.credentials)})"

    def render(self, macro: str, **arguments: Any) -> str:
        """Return the SQL text, or the value, of a macro of `sql/` in the warehouse's dialect."""
        result = self._adapter.execute_macro(macro, kwargs=arguments)
        return result.strip() if isinstance(result, str) else str(result)

    def set_up(self, statements: Sequence[str] | None = None) -> Sequence[str]:
        """Make the connection independent of account and user settings, such as time zone and date formats.

        Returns the statements. Pass them for the next connection: this saves a query.
        """

        def run() -> Sequence[str]:
            chosen = self._session_settings() if statements is None else statements
            for statement in chosen:
                self._execute(statement)
            return chosen

        return self.together(run)

    def _session_settings(self) -> Sequence[str]:
        own = self.render("segconn_open_session").split(";")
        optional = self.rows("segconn_optional_settings")
        return [*filter(None, map(str.strip, own)), *(row[0] for row in optional)]

    def run(self, macro: str, **arguments: Any) -> None:
        """Execute the statement that a macro renders, if any. Ignore its rows."""
        sql = self.render(macro, **arguments)
        if not sql:
            return
        self.together(partial(self._execute, sql))

    def rows(self, macro: str, **arguments: Any) -> list[Row]:
        """Return the rows of the query that a macro renders, with the driver's types; none without a query."""
        sql = self.render(macro, **arguments)
        return self._rows(sql) if sql else []

    def paged(self, macro: str, numbers: Iterable[str], **arguments: Any) -> PagedQuery:
        """Render the query of a macro once; `page` fetches its rows for values of `numbers`, in any session.

        Rendering the calls of a page takes longer than the rest of what Python does for the page, except sending it.
        """
        marks = {name: f"{name}_{uuid4().hex}" for name in numbers}  # no constant of a mapping contains them
        return PagedQuery(self.render(macro, **arguments, **marks), marks)

    def page(self, query: PagedQuery, **numbers: int) -> list[Row]:
        """Return the rows of a paged query for these numbers."""
        sql = query.sql
        for name, mark in query.marks.items():
            sql = sql.replace(mark, str(numbers[name]))
        return self._rows(sql)

    def _rows(self, sql: str) -> list[Row]:
        if self.dialect.reads_alone:
            return self._fetch(sql)
        return self.together(partial(self._fetch, sql))

    def together(self, work: Callable[[], _Result]) -> _Result:
        """Run `work` in one transaction, if the warehouse has transactions; or in the open one.

        If the warehouse has rolled it back because of a concurrent one, all of `work` is run again. A statement is
        repeated alone only if it was a transaction: those before it would be lost.
        """

        def run() -> _Result:
            with self.transaction():
                return work()

        if self._open:
            return work()
        return _repeated(run) if self.dialect.commits_together else run()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all statements together, if the warehouse has transactions."""
        connections = self._adapter.connections
        self._settings = self._transaction_settings
        with self.errors():
            if not connections.get_thread_connection().transaction_open:  # Spark's flag is always set
                connections.begin()
        self._open = True
        try:
            yield
            with self.errors():
                connections.commit()
        except BaseException:
            with suppress(Exception):  # raise the first error
                connections.rollback_if_open()
            raise
        finally:
            self._open = False

    def columns(self, relation: Any) -> dict[str, str]:
        """Return the relation's columns in order: name → data type of the warehouse."""
        if known := self._described.get(str(relation)):
            return known
        if self.render("segconn_describe_columns", relation=relation):
            return dict(self.rows("segconn_describe_columns", relation=relation))
        columns = self._by_dbt(lambda: self._adapter.get_columns_in_relation(relation))
        return {column.name: self.dialect.data_type(column) for column in columns}

    def describe(self, relations: Sequence[Any]) -> None:
        """Read the columns of relations that do not change in this session, with few statements if possible."""
        for at in range(0, len(relations), DESCRIBED_TOGETHER):
            some = relations[at : at + DESCRIBED_TOGETHER]
            with suppress(WarehouseError):  # one is missing: `columns` asks for each
                for nth, name, data_type in self.rows("segconn_describe_relations", relations=some):
                    self._described.setdefault(str(some[int(nth)]), {})[name] = data_type

    def relation(self, database: str | None, schema: str, identifier: str) -> Any:
        """Return the relation of a table, with the quoting policy of the project."""
        return self._adapter.Relation.create(database=database, schema=schema, identifier=identifier)

    def relation_of(self, model: Model) -> Any:
        """Return a model's relation with the same quotation marks as in the manifest.

        Raises ConfigurationError if the installed adapter renders another name.
        """
        parts = {"database": model.database, "schema": model.schema, "identifier": model.identifier}
        if model.relation_name is None:
            return self._adapter.Relation.create(**parts)
        for quotes in product((True, False), repeat=3):
            policy = dict(zip(parts, quotes, strict=True))
            relation = self._adapter.Relation.create(**parts, quote_policy=policy)
            if relation.render() == model.relation_name:
                return relation
        raise ConfigurationError(
            f"{model.unique_id}: its relation is {model.relation_name} in the manifest, but the installed adapter "
            f"{self.adapter_type} names it {self._adapter.Relation.create(**parts)}. Install the adapter version that "
            "dbt ran with."
        )

    def create_schema(self, relation: Any, beside: Any = None) -> None:
        """Create the schema of the table if it is missing, in the region of the relation `beside`."""
        # without the right to create schemas, even `if not exists` fails
        if not self.schema_exists(relation):
            self._by_dbt(lambda: self.dialect.create_schema(self._adapter, relation, beside))

    def schema_exists(self, relation: Any) -> bool:
        """Return whether the schema of the table exists."""
        return bool(self._by_dbt(lambda: self._adapter.check_schema_exists(relation.database, relation.schema)))

    def drop_schema(self, relation: Any) -> None:
        """Drop the schema of the table. Raises WarehouseError if the schema is not empty."""
        if self.names_beside(relation):  # `restrict` of Snowflake checks foreign keys only
            raise WarehouseError(f"{relation.without_identifier()} is not empty, so it was not dropped")
        self.run("segconn_drop_schema", relation=relation)

    def exists(self, relation: Any) -> bool:
        """Return whether the table exists now; does not use dbt's cache."""
        return bool(self.present(relation))

    def present(self, *relations: Any) -> set[str]:
        """Return the lower-case names of the tables that exist now. All must be in one schema."""
        names = {one.identifier.lower() for one in relations}
        # a query by name if possible: dbt lists the whole schema, which is slow for many tables
        sql = self.render("segconn_present", relation=relations[0], names=sorted(names))
        return {name for (name,) in self._rows(sql)} if sql else names & self.names_beside(relations[0])

    def names_beside(self, relation: Any) -> set[str]:
        """Return the lower-case names of the tables and views in the table's schema; empty without the schema."""
        found = self._by_dbt(lambda: self._adapter.list_relations_without_caching(relation.without_identifier()))
        return {one.identifier.lower() for one in found}

    def rename(self, old: Any, new: Any) -> None:
        """Rename a table within its schema."""
        tables = old.incorporate(type="table"), new.incorporate(type="table")
        # dbt's cache has the new name if the transaction was rolled back and is repeated
        self._adapter.cache.clear()
        self._by_dbt(lambda: self._adapter.rename_relation(*tables))

    @cached_property
    def _transaction_settings(self) -> str:
        return self.render("segconn_open_transaction")

    def _with_settings(self, sql: str) -> str:
        settings, self._settings = self._settings, ""
        return f"{settings}\n{sql}" if settings else sql

    def _fetch(self, sql: str) -> list[Row]:
        sql = self._with_settings(sql)
        with self.errors():
            return self.dialect.fetch(self._adapter.connections, sql)

    def _execute(self, sql: str) -> None:
        sql = self._with_settings(sql)

        def run() -> None:
            with self.errors(), self.dialect.execution(self._adapter.connections, sql):
                self._adapter.execute(sql, auto_begin=False, fetch=False)

        if self.dialect.commits_together:
            run()
        else:
            _repeated(run)

    def _by_dbt(self, work: Callable[[], _Result]) -> _Result:
        """Run a macro of dbt, and commit the transaction that it may leave open."""
        connections = self._adapter.connections

        def run() -> _Result:
            with self.errors():
                result = work()
                if not self._open and connections.get_thread_connection().transaction_open:
                    connections.commit()
                return result

        return run() if self._open else _repeated(run)

    def is_denied(self, error: WarehouseError) -> bool:
        """Return whether the role lacks a right."""
        return bool(self.dialect.denied.search(str(error)))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert errors of dbt and of the driver to WarehouseError, with masked values."""
        try:
            yield
        except SegconnError:
            raise
        except Exception as error:  # noqa: BLE001  drivers have no common base class
            text, is_masked = masked_text(error, self.dialect)
            kind = ConflictError if self._is_conflict(error) else WarehouseError
            # a traceback would show the cause, and with it the masked values
            raise kind(f"the warehouse says: {text}") from (None if is_masked else error)

    def _is_conflict(self, error: BaseException) -> bool:
        pattern = self.dialect.conflict
        return pattern is not None and any(pattern.search(str(one)) for one in _chain(error))


def _repeated(run: Callable[[], _Result]) -> _Result:
    """Run a transaction; run it again while it conflicts with concurrent ones."""
    for attempt in range(1, ATTEMPTS):
        try:
            with nullcontext() if attempt == 1 else _TURNS:
                return run()
        except ConflictError:
            time.sleep(random.uniform(0, attempt * CONFLICT_SECONDS))  # noqa: S311  not a secret
    with _TURNS:
        return run()
